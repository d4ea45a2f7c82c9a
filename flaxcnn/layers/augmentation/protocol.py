"""The interface of an augmentation."""

from typing import Protocol, TypeAlias

import jax
import jax.numpy as jnp

Strength: TypeAlias = float | jax.Array
"""Strength of an augmentation: a number, or a float32 scalar that is a runtime value of a compiled program."""


class Augmentation(Protocol):
    """A random change of one image. Implementations are frozen dataclasses and pytrees (`flax.struct.dataclass`)."""

    def __call__(self, key: jax.Array, image_HWC: jax.Array) -> jax.Array:
        """Return the augmented image, (H, W, C), of the same dtype."""
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


class OneByOne:
    """Base of an augmentation of which each image needs another part, such as one of many operations.

    On CPU, the images of a batch then go through it one after the other and each takes its own part alone. Elsewhere
    every part is computed for all images at once, and selected.
    """


def require_float_pixels(image: jax.Array, augmentation: str) -> None:
    """Require pixels that can be interpolated.

    Raises:
        TypeError: the pixels are not floating-point.
    """
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(
            f"{augmentation}: expected floating-point pixels, found {image.dtype}. "
            "Make them with flaxcnn.layers.to_float first"
        )
