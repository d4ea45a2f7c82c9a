"""Selective Kernel units: X. Li et al., "Selective Kernel Networks", CVPR 2019, section 3.1.

Two convolutions of the same input, 3×3 and 3×3 dilated by 2 (which stands for 5×5), each normalised, with ReLU. Their
sum is averaged over all positions and squeezed to d = max(C / r, L) numbers, from which a softmax over the two branches
weights them, each channel by itself.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike

from flaxcnn.layers.conv_norm import ConvNorm
from flaxcnn.layers.normalization import BatchNorm


class SelectiveKernel(nn.Module):
    """A Selective Kernel unit SK[2, groups, reduction].

    Padding is explicit, as much as the dilation on all sides, so that the size stays. Weights begin as He et al. (2015)
    have it, those that give the attention as `flax.linen.Dense`.

    Attributes:
        features: C, channels of the branches.
        train: whether to normalise by the batch's statistics.
        groups: of the convolutions, the paper's G.
        reduction: the paper's r.
        least: the paper's L, the least d.
        dtype: dtype of the computation; parameters and statistics are float32.
    """

    features: int
    train: bool
    groups: int = 32
    reduction: int = 16
    least: int = 32
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Return activations (B, H, W, features)."""
        branches = [
            ConvNorm(
                self.features,
                (3, 3),
                self.train,
                kernel_dilation=dilation,
                groups=self.groups,
                dtype=self.dtype,
                name=f"branch{number}",
            )(x_BHWC)
            for number, dilation in enumerate((1, 2), 1)
        ]
        squeezed = max(self.features // self.reduction, self.least)
        pooled_BC = jnp.mean(branches[0] + branches[1], axis=(1, 2))
        he = variance_scaling(2.0, "fan_in", "normal")
        z = nn.Dense(squeezed, use_bias=False, dtype=self.dtype, kernel_init=he, name="squeeze")(pooled_BC)
        z = BatchNorm(not self.train, momentum=0.9, epsilon=1e-5, dtype=self.dtype, relu=True, name="norm")(z)
        scores = nn.Dense(2 * self.features, use_bias=False, dtype=self.dtype, name="attention")(z)
        weights = jax.nn.softmax(scores.reshape(-1, 2, self.features), axis=1)[:, :, None, None, :]
        return branches[0] * weights[:, 0] + branches[1] * weights[:, 1]
