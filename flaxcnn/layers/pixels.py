"""Conversion of pixels from stored bytes to the floats that models take, on the device."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from flaxcnn.errors import DataError

CONSTANTS = "constants"  # the collection of values computed from training data, which training does not change


def to_float(images_BHWC: jax.Array) -> jax.Array:
    """Return uint8 images divided by 255, as float32, and floating-point images unchanged.

    Raises:
        TypeError: the images are neither uint8 nor floating-point, so their range is unknown.

    >>> to_float(jnp.asarray([0, 255], jnp.uint8))
    Array([0., 1.], dtype=float32)
    """
    if images_BHWC.dtype == jnp.uint8:
        return images_BHWC.astype(jnp.float32) / 255
    if jnp.issubdtype(images_BHWC.dtype, jnp.floating):
        return images_BHWC
    raise TypeError(f"images: expected uint8 or floating-point pixels, found {images_BHWC.dtype}")


def require_images(images_BHWC: jax.Array, *, where: str) -> None:
    """Raise DataError if an array is not a batch of images, with four axes.

    Args:
        images_BHWC: an array that should be (B, H, W, C).
        where: the model's name, for the error.
    """
    if images_BHWC.ndim != 4:
        raise DataError("not a batch of images", where=where, expected="(B, H, W, C)", found=images_BHWC.shape)


def split_constants(variables: Any) -> tuple[dict[str, Any], dict[str, jax.Array]]:
    """Split a model's variables into the learned ones and the collection "constants", {} if there is none.

    Constants are saved with the weights: pixel means, the scale of a regression's targets, a label's threshold.
    """
    return {name: tree for name, tree in variables.items() if name != CONSTANTS}, dict(variables.get(CONSTANTS, {}))


def normalised(constants: Mapping[str, jax.Array], images_BHWC: jax.Array) -> jax.Array:
    """Standardise each channel of float images by the constants' mean and standard deviation, if there are any."""
    if "pixel_mean" not in constants:
        return images_BHWC
    return (images_BHWC - constants["pixel_mean"]) / constants["pixel_deviation"]
