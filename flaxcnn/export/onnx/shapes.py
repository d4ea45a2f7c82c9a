"""Operations that move elements: other axes, parts, and joined arrays."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import lax
from onnx import TensorProto, helper

from flaxcnn.export.onnx.graph import Graph, Shape, UnwrittenError, Value


def _reshape(graph: Graph, equation: Any, value: Value, *_: Value) -> Value:
    return graph.reshaped(graph.whole(value), tuple(equation.outvars[0].aval.shape))


def _transpose(graph: Graph, equation: Any, value: Value) -> Value:
    order = equation.params["permutation"]
    value = graph.ordered(value)
    shape, own = (tuple(sizes[axis] for axis in order) for sizes in (value.shape, value.own))
    return graph.value(graph.node("Transpose", [graph.name(value)], perm=list(order)), shape, value.dtype, own)


def _broadcast(graph: Graph, equation: Any, value: Value, *_: Value) -> Value:
    shape, places = tuple(equation.params["shape"]), equation.params["broadcast_dimensions"]
    own: list[Any] = [1] * len(shape)
    for axis, place in enumerate(places):
        own[place] = value.own[axis]
    if value.own == tuple(own) and not value.in_order:  # it keeps its axes
        return value._replace(shape=shape)
    return graph.reshaped(value, tuple(own), shape)


def _part(graph: Graph, value: Value, first: Sequence[int], end: Shape, strides: Sequence[int], shape: Shape) -> Value:
    """Add a part of an array; along an axis that stays whole, nothing is said."""
    value = graph.whole(value) if any(own != size for own, size in zip(value.own, value.shape, strict=True)) else value
    cut = [
        axis
        for axis, size in enumerate(value.shape)
        if not (first[axis] == 0 and end[axis] == size and strides[axis] == 1)
    ]
    if not cut:
        return value
    name = graph.name(value)
    axes = [value.layout.index(axis) for axis in cut]
    lists = ([numbers[axis] for axis in cut] for numbers in (first, end, strides))
    starts, ends, steps = (graph.numbers(*map(int, numbers)) for numbers in lists)
    sliced = graph.node("Slice", [name, starts, ends, graph.numbers(*axes), steps])
    return graph.value(sliced, shape, value.dtype, layout=value.layout)


def _slice(graph: Graph, equation: Any, value: Value) -> Value:
    start, limit, strides = (equation.params[name] for name in ("start_indices", "limit_indices", "strides"))
    shape = tuple(equation.outvars[0].aval.shape)
    return _part(graph, value, start, limit, strides or (1,) * len(start), shape)


def _window(graph: Graph, value: Value, start: Sequence[int], sizes: Shape) -> Value:
    """Add a part of given sizes; as in JAX it is moved to lie within."""
    first, end = [], []
    for begin, size, whole in zip(start, sizes, value.shape, strict=True):
        inside = 0 if size == whole else max(0, min(int(begin), int(whole) - int(size)))
        first.append(inside)
        end.append(whole if size == whole else inside + size)
    return _part(graph, value, first, tuple(end), [1] * len(first), tuple(sizes))


def _dynamic_slice(graph: Graph, equation: Any, value: Value, *starts: Value) -> Value:
    if any(start.constant is None for start in starts):
        raise UnwrittenError("dynamic_slice at places that depend on the images")
    places = [int(start.constant) for start in starts if start.constant is not None]
    return _window(graph, value, places, tuple(equation.params["slice_sizes"]))


def _gather(graph: Graph, equation: Any, value: Value, places: Value) -> Value:
    """Add one part of an array, or parts of one size along one axis; JAX writes steps and single places so, too."""
    numbers, sizes = equation.params["dimension_numbers"], tuple(equation.params["slice_sizes"])
    shape = tuple(equation.outvars[0].aval.shape)
    axes, collapsed = tuple(numbers.start_index_map), tuple(numbers.collapsed_slice_dims)
    if places.constant is None and numbers.operand_batching_dims == (0,):
        return _gather_by_image(graph, equation, value, places)
    if places.constant is None or numbers.operand_batching_dims:
        raise UnwrittenError("gather at places that depend on the images")
    table = np.broadcast_to(places.constant, places.shape).reshape(-1, len(axes))  # a row for each part
    moving = [column for column in range(len(axes)) if len(set(table[:, column].tolist())) > 1]
    start, cut = [0] * len(value.shape), list(sizes)
    for column, axis in enumerate(axes):
        if column not in moving:
            start[axis] = int(table[0, column])
        else:
            cut[axis] = value.shape[axis]
    value = _window(graph, value, start, tuple(cut))
    if not moving:
        return graph.reshaped(value, shape)
    axis = axes[moving[0]]
    kept = tuple(place for place in range(len(shape)) if not axis <= place < axis + len(places.shape) - 1)
    if len(moving) > 1 or collapsed != (axis,) or tuple(numbers.offset_dims) != kept:
        raise UnwrittenError("gather along several axes")
    chosen = graph.initial(table[:, moving[0]].reshape(places.shape[:-1]).astype(np.int64))
    name = graph.node("Gather", [graph.name(graph.ordered(value)), chosen], axis=axis)
    return graph.value(name, shape, value.dtype)


def _gather_by_image(graph: Graph, equation: Any, value: Value, places: Value) -> Value:
    """Add rows of each image's array, at places of its own: a vectorised `array[places]`."""
    numbers, sizes = equation.params["dimension_numbers"], tuple(equation.params["slice_sizes"])
    shape = tuple(equation.outvars[0].aval.shape)
    whole = all(size == length for size, length in zip(sizes[2:], value.shape[2:], strict=True))
    rows = (numbers.start_indices_batching_dims, numbers.start_index_map, numbers.collapsed_slice_dims)
    last = tuple(numbers.offset_dims) == tuple(range(len(places.shape) - 1, len(shape)))
    inside = equation.params["mode"] == lax.GatherScatterMode.PROMISE_IN_BOUNDS
    if rows != ((0,), (1,), (1,)) or not whole or not last or not inside:
        raise UnwrittenError("gather at places that depend on the images, other than of whole rows inside the array")
    value, places = (graph.ordered(graph.whole(each)) for each in (value, places))
    found = graph.node("Cast", [graph.name(places)], to=TensorProto.INT64)
    return graph.value(graph.node("GatherND", [graph.name(value), found], batch_dims=1), shape, value.dtype)


def _top(graph: Graph, equation: Any, value: Value) -> list[Value]:
    value, axis = graph.ordered(graph.whole(value)), equation.params.get("axis", len(value.shape) - 1)
    largest, places = graph.several("TopK", [graph.name(value), graph.numbers(equation.params["k"])], 2, axis=axis)
    shape, kind = (getattr(equation.outvars[1].aval, name) for name in ("shape", "dtype"))
    places = graph.node("Cast", [places], to=helper.np_dtype_to_tensor_dtype(np.dtype(kind)))
    return [graph.value(largest, tuple(shape), value.dtype), graph.value(places, tuple(shape), kind)]


def _pad(graph: Graph, equation: Any, value: Value, filling: Value) -> Value:
    config = equation.params["padding_config"]
    if any(interior or low < 0 or high < 0 for low, high, interior in config):
        raise UnwrittenError("pad between elements, or by less than none")
    value = graph.whole(value)
    name = graph.name(value)
    padded = [axis for axis, (low, high, _) in enumerate(config) if low or high]
    amounts = [*(config[axis][0] for axis in padded), *(config[axis][1] for axis in padded)]
    axes = graph.numbers(*(value.layout.index(axis) for axis in padded))
    out = graph.node("Pad", [name, graph.numbers(*amounts), graph.name(filling), axes])
    return graph.value(out, tuple(equation.outvars[0].aval.shape), value.dtype, layout=value.layout)


def joined(graph: Graph, values: Sequence[Value], axis: int, shape: Shape) -> Value:
    """Add arrays one after the other along an axis."""
    values = [graph.whole(value) for value in values]
    turned = [value.layout for value in values if value.constant is None and not value.in_order]
    layout = turned[0] if turned else tuple(range(len(shape)))
    names = [graph.name(value, layout) for value in values]
    name = graph.node("Concat", names, axis=layout.index(axis))
    return graph.value(name, shape, values[0].dtype, layout=layout)


def _concatenate(graph: Graph, equation: Any, *values: Value) -> Value:
    return joined(graph, values, equation.params["dimension"], tuple(equation.outvars[0].aval.shape))


def stacked(graph: Graph, values: Sequence[Value], axis: int) -> Value:
    """Add arrays of one shape along a new axis."""
    before, after = values[0].shape[:axis], values[0].shape[axis:]
    one = [graph.reshaped(graph.whole(value), (*before, 1, *after)) for value in values]
    return joined(graph, one, axis, (*before, len(values), *after))


def row(graph: Graph, value: Value, place: int) -> Value:
    """Add one place of an array's first axis, which is left out."""
    rest = value.shape[1:]
    part = _window(graph, value, [place, *[0] * len(rest)], (1, *rest))
    return graph.reshaped(part, rest)


def _stack(graph: Graph, equation: Any, *values: Value) -> Value:
    return stacked(graph, values, equation.params["axis"])


def _split(graph: Graph, equation: Any, value: Value) -> list[Value]:
    axis, first, parts = equation.params["axis"], 0, []
    for size, out in zip(equation.params["sizes"], equation.outvars, strict=True):
        start = [0] * len(value.shape)
        start[axis] = first
        parts.append(_window(graph, value, start, tuple(out.aval.shape)))
        first += size
    return parts


def _reverse(graph: Graph, equation: Any, value: Value) -> Value:
    value = graph.whole(value)
    axes = [value.layout.index(axis) for axis in equation.params["dimensions"]]
    ends = graph.numbers(*[np.iinfo(np.int64).min] * len(axes))
    starts, steps = graph.numbers(*[-1] * len(axes)), graph.numbers(*[-1] * len(axes))
    name = graph.node("Slice", [graph.name(value), starts, ends, graph.numbers(*axes), steps])
    return value._replace(name=name)


EMITTERS: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "dynamic_slice": _dynamic_slice,
    "expand_dims": _reshape,
    "gather": _gather,
    "pad": _pad,
    "reshape": _reshape,
    "rev": _reverse,
    "slice": _slice,
    "split": _split,
    "squeeze": _reshape,
    "stack": _stack,
    "top_k": _top,
    "transpose": _transpose,
}
"""How each of these operations of JAX is added to a graph."""
