"""A model divided at an endpoint: its outputs as a function of that activation.

Models return their named activations, and none of them takes one back. So the model is traced once more, and of its
equations those are kept that lie between the endpoint and the outputs. This needs nothing of a model, and works for
any: of the library or a user's own, Linen or NNX. Gradients that layers define themselves stay theirs.

Source of the way to run equations: JAX's guide "Writing custom Jaxpr interpreters in JAX".
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal, Var

from flaxcnn.errors import ConfigError, nearest


class Endpoint(NamedTuple):
    """A named activation with rows and columns.

    Attributes:
        name: of the activation.
        shape: of one image's, (rows, columns, channels); more than one cell.
    """

    name: str
    shape: tuple[int, int, int]


def endpoints_of(forward: Callable[..., Any], *arguments: Any) -> list[Endpoint]:
    """Return the activations of a function that have rows and columns, as `in_order` has them."""
    return [
        Endpoint(name, (shape[1], shape[2], shape[3]))
        for name, shape in in_order(forward, *arguments).items()
        if len(shape) == 4 and shape[1] * shape[2] > 1
    ]


def in_order(forward: Callable[..., Any], *arguments: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a function's activations by name, in the order in which they are computed.

    Args:
        forward: returns (outputs, endpoints) for the arguments, as a model's `apply` does.
        arguments: trees of arrays, or of their shapes.
    """
    traced = _traced(forward, arguments)
    places = {var: place for place, each in enumerate(traced.equations) for var in each.outvars}
    computed = sorted(traced.named, key=lambda name: places.get(traced.named[name], -1))
    return {name: traced.shapes[name] for name in computed}


def named(endpoints: Any) -> dict[str, Any]:
    """Return the leaves of a tree of endpoints by name, those of a tree in it as `outer.inner`."""
    paths, _ = jax.tree.flatten_with_path(endpoints)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in paths}


def after(forward: Callable[..., Any], endpoint: str, *arguments: Any) -> Callable[..., jax.Array]:
    """Return a function of an endpoint's activation, and of the arguments, that returns the outputs.

    What reaches the outputs beside the endpoint, such as a shortcut around it, is computed from the arguments.

    Args:
        forward: as for `endpoints_of`.
        endpoint: its name.
        arguments: as for `endpoints_of`; the function is for arrays of these shapes.

    Raises:
        ConfigError: there is no such endpoint, or the outputs do not depend on it.
    """
    traced = _traced(forward, arguments)
    if endpoint not in traced.named:
        known = nearest(endpoint, traced.named) if traced.named else "the model names none"
        raise ConfigError("unknown endpoint", where="endpoint", found=endpoint, fix=known)
    at = traced.named[endpoint]
    kept, needed = _between(traced, at)
    if at not in needed:
        fix = "name another, which the outputs are computed from"
        raise ConfigError("the outputs do not depend on this endpoint", where="endpoint", found=endpoint, fix=fix)

    def outputs_of(activation: jax.Array, *given: Any) -> jax.Array:
        values = dict(zip(traced.inputs, [*traced.constants, *jax.tree.leaves(given)], strict=True))
        values[at] = activation

        def value(each: Any) -> Any:
            return each.val if isinstance(each, Literal) else values[each]

        for equation in kept:
            primitive = equation.primitive
            found = primitive.bind(*map(value, equation.invars), **primitive.get_bind_params(equation.params))
            results = found if primitive.multiple_results else [found]
            values |= {var: result for var, result in zip(equation.outvars, results, strict=True) if var is not at}
        return value(traced.outputs)

    return outputs_of


class _Traced(NamedTuple):
    """A function as equations.

    Attributes:
        inputs: the variables of its constants, then of its arguments' leaves.
        constants: the values of the first ones.
        equations: in the order in which they are computed.
        outputs: the variable, or the literal, of its outputs.
        named: the variables of its endpoints, by name, as far as they are computed.
        shapes: of its endpoints, by name.
    """

    inputs: Sequence[Var]
    constants: Sequence[Any]
    equations: Sequence[Any]
    outputs: Any
    named: dict[str, Var]
    shapes: dict[str, tuple[int, ...]]


def _traced(forward: Callable[..., Any], arguments: Sequence[Any]) -> _Traced:
    closed, found = jax.make_jaxpr(forward, return_shape=True)(*arguments)
    outputs, endpoints = found
    if len(jax.tree.leaves(outputs)) != 1:
        shown = f"{len(jax.tree.leaves(outputs))} arrays"
        raise ConfigError("outputs that cannot be explained", where="the model", expected="one array", found=shown)
    variables, shapes = {}, {}
    for (name, shape), variable in zip(named(endpoints).items(), closed.jaxpr.outvars[1:], strict=True):
        if not isinstance(variable, Literal):
            variables[name], shapes[name] = variable, tuple(shape.shape)
    inputs = [*closed.jaxpr.constvars, *closed.jaxpr.invars]
    return _Traced(inputs, closed.consts, closed.jaxpr.eqns, closed.jaxpr.outvars[0], variables, shapes)


def _between(traced: _Traced, at: Var) -> tuple[list[Any], set[Any]]:
    """Return the equations that make the outputs where `at` is given, in order, and the variables that they need."""
    needed = set() if isinstance(traced.outputs, Literal) else {traced.outputs}
    kept = []
    for equation in reversed(traced.equations):
        made = needed.intersection(equation.outvars)
        if made and made != {at}:
            kept.append(equation)
            needed |= {each for each in equation.invars if isinstance(each, Var)}
    return kept[::-1], needed
