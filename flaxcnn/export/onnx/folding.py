"""Sums and products that follow a convolution, as a bias and a norm are, as part of it.

In 32 bits a runtime does so itself, as far as it can. In 8 bits each would be a step of its own, and a bias one of 256
values; within the convolution a bias has 32 bits.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

_AFFINE = ("Add", "Sub", "Mul", "Div")


def fold(model: onnx.ModelProto) -> None:
    """Change a model so that each convolution includes what adds to its channels, or multiplies them, by constants.

    Args:
        model: its nodes in an order in which each comes before what uses it.
    """
    graph = model.graph
    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(each.name for each in graph.output)
    convolutions: dict[str, onnx.NodeProto] = {}  # by the value that it makes, with what is folded into it
    nodes = []
    for node in graph.node:
        found = convolutions.get(node.input[0]) if node.op_type in _AFFINE else None
        other = node.input[1] if found is not None else ""
        if node.op_type in ("Add", "Mul") and found is None and node.input[1] in convolutions:
            found, other = convolutions[node.input[1]], node.input[0]
        if found is not None and uses[found.output[0]] == 1 and _fold_into(found, node.op_type, other, arrays):
            del convolutions[found.output[0]]
            found.output[0] = node.output[0]
        else:
            nodes.append(node)
            found = node if node.op_type == "Conv" and node.input[1] in arrays else None
        if found is not None:
            convolutions[found.output[0]] = found
    _share(nodes, arrays)
    used = {name for node in nodes for name in node.input}
    kept = [numpy_helper.from_array(array, name) for name, array in arrays.items() if name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def _fold_into(node: onnx.NodeProto, operator: str, other: str, arrays: dict[str, npt.NDArray[Any]]) -> bool:
    """Fold what follows a convolution into it, and return True; False where it is not one number for each channel.

    Args:
        node: the convolution.
        operator: that follows.
        other: its other operand.
        arrays: the constants, by name; new ones are added.
    """
    weights = arrays[node.input[1]]
    channels = len(weights)
    numbers = _of_channels(arrays, other, channels)
    if numbers is None:
        return False
    bias = arrays[node.input[2]] if len(node.input) > 2 else np.zeros(channels, weights.dtype)
    if operator in ("Mul", "Div"):
        factor = numbers if operator == "Mul" else 1 / numbers
        weights, bias = weights * factor.reshape(-1, 1, 1, 1), bias * factor
    else:
        bias = bias + (numbers if operator == "Add" else -numbers)
    called = [f"{node.name}_weights", f"{node.name}_bias"]
    arrays |= dict(zip(called, (weights, bias), strict=True))
    node.input[:] = [node.input[0], *called]
    return True


def _share(nodes: Sequence[onnx.NodeProto], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Name the same constant by one name again: a network that looks at several views has its weights once."""
    known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    for node in nodes:
        for place, name in enumerate(node.input):
            if name in arrays:
                array = arrays[name]
                node.input[place] = known.setdefault((array.dtype.str, array.shape, array.tobytes()), name)


def _of_channels(arrays: Mapping[str, npt.NDArray[Any]], name: str, channels: int) -> npt.NDArray[np.float32] | None:
    """Return a constant as one number for each channel of (B, C, H, W); None where it is none, or something else."""
    array = arrays.get(name)
    if array is None or array.dtype != np.float32 or array.ndim > 4:
        return None
    sizes = (1,) * (4 - array.ndim) + array.shape
    if sizes not in ((1, channels, 1, 1), (1, 1, 1, 1)):
        return None
    return np.broadcast_to(array.reshape(-1), (channels,)).astype(np.float32)
