"""What other libraries call the layers of inverted residual blocks (`flaxcnn.layers.inverted_residual`)."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from flaxcnn.layers.inverted_residual import Bottleneck


def torchvision_names(blocks: Mapping[str, tuple[str, Bottleneck]], inputs: int) -> dict[str, str]:
    """Return torchvision's names: a block's layers are numbered.

    Args:
        blocks: by our names, their name of the block and its sizes.
        inputs: channels that the first block takes.
    """
    names: dict[str, str] = {}
    for ours, (theirs, sizes) in blocks.items():
        for place, layer in enumerate(_layers(sizes, inputs)):
            part = f"{theirs}.block.{place}"
            if layer == "se":
                names |= {f"{ours}/se/reduce": f"{part}.fc1", f"{ours}/se/expand": f"{part}.fc2"}
            else:
                names[f"{ours}/{layer}"] = f"{part}.0 {part}.1"
        inputs = sizes.channels
    return names


def timm_names(blocks: Mapping[str, Bottleneck], inputs: int) -> dict[str, str]:
    """Return timm's names: blocks are numbered within a row of the paper's table, whose blocks have as many channels.

    Args:
        blocks: by our names, their sizes.
        inputs: channels that the first block takes.
    """
    names: dict[str, str] = {}
    rows = [list(row) for _, row in groupby(blocks, lambda name: blocks[name].channels)]
    for ours, theirs in [(ours, f"blocks.{row}.{at}") for row, each in enumerate(rows) for at, ours in enumerate(each)]:
        expands = blocks[ours].expanded != inputs
        convolutions = ("pw", "dw", "pwl") if expands else ("dw", "pw")
        convolved = [layer for layer in _layers(blocks[ours], inputs) if layer != "se"]
        for number, (layer, conv) in enumerate(zip(convolved, convolutions, strict=True), 1):
            names[f"{ours}/{layer}"] = f"{theirs}.conv_{conv} {theirs}.bn{number}"
        if blocks[ours].squeezed:
            names |= {f"{ours}/se/{layer}": f"{theirs}.se.conv_{layer}" for layer in ("reduce", "expand")}
        inputs = blocks[ours].channels
    return names


def _layers(sizes: Bottleneck, inputs: int) -> Sequence[str]:
    """Return our names of a block's layers, in their order."""
    expand = ["expand"] if sizes.expanded != inputs else []
    return [*expand, "depthwise", *(["se"] if sizes.squeezed else []), "project"]
