"""Convolutions, pools, matrix products, and sums over axes."""

from collections.abc import Callable, Sequence
from string import ascii_lowercase
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from flaxcnn.export.onnx.graph import CHANNELS_FIRST, Graph, UnwrittenError, Value
from flaxcnn.kernels.pooling import Windows
from flaxcnn.kernels.xla_convolution import Window

_KERNEL_FIRST = (3, 2, 0, 1)  # (H, W, C, F) as (F, C, H, W)


def _convolved(
    graph: Graph, equation: Any, inputs: Sequence[Value], layouts: Sequence[tuple[int, ...]], **attributes: Any
) -> Value:
    images, kernel, *bias = (graph.whole(value) for value in inputs)
    names = [graph.name(images, layouts[0]), graph.name(kernel, layouts[1]), *map(graph.name, bias)]
    aval = equation.outvars[0].aval
    if aval.dtype != np.float32:
        raise UnwrittenError(f"convolution of {aval.dtype}")
    name = graph.node("Conv", names, **attributes)
    return graph.value(name, tuple(aval.shape), aval.dtype, layout=layouts[2])


def _convolution(graph: Graph, equation: Any, *inputs: Value) -> Value:
    window: Window = equation.params["window"]
    _require_unmapped(equation)
    (top, bottom), (left, right) = window.padding
    return _convolved(
        graph,
        equation,
        inputs,
        (CHANNELS_FIRST, _KERNEL_FIRST, CHANNELS_FIRST),
        strides=window.strides,
        pads=(top, left, bottom, right),
        dilations=window.dilation,
        group=window.groups,
    )


def _general_convolution(graph: Graph, equation: Any, *inputs: Value) -> Value:
    given = equation.params
    if any(factor != 1 for factor in given["lhs_dilation"]) or given["batch_group_count"] != 1:
        raise UnwrittenError("a transposed convolution")
    if any(each < 0 for pair in given["padding"] for each in pair):
        raise UnwrittenError("a convolution that crops")
    numbers = given["dimension_numbers"]
    low, high = zip(*given["padding"], strict=True)
    return _convolved(
        graph,
        equation,
        inputs,
        (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec),
        strides=given["window_strides"],
        pads=(*low, *high),
        dilations=given["rhs_dilation"],
        group=given["feature_group_count"],
    )


def _require_unmapped(equation: Any) -> None:
    if any(equation.params["lead"]):
        raise UnwrittenError(f"{equation.primitive.name} under jax.vmap")


def _maxima(graph: Graph, equation: Any, images: Value) -> Value:
    windows: Windows = equation.params["windows"]
    _require_unmapped(equation)
    return _pooled(graph, equation, images, "MaxPool", windows.size, windows.strides, windows.padding)


def _pooled(
    graph: Graph, equation: Any, images: Value, operator: str, size: Any, strides: Any, padding: Any, **more: Any
) -> Value:
    (top, bottom), (left, right) = padding
    name = graph.node(
        operator,
        [graph.name(graph.whole(images), CHANNELS_FIRST)],
        kernel_shape=size,
        strides=strides,
        pads=(top, left, bottom, right),
        **more,
    )
    return graph.value(name, tuple(equation.outvars[0].aval.shape), images.dtype, layout=CHANNELS_FIRST)


def _reduced_windows(graph: Graph, equation: Any, images: Value) -> Value:
    given = equation.params
    size, strides, padding = (given[name] for name in ("window_dimensions", "window_strides", "padding"))
    outer = [(size[axis], strides[axis], tuple(padding[axis])) for axis in (0, -1)]
    dilated = any(factor != 1 for name in ("base_dilation", "window_dilation") for factor in given[name])
    if len(size) != 4 or outer != [(1, 1, (0, 0))] * 2 or dilated:
        raise UnwrittenError("windows over other axes than height and width")
    inner = size[1:3], strides[1:3], padding[1:3]
    if equation.primitive.name == "reduce_window_max":
        return _pooled(graph, equation, images, "MaxPool", *inner)
    mean = _pooled(graph, equation, images, "AveragePool", *inner, count_include_pad=1)
    places = graph.initial(np.asarray(size[1] * size[2], np.float32))
    return mean._replace(name=graph.node("Mul", [mean.name, places]))


def _product(graph: Graph, equation: Any, left: Value, right: Value) -> Value:
    ((of_left, of_right), (left_batch, right_batch)) = equation.params["dimension_numbers"]
    aval = equation.outvars[0].aval
    left, right = (graph.ordered(graph.whole(value)) for value in (left, right))
    names = [graph.name(left), graph.name(right)]
    last = len(left.shape) - 1
    if right.constant is not None and len(right.shape) == 2 and tuple(of_left) == (last,) and not left_batch:
        if tuple(of_right) == (1,):
            names[1] = graph.name(right, (1, 0))
        name = graph.node("MatMul", names)
    else:
        letters = iter(ascii_lowercase)
        terms = [[next(letters) for _ in left.shape], [next(letters) for _ in right.shape]]
        for own, other in (*zip(of_left, of_right, strict=True), *zip(left_batch, right_batch, strict=True)):
            terms[1][other] = terms[0][own]
        free = [
            [letter for axis, letter in enumerate(term) if axis not in (*contracted, *batch)]
            for term, contracted, batch in ((terms[0], of_left, left_batch), (terms[1], of_right, right_batch))
        ]
        result = [*(terms[0][axis] for axis in left_batch), *free[0], *free[1]]
        name = graph.node("Einsum", names, equation=f"{''.join(terms[0])},{''.join(terms[1])}->{''.join(result)}")
    return graph.value(name, tuple(aval.shape), aval.dtype)


_REDUCTIONS = {
    "reduce_and": "ReduceMin",
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_or": "ReduceMax",
    "reduce_prod": "ReduceProd",
    "reduce_sum": "ReduceSum",
}


def _reduction(graph: Graph, equation: Any, value: Value) -> Value:
    reduced, aval = tuple(equation.params["axes"]), equation.outvars[0].aval
    if any(value.own[axis] != value.shape[axis] for axis in reduced):
        value = graph.whole(value)
    axes = graph.numbers(*(value.layout.index(axis) for axis in reduced))
    name = graph.node(_REDUCTIONS[equation.primitive.name], [graph.name(value), axes], keepdims=0)
    kept = [axis for axis in range(len(value.shape)) if axis not in reduced]
    layout = [kept.index(axis) for axis in value.layout if axis in kept]
    own = tuple(value.own[axis] for axis in kept)
    return graph.value(name, tuple(aval.shape), aval.dtype, own, layout)


def _any_or_all(graph: Graph, equation: Any, value: Value) -> Value:
    name = graph.node("Cast", [graph.name(value)], to=TensorProto.INT32)
    found = _reduction(graph, equation, value._replace(name=name, dtype=np.dtype(np.int32), constant=None))
    return found._replace(name=graph.node("Cast", [found.name], to=TensorProto.BOOL))


def _place_of_extreme(graph: Graph, equation: Any, value: Value) -> Value:
    (axis,), aval = equation.params["axes"], equation.outvars[0].aval
    value = graph.ordered(graph.whole(value))
    operator = "ArgMax" if equation.primitive.name == "argmax" else "ArgMin"
    name = graph.node(operator, [graph.name(value)], axis=axis, keepdims=0)
    to = helper.np_dtype_to_tensor_dtype(np.dtype(aval.dtype))
    return graph.value(graph.node("Cast", [name], to=to), tuple(aval.shape), aval.dtype)


EMITTERS: dict[str, Callable[..., Value]] = {
    **dict.fromkeys(_REDUCTIONS, _reduction),
    **dict.fromkeys(("reduce_and", "reduce_or"), _any_or_all),
    "argmax": _place_of_extreme,
    "argmin": _place_of_extreme,
    "conv_general_dilated": _general_convolution,
    "convolution": _convolution,
    "convolution_with_bias": _convolution,
    "dot_general": _product,
    "pool_maxima": _maxima,
    "reduce_window_max": _reduced_windows,
    "reduce_window_sum": _reduced_windows,
}
"""How each of these operations of JAX is added to a graph."""
