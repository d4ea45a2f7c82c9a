"""Trace a module with abstract arrays and record the inputs, outputs and variables of its layers.

Tracing computes nothing and allocates no memory, for any image size.
"""

import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from flaxcnn.adapters import Adapted, FlaxModule, intercepting, mode_options, module_name
from flaxcnn.errors import ContractError

# What JAX takes from its cache of traces, a nn.jit inside a module, calls no interceptor. Where that may have been, the
# module is traced again in a context that the cache has not seen; always doing so would take three times as long.
_fresh_trace = jax.make_user_context(default_value=None)
_trace_numbers = itertools.count()

_OUTPUT = "output"  # the line of what a module returns without a name

Lengths = tuple[int, ...]


class Line(NamedTuple):
    """A line of a contract at one batch size and number of classes."""

    path: str
    inputs: tuple[Lengths, ...] | None
    outputs: tuple[Lengths, ...]
    variables: tuple[tuple[str, str, Lengths], ...]  # collection, name, shape


def record(module: FlaxModule, shape: Sequence[int]) -> list[Line]:
    """Trace a module's `init` with images of a shape, (B, H, W, C), and return the lines of its contract."""
    lines, whole = _record(module, shape)
    if not whole:
        with _fresh_trace(next(_trace_numbers)):
            lines, _ = _record(module, shape)
    return lines


def _record(module: FlaxModule, shape: Sequence[int]) -> tuple[list[Line], bool]:
    """Return the lines, and whether they are surely all."""
    options = _options(module)
    trace = _Trace()
    lines: list[Line] = []

    def run(key: jax.Array, images: jax.Array) -> None:
        with intercepting(trace.intercept):
            result, variables = module.init_with_output(key, images, **options)
        lines.extend(_lines(trace, result, nn.unbox(variables)))
        trace.calls.clear()  # of tracers, which may not outlive what is traced

    key = jax.eval_shape(lambda: jax.random.key(0))
    jax.eval_shape(run, key, jax.ShapeDtypeStruct(tuple(shape), jnp.float32))
    all_owned = not any("/" in name for line in lines for _, name, _ in line.variables)
    return lines, all_owned and not trace.transformations


def _options(module: FlaxModule) -> dict[str, Any]:
    """Return the arguments that tell a module not to train; raise if it needs anything but images and those."""
    call = module.call if isinstance(module, Adapted) else type(module).__call__
    parameters = list(inspect.signature(call).parameters.values())[2:]
    options = mode_options(call, False)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind not in variadic and each.name not in options
    ]
    if needed:
        raise ContractError(
            "module needs more than images",
            where=module_name(module),
            expected="__call__(images), with or without train",
            found=f"an argument without a default: {', '.join(needed)}",
        )
    return {} if isinstance(module, Adapted) else options  # an adapter gives them itself


@dataclass(eq=False)
class _Call:
    """A method call of a layer: its place in the order of starts and ends, and its arrays."""

    owner: tuple[str, ...]
    path: str
    inputs: list[jax.Array]
    start: int
    end: int = 0
    outputs: list[jax.Array] = field(default_factory=list)


@dataclass(eq=False)
class _Frame:
    """A method that runs now."""

    owner: tuple[str, ...] | None = None
    silent: bool = False  # not recorded, nor what it calls
    transforming: bool = False  # a lifted transformation was announced, and its layer not yet called
    transformed: tuple[str, ...] | None = None  # the layer of the last one


class _Trace:
    """Records the calls of a module's layers, keeping their tracers alive, since they are told apart by identity."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.transformations = False
        self._frames = [_Frame()]
        self._names: dict[str, int] = {}
        self._clock = itertools.count()

    def intercept(
        self,
        method: Callable[..., Any],
        arguments: tuple[Any, ...],
        options: dict[str, Any],
        context: Any,
    ) -> Any:
        """Run a method; record it if it is a layer's, called by another layer."""
        owner, name, caller = tuple(context.module.path), context.method_name, self._frames[-1]
        silent = caller.silent
        if name == "<lambda>":
            # Flax announces a lifted transformation, such as nn.scan, with this call. The transformation may trace its
            # layer more than once afterwards; until the next announcement, all of that is one call.
            caller.transforming = self.transformations = True
        elif caller.transforming:
            caller.transforming, caller.transformed = False, owner
        elif caller.transformed == owner:
            silent = True
        # A method that a layer calls of itself, and what Flax calls of it, is part of the layer.
        public = name == "__call__" or (name != "setup" and not name.startswith(("_", "<")))
        call = None
        if public and caller.owner != owner and not silent:
            call = self._begin(owner, name, jax.tree.leaves((arguments, options)))
        self._frames.append(_Frame(owner, silent))
        try:
            result = method(*arguments, **options)
        finally:
            self._frames.pop()
        if call is not None:
            call.outputs, call.end = _arrays(jax.tree.leaves(result)), next(self._clock)
        return result

    def _begin(self, owner: tuple[str, ...], method: str, leaves: Iterable[Any]) -> _Call:
        path = "/".join(owner) or "."
        if method != "__call__":
            path += f":{method}"
        self._names[path] = self._names.get(path, 0) + 1
        if self._names[path] > 1:
            path += f"#{self._names[path]}"
        self.calls.append(_Call(owner, path, _arrays(leaves), next(self._clock)))
        return self.calls[-1]


def _arrays(leaves: Iterable[Any]) -> list[jax.Array]:
    return [leaf for leaf in leaves if isinstance(leaf, jax.Array)]


def _lines(trace: _Trace, result: Any, variables: Mapping[str, Any]) -> list[Line]:
    owned = _variables_of(trace.calls, variables)
    placed = []
    for call in trace.calls:
        own = owned.pop(call.owner, ())  # said at the first call
        if call.path != "." or own:
            placed.append((float(call.start), Line(call.path, _shapes(call.inputs), _shapes(call.outputs), own)))
    position = 0.0
    for path, arrays in _endpoints(result):
        position, is_layer = (math.inf, False) if path == _OUTPUT else _position(trace.calls, path, arrays, position)
        if not is_layer:
            placed.append((position, Line(path, None, _shapes(arrays), ())))
    return [line for _, line in sorted(placed, key=lambda pair: pair[0])]


def _variables_of(
    calls: Sequence[_Call], variables: Mapping[str, Any]
) -> dict[tuple[str, ...], tuple[tuple[str, str, Lengths], ...]]:
    """Return each layer's variables: those whose path begins with the layer's and with no longer one's."""
    layers = {call.owner for call in calls}
    owned: dict[tuple[str, ...], list[tuple[str, str, Lengths]]] = {}
    for (collection, *path), array in flat(variables):
        length = max(size for size in range(len(path)) if tuple(path[:size]) in layers)
        owned.setdefault(tuple(path[:length]), []).append((collection, "/".join(path[length:]), array.shape))
    return {owner: tuple(sorted(own, key=_usual_order)) for owner, own in owned.items()}


def _usual_order(variable: tuple[str, str, Lengths]) -> Any:
    """Parameters first, and of these the bias last, as layers are usually written down."""
    collection, name, _ = variable
    return collection != "params", collection, name == "bias", name


def flat(tree: Any) -> list[tuple[tuple[str, ...], Any]]:
    """Return a tree's leaves with the names of their paths; dictionaries keep their order, which JAX would sort."""
    if isinstance(tree, Mapping):
        return [((str(name), *path), leaf) for name, branch in tree.items() for path, leaf in flat(branch)]
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(tuple(jax.tree_util.keystr((key,), simple=True) for key in path), leaf) for path, leaf in leaves]


def _endpoints(result: Any) -> list[tuple[str, list[jax.Array]]]:
    """Return what a module returns by name; what has none is `output`, unless it is one of the endpoints too."""
    named: Any = {}
    if isinstance(result, Mapping):
        result, named = (), result
    elif isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
        result, named = result
    endpoints = [("/".join(path), _arrays([leaf])) for path, leaf in flat(named)]
    known = {id(array) for _, arrays in endpoints for array in arrays}
    unnamed = _arrays(jax.tree.leaves(result))
    if any(id(array) not in known for array in unnamed):
        endpoints.append((_OUTPUT, unnamed))
    return [(path, arrays) for path, arrays in endpoints if arrays]


def _position(calls: Sequence[_Call], path: str, arrays: Sequence[jax.Array], after: float) -> tuple[float, bool]:
    """Return where an endpoint stands among the calls, and whether it is the call of its own name."""
    for call in calls:
        if call.path == path and _shapes(call.outputs) == _shapes(arrays):
            return call.end + 0.5, True
    for call in calls:
        if any(array is output for array in arrays for output in call.outputs) and call.path != ".":
            return call.end + 0.5, False
    for call in calls:
        if any(array is given for array in arrays for given in call.inputs) and call.path != ".":
            return call.start - 0.5, False
    return after, False


def _shapes(arrays: Iterable[jax.Array]) -> tuple[Lengths, ...]:
    return tuple(array.shape for array in arrays)
