"""Let some layers of a module compute what they compute in evaluation, while the others train."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import flax.linen as nn
import jax

from flaxcnn.adapters.adapted import MODES

Paths = frozenset[tuple[str, ...]]

_still: ContextVar[Paths] = ContextVar("still", default=frozenset())

# A part of the key of JAX's cache of traces: a nn.jit inside a module is traced again for other layers.
_in_cache = jax.make_user_context(default_value=None)


@contextmanager
def evaluating(layers: Paths) -> Iterator[None]:
    """Let layers, by path, and all that is inside them, compute as in evaluation within a `with` block.

    A Linen layer is told so by its field or argument `train`, `deterministic`, `use_running_average` or the like, as
    far as it has one. An NNX layer is told by `eval()`.
    """
    token = _still.set(layers)
    try:
        with nn.intercept_methods(_intercept) if layers else nullcontext(), _in_cache(layers or None):
            yield
    finally:
        _still.reset(token)


def still_layers() -> Paths:
    """Return the paths of the layers that are to compute as in evaluation."""
    return _still.get()


def _is_still(path: tuple[str, ...]) -> bool:
    layers = _still.get()
    return any(path[:size] in layers for size in range(len(path) + 1))


def _intercept(method: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any], context: Any) -> Any:
    """Run a method of a Linen module, as in evaluation where its module is to."""
    module = context.module
    if context.method_name != "__call__" or not _is_still(tuple(module.path)):
        return method(*arguments, **options)
    return as_in_evaluation(module, method, arguments, options)


def as_in_evaluation(
    module: nn.Module, method: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Return what a Linen module's `__call__` computes in evaluation, whatever its fields and arguments say."""
    call = inspect.signature(type(module).__call__).bind(module, *arguments, **options)
    given = {name for name in call.arguments if name in MODES and call.arguments[name] is not None}
    for name in given:
        call.arguments[name] = not MODES[name]
    fields = {each.name for each in dataclasses.fields(module)}
    before = {name: getattr(module, name) for name in MODES if name in fields and getattr(module, name) is not None}
    for name in before:
        object.__setattr__(module, name, not MODES[name])
    try:
        return method(*call.args[1:], **call.kwargs)
    finally:
        for name, value in before.items():
            object.__setattr__(module, name, value)
