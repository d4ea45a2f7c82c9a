"""A feature pyramid: activations of several strides, each with what the coarser ones know.

Source: T.-Y. Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.layers.convolution import Conv


class Pyramid(nn.Module):
    """Brings activations to one number of channels, and adds the coarser ones to the finer ones.

    Attributes:
        width: number of channels of each level.
        dtype: dtype of the computation; parameters are float32.
    """

    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, levels: Sequence[jax.Array]) -> list[jax.Array]:
        """Return as many levels (B, H, W, width) as there are given, (B, H, W, C) each, the finest first."""
        found: list[jax.Array] = []
        for number in reversed(range(len(levels))):
            x = Conv(self.width, (1, 1), dtype=self.dtype, name=f"lateral{number + 1}")(levels[number])
            if found:
                x = x + doubled(found[0], x.shape[1], x.shape[2])
            found.insert(0, x)
        return [
            Conv(self.width, (3, 3), dtype=self.dtype, name=f"smooth{number}")(x) for number, x in enumerate(found, 1)
        ]


def doubled(x_BHWC: jax.Array, height: int, width: int) -> jax.Array:
    """Return activations at twice the height and width, each repeated, and cut to (B, height, width, C)."""
    return jnp.repeat(jnp.repeat(x_BHWC, 2, axis=1), 2, axis=2)[:, :height, :width]
