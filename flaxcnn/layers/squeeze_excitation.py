"""Channels weighted by what an image as a whole shows: J. Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike

from flaxcnn.layers.conv_norm import Activation


class _Pointwise(nn.Module):
    """A dense layer of (B, C) whose kernel is that of a 1×1 convolution: published weights have it in this shape."""

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BC: jax.Array) -> jax.Array:
        init = variance_scaling(2.0, "fan_out", "normal")
        kernel = self.param("kernel", init, (1, 1, x_BC.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        x_BC, kernel, bias = nn.dtypes.promote_dtype(x_BC, kernel, bias, dtype=self.dtype)
        return x_BC @ kernel[0, 0] + bias


class SqueezeExcitation(nn.Module):
    """Multiplies each channel by a weight that two dense layers, `reduce` and `expand`, compute of all channels' means.

    Kernels begin normal with the variance 2 / outputs, biases at zero.

    Attributes:
        squeezed: number of outputs of the first layer.
        activation: after the first layer.
        gate: after the second layer, which makes the weights.
        dtype: dtype of the computation; parameters are float32.
    """

    squeezed: int
    activation: Activation
    gate: Activation
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Return activations of the same shape, (B, H, W, C)."""
        x_BS = self.activation(_Pointwise(self.squeezed, self.dtype, name="reduce")(jnp.mean(x_BHWC, axis=(1, 2))))
        weight_BC = self.gate(_Pointwise(x_BHWC.shape[-1], self.dtype, name="expand")(x_BS))
        return x_BHWC * weight_BC[:, None, None, :]
