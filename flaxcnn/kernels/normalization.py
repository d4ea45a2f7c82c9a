"""Batch normalisation by the statistics of the batch (S. Ioffe and C. Szegedy, ICML 2015), with its gradient."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import ad

from flaxcnn.kernels.operation import Definition, bind, define

_Statistics = tuple[jax.Array, jax.Array, jax.Array]  # normalised values, mean, variance


def normalise_batch(
    x: jax.Array, scale_C: jax.Array, bias_C: jax.Array, epsilon: float, bound: float = 0.0
) -> _Statistics:
    """Normalise the channels of a batch by their own mean and variance, over all axes but the last.

    Args:
        x: float32, (..., C).
        scale_C: by which normalised values are multiplied.
        bias_C: what is then added.
        epsilon: added to the variance.
        bound: where a ReLU ends that follows: infinity, or 6 for ReLU6; 0 for none.

    Returns:
        Values like `x`, and the channels' mean and variance, (C,).
    """
    y, mean, variance = bind(_batch_norm, x, scale_C, bias_C, epsilon=epsilon, bound=bound)
    return y, mean, variance


def plain_normalise_batch(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, bound: float = 0.0
) -> _Statistics:
    """What `flax.linen.BatchNorm` computes, operation by operation: the same bits. As `normalise_batch`."""
    axes = tuple(range(x.ndim - 1))
    mean, squares = x.mean(axes), lax.square(x).mean(axes)
    variance = jnp.maximum(0.0, squares - lax.square(mean))
    factor = lax.rsqrt(jnp.expand_dims(variance, axes) + epsilon) * scale.reshape([1] * len(axes) + [-1])
    y = (x - jnp.expand_dims(mean, axes)) * factor + bias.reshape([1] * len(axes) + [-1])
    return _activated(y, bound), mean, variance


def _activated(y: jax.Array, bound: float) -> jax.Array:
    if not bound:
        return y
    return jax.nn.relu(y) if math.isinf(bound) else lax.clamp(jnp.zeros((), y.dtype), y, jnp.full((), bound, y.dtype))


def _plain_gradient(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    mean: jax.Array,
    variance: jax.Array,
    *gradients: jax.Array,
    epsilon: float,
    bound: float,
) -> tuple[jax.Array, ...]:
    """The gradient as autodiff writes it; XLA finds that mean and variance are those of the forward pass."""
    _, transposed = jax.vjp(partial(plain_normalise_batch, epsilon=epsilon, bound=bound), x, scale, bias)
    return transposed(gradients)


def _statistics(x: Any, scale: Any, bias: Any, **_: Any) -> tuple[Any, ...]:
    return x, scale, scale


def _inputs(x: Any, scale: Any, bias: Any, *_: Any, **__: Any) -> tuple[Any, ...]:
    return x, scale, bias


def _native(target: str) -> Any:
    def attributes(*operands: Any, epsilon: float, bound: float) -> tuple[str, dict[str, Any]] | None:
        if any(each.dtype != jnp.float32 or not all(each.shape) for each in operands):
            return None
        return target, {"epsilon": np.float32(epsilon), "bound": np.float32(bound)}

    return attributes


_batch_norm = define(
    Definition(
        "batch_norm",
        ("epsilon", "bound"),
        _statistics,
        plain_normalise_batch,
        plain_normalise_batch,
        _native("flaxcnn_batch_norm"),
        multiple_results=True,
    )
)
_batch_norm_gradient = define(
    Definition(
        "batch_norm_gradient",
        ("epsilon", "bound"),
        _inputs,
        _plain_gradient,
        _plain_gradient,
        _native("flaxcnn_batch_norm_gradient"),
        multiple_results=True,
    )
)


def _plain_tangent(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    mean: jax.Array,
    variance: jax.Array,
    *tangents: jax.Array,
    epsilon: float,
    bound: float,
) -> _Statistics:
    return jax.jvp(partial(plain_normalise_batch, epsilon=epsilon, bound=bound), (x, scale, bias), tangents)[1]


def _tangents(x: Any, scale: Any, *_: Any, **__: Any) -> tuple[Any, ...]:
    return x, scale, scale


# The derivative in the direction of x, scale and bias. It is seldom computed: in reverse mode, its transpose is.
_batch_norm_tangent = define(
    Definition(
        "batch_norm_tangent",
        ("epsilon", "bound"),
        _tangents,
        _plain_tangent,
        _plain_tangent,
        lambda *_, **__: None,
        multiple_results=True,
    )
)


def _jvp(primals: Any, tangents: Any, *, lead: tuple[bool, ...], epsilon: float, bound: float) -> Any:
    results = _batch_norm.bind(*primals, lead=lead, epsilon=epsilon, bound=bound)
    whole = map(ad.instantiate_zeros, tangents)
    leads = (*lead, any(lead), any(lead), *lead)
    return results, _batch_norm_tangent.bind(*primals, *results[1:], *whole, lead=leads, epsilon=epsilon, bound=bound)


def _transpose(cotangents: Any, *operands: Any, lead: tuple[bool, ...], epsilon: float, bound: float) -> Any:
    point, wanted = operands[:5], operands[5:]
    whole = map(ad.instantiate_zeros, cotangents)
    leads = (*lead[:5], *[any(lead)] * 3)
    gradients = _batch_norm_gradient.bind(*point, *whole, lead=leads, epsilon=epsilon, bound=bound)
    summed = [  # one array was used for all of a leading axis
        gradient.sum(0) if any(lead) and not own else gradient
        for gradient, own in zip(gradients, lead[5:], strict=True)
    ]
    given = [each if ad.is_undefined_primal(to) else None for each, to in zip(summed, wanted, strict=True)]
    return [None] * 5 + given


def _as_plain(primitive: Any, plain: Any) -> Any:
    """Return a rule of differentiation that is JAX's own for the plain operation: for derivatives of the gradient."""

    def jvp(primals: Any, tangents: Any, *, lead: tuple[bool, ...], epsilon: float, bound: float) -> Any:
        function = partial(plain, epsilon=epsilon, bound=bound)
        if any(lead):
            function = jax.vmap(function, [0 if each else None for each in lead])
        _, derived = jax.jvp(function, primals, tuple(map(ad.instantiate_zeros, tangents)))
        return primitive.bind(*primals, lead=lead, epsilon=epsilon, bound=bound), list(derived)

    return jvp


ad.primitive_jvps[_batch_norm] = _jvp
ad.primitive_transposes[_batch_norm_tangent] = _transpose
ad.primitive_jvps[_batch_norm_tangent] = _as_plain(_batch_norm_tangent, _plain_tangent)
ad.primitive_jvps[_batch_norm_gradient] = _as_plain(_batch_norm_gradient, _plain_gradient)
