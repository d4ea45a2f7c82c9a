"""Let a module's batch normalisation keep another share of its running statistics than the module's author chose."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import flax.linen as nn
import jax

from flaxcnn.adapters.evaluating import as_in_evaluation

_FIELD = "momentum"  # of Linen's, NNX's and the library's layers: the share of the old statistics that a step keeps
_share: ContextVar[float | None] = ContextVar("share", default=None)
_reached: ContextVar[list[str]] = ContextVar("reached")

# A part of the key of JAX's cache of traces: a nn.jit inside a module is traced again for another share.
_in_cache = jax.make_user_context(default_value=None)


@contextmanager
def keeping(share: float | None) -> Iterator[list[str]]:
    """Let all layers of batch normalisation keep a share of their running statistics within a `with` block.

    A layer is a Linen module with a field `momentum` and running statistics `mean`, or an NNX module with both as
    attributes. The value of the block is the list of the layers that were reached, by path.

    Args:
        share: of the old mean and variance, from 0 to 1, that each step keeps; None for the layers' own. At 1 the
            statistics stay, and the layers normalise by them, as in evaluation.
    """
    reached: list[str] = []
    before, listed = _share.set(share), _reached.set(reached)
    try:
        with nullcontext() if share is None else nn.intercept_methods(_intercept), _in_cache(share):
            yield reached
    finally:
        _reached.reset(listed)
        _share.reset(before)


def keep_in(layers: dict[tuple[str, ...], Any]) -> None:
    """Set the share, if there is one, in NNX layers, by path, that nothing else uses."""
    share = _share.get()
    for path, layer in layers.items() if share is not None else ():
        if hasattr(layer, _FIELD) and hasattr(layer, "mean"):
            setattr(layer, _FIELD, share)
            if share == 1:
                layer.eval()
            _reached.get().append("/".join(path))


def _intercept(method: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any], context: Any) -> Any:
    """Run a method of a Linen module; in batch normalisation with the share in place of the layer's own."""
    module, share = context.module, _share.get()
    if (
        share is None
        or context.method_name != "__call__"
        or _FIELD not in {each.name for each in dataclasses.fields(module)}
        or not module.has_variable("batch_stats", "mean")
    ):
        return method(*arguments, **options)
    own = getattr(module, _FIELD)
    object.__setattr__(module, _FIELD, share)
    _reached.get().append("/".join(module.path))
    try:
        if share == 1:
            return as_in_evaluation(module, method, arguments, options)
        return method(*arguments, **options)
    finally:
        object.__setattr__(module, _FIELD, own)
