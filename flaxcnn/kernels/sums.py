"""Sums over all axes but the last, and their transpose: the gradient of a bias, several times faster than XLA:CPU's."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad

from flaxcnn.kernels.operation import Definition, bind, define


def channel_sum(values: jax.Array) -> jax.Array:
    """Return the sums over all axes but the last, (C,), of values (..., C)."""
    return bind(_channel_sum, values)


def spread(values_C: jax.Array, shape: tuple[int, ...], *, leads: bool = False) -> jax.Array:
    """Repeat values (C,) over all axes but the last of a shape; the gradient is a `channel_sum`.

    Args:
        values_C: the values.
        shape: of the result, (..., C).
        leads: whether values and result have one more axis before, of several such arrays.
    """
    return _spread.bind(values_C, lead=(leads,), shape=shape)


def _sum(values: jax.Array) -> jax.Array:
    return jnp.sum(values, axis=tuple(range(values.ndim - 1)))


def _native_sum(values: Any) -> tuple[str, dict[str, Any]] | None:
    return ("flaxcnn_channel_sum", {}) if values.dtype == jnp.float32 and all(values.shape) else None


_channel_sum = define(
    Definition(
        "channel_sum",
        (),
        lambda values: jax.ShapeDtypeStruct(values.shape[-1:], values.dtype),
        _sum,
        _sum,
        _native_sum,
    )
)


def _repeat(values: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jnp.broadcast_to(values, shape)


_spread = define(
    Definition(
        "spread",
        ("shape",),
        lambda values, shape: jax.ShapeDtypeStruct(shape, values.dtype),
        _repeat,
        _repeat,
        lambda values, shape: None,
    )
)
ad.deflinear2(_spread, lambda ct, values, lead, shape: (_channel_sum.bind(ct, lead=lead),))
ad.deflinear2(
    _channel_sum,
    lambda ct, values, lead: (_spread.bind(ct, lead=lead, shape=values.aval.shape[int(lead[0]) :]),),
)
