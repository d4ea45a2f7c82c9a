"""Intercept every call of a module's layers, for Linen and NNX."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import flax.linen as nn


class Layer(NamedTuple):
    """A layer's position in its module."""

    path: tuple[str, ...]


class Call(NamedTuple):
    """The call of an NNX layer, with the attributes of Linen's `InterceptorContext`."""

    module: Layer
    method_name: str


# (method, arguments, options, context) -> result; the context has `module.path` and `method_name`.
Interceptor = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any], Any]

_interceptor: ContextVar[Interceptor | None] = ContextVar("interceptor", default=None)


def current_interceptor() -> Interceptor | None:
    """Return the active interceptor of NNX layer calls; None without one."""
    return _interceptor.get()


@contextmanager
def intercepting(interceptor: Interceptor) -> Iterator[None]:
    """Intercept method calls inside a `with` block, also if Python skips assertions (`PYTHONOPTIMIZE`).

    Flax removes its interceptor in an assertion; here it does nothing after the block.
    """
    entered = True

    def intercept(method: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any], context: Any) -> Any:
        return interceptor(method, arguments, options, context) if entered else method(*arguments, **options)

    token = _interceptor.set(interceptor)
    try:
        with nn.intercept_methods(intercept):
            yield
    finally:
        entered = False
        _interceptor.reset(token)
