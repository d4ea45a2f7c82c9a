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
