"""The way through a traced program: each operation becomes nodes, or is computed at once where no image is needed."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal, jaxpr_as_fun
from onnx import TensorProto, helper

from flaxcnn.export.onnx import elementwise, shapes, windows
from flaxcnn.export.onnx.graph import Graph, UnwrittenError, Value

_EMITTERS = {**elementwise.EMITTERS, **shapes.EMITTERS, **windows.EMITTERS}
_INSIDE = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # where a call has the program that it calls
_CALLS = (
    *("checkpoint", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"),
    *("jit", "pjit", "remat", "remat2"),
)

_Typed: TypeAlias = tuple[str, int, list[int | None]]  # what ONNX says of a value: its name, its dtype, its sizes


def added(graph: Graph, program: Any, inputs: Sequence[Value]) -> list[Value]:
    """Add a program, a jaxpr with or without constants of its own, to a graph and return its results.

    Raises:
        UnwrittenError: the program has an operation that is not written as ONNX.
    """
    constants = [graph.constant(value) for value in getattr(program, "consts", ())]
    program = getattr(program, "jaxpr", program)
    known: dict[Any, Value] = dict(zip([*program.constvars, *program.invars], [*constants, *inputs], strict=True))

    def value_of(variable: Any) -> Value:
        if isinstance(variable, Literal):
            return graph.constant(np.asarray(variable.val, getattr(variable.aval, "dtype", None)))
        return known[variable]

    for equation in program.eqns:
        given = [value_of(variable) for variable in equation.invars]
        known |= dict(zip(equation.outvars, _equation(graph, equation, given), strict=True))
    return [value_of(variable) for variable in program.outvars]


def _equation(graph: Graph, equation: Any, given: Sequence[Value]) -> Sequence[Value]:
    name = equation.primitive.name
    if name in _CALLS:
        return added(graph, next(equation.params[key] for key in _INSIDE if key in equation.params), given)
    if name == "scan":
        return _loop(graph, equation.params, given)
    if name == "while":
        return _repeated(graph, equation, given)
    computed = _computed(equation, given)
    if computed is not None:
        return [graph.constant(array) for array in computed]
    emit: Any = _EMITTERS.get(name)
    if emit is None:
        raise UnwrittenError(name)
    found = emit(graph, equation, *given)
    return found if isinstance(found, list) else [found]


def _loop(graph: Graph, scan: Mapping[str, Any], given: Sequence[Value]) -> list[Value]:
    """Add each round of a loop whose number of rounds is known, such as one over views of an image."""
    if "ft_in" in scan:  # jax 0.12
        fixed, carries = (len(list(part.vals)) for part in scan["ft_in"].unpack()[:2])
    else:
        fixed, carries = scan["num_consts"], scan["num_carry"]
    carry, rows = list(given[fixed : fixed + carries]), given[fixed + carries :]
    rounds: dict[int, list[Value]] = {}
    for place in reversed(range(scan["length"])) if scan["reverse"] else range(scan["length"]):
        of_round = [shapes.row(graph, array, place) for array in rows]
        found = added(graph, scan["jaxpr"], [*given[:fixed], *carry, *of_round])
        carry, rounds[place] = found[: len(carry)], found[len(carry) :]
    columns = zip(*(rounds[place] for place in sorted(rounds)), strict=True)
    return [*carry, *(shapes.stacked(graph, column, 0) for column in columns)]


def _repeated(graph: Graph, equation: Any, given: Sequence[Value]) -> list[Value]:
    """Add a loop that goes on as long as its condition holds, as one node with a graph of its own."""
    goes_on, once = _of_loop(equation)
    fixed = equation.params["cond_nconsts"] + equation.params["body_nconsts"]
    consts, carry = list(given[:fixed]), [graph.ordered(graph.whole(value)) for value in given[fixed:]]
    inside = Graph(graph.batch, graph)
    names = [f"{inside.prefix}carry_{place}" for place in range(len(carry))]
    of_round = [value._replace(name=name, constant=None) for name, value in zip(names, carry, strict=True)]
    found = [inside.ordered(inside.whole(value)) for value in added(inside, once, [*consts, *of_round])]
    values = [*added(inside, goes_on, [*consts, *found]), *found]
    results = [inside.node("Identity", [inside.name(value)]) for value in values]
    number: _Typed = (f"{inside.prefix}round", TensorProto.INT64, [])
    before: _Typed = (f"{inside.prefix}before", TensorProto.BOOL, [])
    inputs = [number, before, *map(_typed, names, carry)]
    outputs = [(results[0], TensorProto.BOOL, []), *map(_typed, results[1:], carry)]
    described = [[helper.make_tensor_value_info(*each) for each in listed] for listed in (inputs, outputs)]
    body = helper.make_graph(inside.nodes, f"{inside.prefix}body", described[0], described[1])
    begun = [graph.name(value) for value in (*added(graph, goes_on, [*consts, *carry]), *carry)]
    made = graph.several("Loop", ["", *begun], len(carry), body=body)
    return [graph.value(name, value.shape, value.dtype) for name, value in zip(made, carry, strict=True)]


def _typed(name: str, value: Value) -> _Typed:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    return name, kind, [size if isinstance(size, int) else None for size in value.shape]


def _of_loop(equation: Any) -> tuple[Any, Any]:
    """Return the condition of a loop and one round of it, programs of the loop's operands.

    Where the loop is one for each image, a round changes only the images whose own condition holds, and the loop goes
    on as long as one does.
    """
    asked = equation.params
    first, fixed = asked["cond_nconsts"], asked["cond_nconsts"] + asked["body_nconsts"]

    def holds(*given: jax.Array) -> jax.Array:
        (found,) = jaxpr_as_fun(asked["cond_jaxpr"])(*given[:first], *given[fixed:])
        return found

    def once(*given: jax.Array) -> list[jax.Array]:
        found, going = jaxpr_as_fun(asked["body_jaxpr"])(*given[first:]), holds(*given)
        if not going.ndim:
            return found
        each = [going.reshape(going.shape + (1,) * (array.ndim - going.ndim)) for array in found]
        return [jnp.where(*three) for three in zip(each, found, given[fixed:], strict=True)]

    shapes = [jax.ShapeDtypeStruct(each.aval.shape, each.aval.dtype) for each in equation.invars]
    return jax.make_jaxpr(lambda *given: holds(*given).any())(*shapes), jax.make_jaxpr(once)(*shapes)


def _computed(equation: Any, given: Sequence[Value]) -> Sequence[np.ndarray] | None:
    """Return what an operation gives where nothing of it depends on the images or their number."""
    every = [*(value.shape for value in given), *(variable.aval.shape for variable in equation.outvars)]
    if not all(isinstance(size, int) for shape in every for size in shape):
        return None
    if any(value.constant is None for value in given) or equation.primitive.name == "dim_as_value":
        return None
    arrays = [np.broadcast_to(value.constant, value.shape) for value in given if value.constant is not None]
    out = equation.primitive.bind(*arrays, **equation.params)
    return [np.asarray(array) for array in (out if equation.primitive.multiple_results else [out])]
