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


def require_images(images_BHWC: jax.Array, *, where: str, smallest: int = 0) -> None:
    """Raise DataError if an array is not a batch of images, with four axes, or the images are too small.

    Args:
        images_BHWC: an array that should be (B, H, W, C).
        where: the model's name, for the error.
        smallest: least height and width.
    """
    if images_BHWC.ndim != 4:
        raise DataError("not a batch of images", where=where, expected="(B, H, W, C)", found=images_BHWC.shape)
    height, width = images_BHWC.shape[1:3]
    if min(height, width) < smallest:
        expected, found = f"height and width of at least {smallest}", f"{height}×{width}"
        fix = "choose a model for smaller ones, or fit photographs to a larger --data.size"
        raise DataError("images too small", where=where, expected=expected, found=found, fix=fix)


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # as torchvision and timm have them; RGB in [0, 1]


def restandardised(images_BHWC: jax.Array) -> jax.Array:
    """Return (pixel - 0.5) / 0.5 from images standardised by ImageNet's mean and deviation.

    That is torchvision's `transform_input`, for weights that were trained elsewhere on pixels from -1 to 1.

    Args:
        images_BHWC: images of three channels.

    Raises:
        DataError: there are not three channels.

    >>> mean, deviation = (jnp.asarray(each) for each in IMAGENET)
    >>> restandardised((jnp.asarray([[[[0.0, 0.5, 1.0]]]]) - mean) / deviation).round(6)
    Array([[[[-1.,  0.,  1.]]]], dtype=float32)
    """
    if images_BHWC.shape[-1] != 3:
        raise DataError("not ImageNet's colours", where="transform_input", expected=3, found=images_BHWC.shape[-1])
    mean, deviation = (jnp.asarray(each, images_BHWC.dtype) for each in IMAGENET)
    return images_BHWC * (deviation / 0.5) + (mean - 0.5) / 0.5


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
