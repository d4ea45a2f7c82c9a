"""Operations on each element."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import helper

from flaxcnn.export.onnx.graph import Graph, UnwrittenError, Value

SIMPLE = {
    "abs": "Abs",
    "add": "Add",
    "add_any": "Add",
    "and": "And",
    "ceil": "Ceil",
    "cos": "Cos",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "not": "Not",
    "or": "Or",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tanh": "Tanh",
    "xor": "Xor",
}
"""Operations that ONNX has under another name."""

SAME = ("copy", "copy_p", "name", "pcast", "pvary", "reduce_precision", "stop_gradient")
"""Operations that change nothing that an answer depends on."""

_ON_BOOLEANS = ("and", "or", "xor", "not")


def alike(graph: Graph, values: Sequence[Value]) -> tuple[list[str], Value]:
    """Return names of values in one layout, and the shape, the extent and the layout of what comes of them."""
    rank = max(len(value.shape) for value in values)
    full = [value for value in values if len(value.shape) == rank]
    turned = [value.layout for value in full if value.constant is None and not value.in_order]
    layout = turned[0] if turned else tuple(range(rank))
    names = [graph.name(value, layout if len(value.shape) == rank else None) for value in values]
    own = tuple(
        next((size for size in sizes if not isinstance(size, int) or size != 1), 1)
        for sizes in zip(*(value.own for value in full), strict=True)
    )
    return names, Value(full[0].shape, full[0].dtype, own, layout=layout)


def _result(like: Value, name: str, aval: Any) -> Value:
    return like._replace(name=name, shape=tuple(aval.shape), dtype=np.dtype(aval.dtype))


def simple(graph: Graph, equation: Any, *inputs: Value) -> Value:
    """Add an operation that ONNX has, too."""
    primitive, aval = equation.primitive.name, equation.outvars[0].aval
    if primitive in _ON_BOOLEANS and inputs[0].dtype != np.bool_:
        raise UnwrittenError(f"{primitive} of {inputs[0].dtype}")
    zero = [place for place, value in enumerate(inputs) if _is(value, 0)]
    if primitive == "max" and zero and inputs[0].dtype == np.float32:  # which runtimes join with a convolution
        names, like = alike(graph, [inputs[1 - zero[0]]])
        return _result(like, graph.node("Relu", names), aval)
    names, like = alike(graph, inputs)
    return _result(like, graph.node(SIMPLE[primitive], names), aval)


def _is(value: Value, number: float) -> bool:
    return value.constant is not None and value.constant.size == 1 and value.constant.item() == number


def _unary(build: Callable[[Graph, str, Any], str]) -> Callable[..., Value]:
    def emit(graph: Graph, equation: Any, value: Value) -> Value:
        name = build(graph, graph.name(value), equation)
        return _result(value, name, equation.outvars[0].aval)

    return emit


def _number(graph: Graph, number: float, dtype: Any = np.float32) -> str:
    return graph.initial(np.asarray(number, dtype))


def _integer_pow(graph: Graph, name: str, equation: Any) -> str:
    power = equation.params["y"]
    if power == 2:
        return graph.node("Mul", [name, name])
    if power == -1:
        return graph.node("Reciprocal", [name])
    return graph.node("Pow", [name, _number(graph, power)])


def _cast(graph: Graph, name: str, equation: Any) -> str:
    to = helper.np_dtype_to_tensor_dtype(np.dtype(equation.params["new_dtype"]))
    return graph.node("Cast", [name], to=to)


def _clamp(graph: Graph, equation: Any, low: Value, value: Value, high: Value) -> Value:
    aval = equation.outvars[0].aval
    if all(each.constant is not None and not each.shape for each in (low, high)):
        name = graph.node("Clip", [graph.name(value), graph.name(low), graph.name(high)])
        return _result(value, name, aval)
    names, like = alike(graph, (low, value))
    raised = _result(like, graph.node("Max", names), aval)
    names, like = alike(graph, (raised, high))
    return _result(like, graph.node("Min", names), aval)


def _select(graph: Graph, equation: Any, which: Value, *cases: Value) -> Value:
    if which.dtype != np.bool_ or len(cases) != 2:
        raise UnwrittenError("select_n of several")
    names, like = alike(graph, (which, cases[1], cases[0]))
    if cases[0].dtype == np.bool_:  # of which no runtime has a choice
        first = graph.node("And", names[:2])
        other = graph.node("And", [graph.node("Not", names[:1]), names[2]])
        return _result(like, graph.node("Or", [first, other]), equation.outvars[0].aval)
    return _result(like, graph.node("Where", names), equation.outvars[0].aval)


def _not_equal(graph: Graph, equation: Any, *inputs: Value) -> Value:
    names, like = alike(graph, inputs)
    return _result(like, graph.node("Not", [graph.node("Equal", names)]), equation.outvars[0].aval)


def _remainder(graph: Graph, equation: Any, *inputs: Value) -> Value:
    names, like = alike(graph, inputs)
    return _result(like, graph.node("Mod", names, fmod=1), equation.outvars[0].aval)  # the sign is the dividend's


def _same(graph: Graph, equation: Any, value: Value) -> Value:
    return value


EMITTERS: dict[str, Callable[..., Value]] = {
    **dict.fromkeys(SIMPLE, simple),
    **dict.fromkeys(SAME, _same),
    "clamp": _clamp,
    "convert_element_type": _unary(_cast),
    "erfc": _unary(lambda graph, name, _: graph.node("Sub", [_number(graph, 1), graph.node("Erf", [name])])),
    "exp2": _unary(lambda graph, name, _: graph.node("Pow", [_number(graph, 2), name])),
    "expm1": _unary(lambda graph, name, _: graph.node("Sub", [graph.node("Exp", [name]), _number(graph, 1)])),
    "integer_pow": _unary(_integer_pow),
    "log1p": _unary(lambda graph, name, _: graph.node("Log", [graph.node("Add", [name, _number(graph, 1)])])),
    "ne": _not_equal,
    "rem": _remainder,
    "rsqrt": _unary(lambda graph, name, _: graph.node("Reciprocal", [graph.node("Sqrt", [name])])),
    "select_n": _select,
    "square": _unary(lambda graph, name, _: graph.node("Mul", [name, name])),
}
"""How each of these operations of JAX is added to a graph."""
