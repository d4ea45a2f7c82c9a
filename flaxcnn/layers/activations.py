"""Piecewise linear activations of networks for small devices, with gradients of one comparison a bound."""

import jax
import jax.numpy as jnp


def relu6(x: jax.Array) -> jax.Array:
    """Return x between 0 and 6. The gradient at both bounds is 0, as in PyTorch (`jax.nn.relu6` has a half there).

    Source: A. Krizhevsky, "Convolutional Deep Belief Networks on CIFAR-10", 2010.
    """
    return jax.lax.clamp(jnp.zeros((), x.dtype), x, jnp.full((), 6, x.dtype))


def hard_sigmoid(x: jax.Array) -> jax.Array:
    """Return relu6(x + 3) / 6.

    Source: A. Howard et al., "Searching for MobileNetV3", ICCV 2019, section 5.2.
    """
    return relu6(x + 3) * (1 / 6)


def hard_swish(x: jax.Array) -> jax.Array:
    """Return x times its `hard_sigmoid` (the same section)."""
    return x * hard_sigmoid(x)
