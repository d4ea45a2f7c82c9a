"""What an augmentation is, for those who apply one and those who write another."""

from typing import Protocol, TypeAlias

import jax
import jax.numpy as jnp

Strength: TypeAlias = float | jax.Array
"""How much an augmentation may change: a number, or a float32 scalar that a compiled program takes as it runs."""


class Augmentation(Protocol):
    """A random change of one image. Implementations are frozen dataclasses and pytrees (`flax.struct.dataclass`)."""

    def __call__(self, key: jax.Array, image_HWC: jax.Array) -> jax.Array:
        """Return the changed image, (H, W, C), of the same dtype."""
        ...

    def source(self, key: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
        """Return where the augmentation reads its input for given coordinates of its output.

        Args:
            key: the same as for the image.
            coordinates_2HW: rows and columns of the output, in pixels, float32.

        Returns:
            Rows and columns of the input, (2, H, W) float32; outside of the image for what is padded.
        """
        ...


def require_float_pixels(image: jax.Array, augmentation: str) -> None:
    """Refuse pixels between which nothing can be interpolated.

    Raises:
        TypeError: they are not floating-point.
    """
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(
            f"{augmentation}: expected floating-point pixels, found {image.dtype}. "
            "Make them with flaxcnn.layers.to_float first"
        )
