"""A convolution with batch normalisation and an activation: the block that most networks are made of.

As one layer it needs less time than three. In training, a ReLU or ReLU6 belongs to the pass that normalises. In
evaluation the normalisation is folded into the kernel and the bias, so that the activations are written once.
"""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike

from flaxcnn.layers.activations import relu6
from flaxcnn.layers.convolution import CANONICAL, convolved, pair
from flaxcnn.layers.normalization import normalise

Activation = Callable[[jax.Array], jax.Array]
# The activations that belong to the pass that normalises, and where they end.
_BOUNDS: dict[Activation | None, float] = {nn.relu: math.inf, relu6: 6.0}


class ConvNorm(nn.Module):
    """A convolution, batch normalisation, and an activation.

    Its variables are `kernel` (height, width, C / groups, features), `scale` and `bias` (features,), and the statistics
    `mean` and `var` (features,) in "batch_stats", with the values that `flax.linen.Conv` and `flax.linen.BatchNorm`
    would give them, up to rounding. The running variance is that of the batch itself, as in Keras; PyTorch's is
    n / (n - 1) times as large, for n values a channel.

    Source of the normalisation: S. Ioffe and C. Szegedy, "Batch Normalization", ICML 2015, algorithms 1 and 2.

    Attributes:
        features: number of filters.
        kernel_size: height and width.
        train: whether to normalise by the batch's statistics and to update the running ones.
        strides: in height and width, or one for both.
        padding: "SAME", "VALID", one number for all sides, or (low, high) of height and of width; None for the same
            on both sides that keeps the size at stride 1, as PyTorch's models pad: dilation x (size - 1) / 2.
        kernel_dilation: one for height and width.
        groups: number of channel groups that are convolved separately.
        biased: whether the convolution has a bias, `conv_bias` (features,), as in torchvision's VGG. The normalisation
            takes it away again; it changes nothing but the running mean, and its gradient is 0.
        scaled: whether there is a `scale`; Keras' Inception networks have none.
        activation: elementwise; None for none.
        momentum: share of the old statistics that an update keeps.
        epsilon: added to the variance.
        dtype: dtype of the computation; statistics and parameters are float32.
        kernel_init: initialiser of the kernel.
        scale_init: initialiser of the scale.
    """

    features: int
    kernel_size: tuple[int, int]
    train: bool
    strides: int | tuple[int, int] = 1
    padding: str | int | Sequence[tuple[int, int]] | None = None
    kernel_dilation: int = 1
    groups: int = 1
    biased: bool = False
    scaled: bool = True
    activation: Activation | None = nn.relu
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32
    kernel_init: nn.initializers.Initializer = variance_scaling(2.0, "fan_out", "normal")
    scale_init: nn.initializers.Initializer = nn.initializers.ones_init()

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Return activations (B, H', W', features)."""
        shape = (*self.kernel_size, x_BHWC.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        zeros, size = nn.initializers.zeros_init(), (self.features,)
        shift = self.param("conv_bias", zeros, size, jnp.float32) if self.biased else 0.0
        scale = self.param("scale", self.scale_init, size, jnp.float32) if self.scaled else jnp.ones(size, jnp.float32)
        bias = self.param("bias", zeros, size, jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, (self.features,), jnp.float32)
        variance = self.variable("batch_stats", "var", jnp.ones, (self.features,), jnp.float32)
        if self.train:
            bound = _BOUNDS.get(self.activation, 0.0)
            y, mean_of_batch, variance_of_batch = normalise(
                self._convolved(x_BHWC, kernel, None), scale, bias, self.epsilon, bound=bound
            )
            if not self.is_initializing():
                for kept, new in ((mean, mean_of_batch + shift), (variance, variance_of_batch)):
                    kept.value = self.momentum * kept.value + (1 - self.momentum) * new
            return y if bound or self.activation is None else self.activation(y)
        factor = scale * jax.lax.rsqrt(variance.value + self.epsilon)
        y = self._convolved(x_BHWC, kernel * factor, bias + (shift - mean.value) * factor)
        return y if self.activation is None else self.activation(y)

    def _convolved(self, x: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
        padding = self.padding
        if padding is None:
            height, width = (self.kernel_dilation * (size - 1) // 2 for size in self.kernel_size)
            padding = [(height, height), (width, width)]
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return convolved(
            x,
            kernel,
            bias,
            window_strides=pair(self.strides),
            padding=[(padding, padding)] * 2 if isinstance(padding, int) else padding,
            rhs_dilation=pair(self.kernel_dilation),
            dimension_numbers=CANONICAL,
            feature_group_count=self.groups,
        )
