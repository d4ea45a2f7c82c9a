"""The operations that RandAugment, TrivialAugment and AugMix choose from, by number, each with an amount.

`apply` is a `lax.switch`: it computes the chosen operation alone in a program that takes one image after the other
(`OneByOne`), while `jax.vmap` computes every operation for every image.
"""

import jax
import jax.numpy as jnp
from jax import lax

from flaxcnn.layers.augmentation import affine, colours
from flaxcnn.layers.augmentation.protocol import Strength

_MAPS = {
    "shear_x": lambda amount, height, width: affine.shear_x(amount),
    "shear_y": lambda amount, height, width: affine.shear_y(amount),
    "translate_x": lambda amount, height, width: affine.translate_x(amount),
    "translate_y": lambda amount, height, width: affine.translate_y(amount),
    "rotate": affine.rotate,
}
_COLOURS = {
    "brightness": colours.brighten,
    "color": colours.saturate,
    "contrast": colours.contrast,
    "sharpness": colours.sharpen,
    "posterize": colours.posterize,
    "solarize": colours.solarize,
    "autocontrast": lambda image, amount: colours.autocontrast(image),
    "equalize": lambda image, amount: colours.equalize(image),
}
OPERATIONS = (*_MAPS, *_COLOURS, "identity")
"""The operations' names; an operation's number is its place. Their amounts are: shear, the slope; translate, whole
pixels; rotate, degrees counter-clockwise; brightness, color, contrast and sharpness, Pillow's factor, 1 for no change;
posterize, the bits to keep; solarize, the lowest level to invert. The others use none."""

IDENTITY = OPERATIONS.index("identity")


def apply(number: jax.Array, amount: Strength, image_HWC: jax.Array) -> jax.Array:
    """Return the result of an operation, (H, W, C), of the same dtype.

    Args:
        number: the operation's place in `OPERATIONS`, an int32 scalar.
        amount: its amount.
        image_HWC: the image in [0, 1], floating-point.
    """

    def moved(image_HWC: jax.Array, amount: Strength) -> jax.Array:
        return affine.transform(image_HWC, _map_of(number, amount, *image_HWC.shape[:2]))

    branches = [moved, *_COLOURS.values(), lambda image_HWC, amount: image_HWC]
    return lax.switch(jnp.maximum(number - len(_MAPS) + 1, 0), branches, image_HWC, amount)


def source(number: jax.Array, amount: Strength, coordinates_2HW: jax.Array) -> jax.Array:
    """Return where an operation reads its input (`Augmentation.source`)."""
    _, height, width = coordinates_2HW.shape
    moved = affine.read_at(_map_of(number, amount, height, width), coordinates_2HW)
    return jnp.where(number < len(_MAPS), moved, coordinates_2HW)


def _map_of(number: jax.Array, amount: Strength, height: int, width: int) -> affine.AffineMap:
    maps = jnp.stack([make(amount, height, width) for make in _MAPS.values()])
    return maps[jnp.minimum(number, len(_MAPS) - 1)]
