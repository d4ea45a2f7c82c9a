"""Batch normalisation in two passes over the activations on a CPU, with a ReLU where one follows."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from flaxcnn.kernels import library
from flaxcnn.kernels.normalization import normalise_batch, plain_normalise_batch
from flaxcnn.kernels.operation import is_divided
from flaxcnn.layers.convolution import portable


class BatchNorm(nn.BatchNorm):
    """`flax.linen.BatchNorm`, its parameters, statistics and values, and a ReLU after it if `relu` is set.

    In training, float32 activations normalised over their last axis use `flaxcnn.kernels`; everything else is Flax's.

    Attributes:
        relu: whether a ReLU follows.
    """

    relu: bool = False

    @nn.compact
    def __call__(
        self, x: jax.Array, use_running_average: bool | None = None, *, mask: jax.Array | None = None
    ) -> jax.Array:
        """Normalise activations (..., C), as `flax.linen.BatchNorm` does."""
        running = nn.merge_param("use_running_average", self.use_running_average, use_running_average)
        if running or portable.value or not self._is_plain(x, mask):
            y = super().__call__(x, use_running_average, mask=mask)
            return nn.relu(y) if self.relu else y
        shape = (x.shape[-1],)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        variance = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale = self.param("scale", self.scale_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, shape, self.param_dtype)
        y, mean_of_batch, variance_of_batch = normalise_batch(
            x, scale, bias, self.epsilon, math.inf if self.relu else 0.0
        )
        if not self.is_initializing():
            for kept, new in ((mean, mean_of_batch), (variance, variance_of_batch)):
                kept.value = self.momentum * kept.value + (1 - self.momentum) * new
        return y

    def _is_plain(self, x: jax.Array, mask: jax.Array | None) -> bool:
        """Return whether nothing is asked for but the usual, and there is native code for it.

        Without the library Flax's own layer computes, with the bits of its own gradient.
        """
        dtypes = {jnp.dtype(each) for each in (x.dtype, self.dtype or x.dtype, self.param_dtype)}
        return (
            library.available()
            and dtypes == {jnp.dtype(jnp.float32)}
            and x.size > 0
            and not is_divided(x)
            and self.axis in (-1, x.ndim - 1)
            and self.axis_name is None
            and mask is None
            and self.use_scale
            and self.use_bias
            and self.use_fast_variance
            and self.force_float32_reductions
        )


def normalise(
    x: jax.Array, scale_C: jax.Array, bias_C: jax.Array, epsilon: float, *, bound: float = 0.0
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalise the channels of a batch by their own mean and variance, as `BatchNorm` does in training.

    Args:
        x: activations, (..., C), of any floating-point type.
        scale_C: by which normalised values are multiplied, float32.
        bias_C: what is then added, float32.
        epsilon: added to the variance.
        bound: where a ReLU ends that follows: infinity, or 6 for ReLU6; 0 for none.

    Returns:
        Activations of the shape and dtype of `x`, and the channels' mean and variance, float32 (C,).
    """
    if x.dtype == jnp.float32 and x.size and not portable.value and not is_divided(x):
        return normalise_batch(x, scale_C, bias_C, epsilon, bound)
    y, mean, variance = plain_normalise_batch(x.astype(jnp.float32), scale_C, bias_C, epsilon, bound)
    return y.astype(x.dtype), mean, variance
