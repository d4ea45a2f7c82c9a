"""See every call of a module's layers, Linen's and NNX's alike."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import flax.linen as nn


class Layer(NamedTuple):
    """Where a layer is in its module."""

    path: tuple[str, ...]


class Call(NamedTuple):
    """The call of an NNX layer, as Linen's `InterceptorContext` says it."""

    module: Layer
    method_name: str


# (method, arguments, options, context) -> result; the context has `module.path` and `method_name`.
Interceptor = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any], Any]

_interceptor: ContextVar[Interceptor | None] = ContextVar("interceptor", default=None)


def current_interceptor() -> Interceptor | None:
    """Return what sees the calls of NNX layers; None for nothing."""
    return _interceptor.get()


@contextmanager
def intercepting(interceptor: Interceptor) -> Iterator[None]:
    """Intercept methods while entered, also where Python optimises (`PYTHONOPTIMIZE`) and so leaves assertions out.

    Flax takes an interceptor back in one; here it does nothing any more then.
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
