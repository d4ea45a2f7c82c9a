"""A model's parts in the order of execution: what can be frozen, unfrozen one after the other, or learn slower."""

from collections.abc import Mapping
from typing import NamedTuple

from flaxcnn.contracts import Contract

TRUNK = "trunk"  # everything but the head
HEAD = "head"
_FEATURES = ("features", "before_head")  # endpoints that are no stage of their own


class Stage(NamedTuple):
    """A part of a model.

    Attributes:
        name: of the endpoint that ends it, such as "stage2"; of the layer, where a model names no endpoints; the last
            one is "head".
        parameters: paths of its parameters, such as "stage2_block1/expand/kernel".
    """

    name: str
    parameters: tuple[str, ...]


def stages_of(contract: Contract) -> tuple[Stage, ...]:
    """Return a model's stages with parameters, in the order of execution; the last one is the head.

    A stage ends with its endpoint (`stage1`, `stage2`, …), and layers called `stem…` before the first one are a stage.
    What follows the last stage and is not the head is the stage `features`. The head is the layer named so, or else the
    last layer with parameters. A model without endpoints has a stage for each of its outermost layers.

    Args:
        contract: the model's.

    >>> from flaxcnn.models import contract_path
    >>> [stage.name for stage in stages_of(Contract.load(contract_path("efficientnet_lite0")))]
    ['stem', 'stage1', 'stage2', 'stage3', 'stage4', 'stage5', 'features', 'head']
    """
    layers: list[tuple[str, tuple[str, ...]]] = []  # outermost layer and parameters, in the order of execution
    ends: list[tuple[int, str]] = []  # how many layers are before an endpoint, and its name
    for line in contract.layers:
        if line.inputs is None:
            ends.append((len(layers), line.path))
            continue
        owner = _owner(line.path)
        prefix = "" if owner == "." else f"{owner}/"
        names = tuple(f"{prefix}{each.name}" for each in line.variables if each.collection == "params")
        if names:
            layers.append((names[0].partition("/")[0], names))
    if not layers:
        return ()
    outermost = list(dict.fromkeys(name for name, _ in layers))
    head = HEAD if HEAD in outermost else outermost[-1]
    grouped: dict[str, list[str]] = {}
    stages = [(count, name) for count, name in ends if name not in _FEATURES and count < len(layers)]
    for position, (layer, names) in enumerate(layers):
        grouped.setdefault(_stage(position, layer, head, stages), []).extend(names)
    last = grouped.pop(HEAD)
    return (*(Stage(name, tuple(names)) for name, names in grouped.items()), Stage(HEAD, tuple(last)))


def _owner(path: str) -> str:
    """Return the layer of a contract's line without what tells its calls apart."""
    return path.partition("#")[0].partition(":")[0]


def _stage(position: int, layer: str, head: str, stages: list[tuple[int, str]]) -> str:
    if layer == head:
        return HEAD
    if not stages:
        return layer
    following = next((name for count, name in stages if position < count), "features")
    return "stem" if following == stages[0][1] and layer.startswith("stem") else following


def depths_of(stages: tuple[Stage, ...]) -> Mapping[str, int]:
    """Return for each parameter how many stages follow its own: 0 in the head."""
    last = len(stages) - 1
    return {name: last - at for at, stage in enumerate(stages) for name in stage.parameters}
