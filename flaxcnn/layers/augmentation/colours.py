"""Changes of an image's colours, each equal to Pillow's on 8-bit pixels up to Pillow's rounding.

Images are floating-point in [0, 1], where 1 is level 255. What Pillow computes from whole levels (greys, histograms,
bits) is computed from the nearest whole levels here; everything else stays exact. Images without three channels have no
colours: `saturate`, `shift_hue` and `grey` leave them as they are, and their grey is the mean over channels.

Sources: Pillow's `ImageEnhance`, `ImageOps` and `ImageFilter`; torchvision's `transforms.functional`.
"""

import jax
import jax.numpy as jnp
from jax import lax

from flaxcnn.layers.augmentation.protocol import Strength

_LUMA = (19595, 38470, 7471)  # parts of 65,536: Pillow's weights of red, green and blue (ITU-R 601-2)


def brighten(image_HWC: jax.Array, factor: Strength) -> jax.Array:
    """Multiply pixels by a factor (`ImageEnhance.Brightness`): 0 is black, 1 the image."""
    return jnp.clip(image_HWC * factor, 0, 1)


def contrast(image_HWC: jax.Array, factor: Strength) -> jax.Array:
    """Blend with the image's mean grey (`ImageEnhance.Contrast`): 0 is grey, 1 the image."""
    levels = _grey_levels(image_HWC)
    total = levels.sum(0).sum(dtype=jnp.float32)  # a column's sum of whole numbers is exact, and quick on CPU
    return _blend(jnp.floor(total / levels.size + 0.5) / 255, image_HWC, factor)


def saturate(image_HWC: jax.Array, factor: Strength) -> jax.Array:
    """Blend with the image's greys (`ImageEnhance.Color`): 0 is without colours, 1 the image."""
    return _blend(_grey_levels(image_HWC) / 255, image_HWC, factor) if _has_colours(image_HWC) else image_HWC


def grey(image_HWC: jax.Array) -> jax.Array:
    """Return the image's greys in each of its channels (`Image.convert("L")`)."""
    if not _has_colours(image_HWC):
        return image_HWC
    return jnp.broadcast_to(_grey_levels(image_HWC) / 255, image_HWC.shape)


def sharpen(image_HWC: jax.Array, factor: Strength) -> jax.Array:
    """Blend with a smoothed image (`ImageEnhance.Sharpness`): 0 is smoothed, 1 the image.

    As in Pillow, pixels on the border are not smoothed.
    """
    height, width, _ = image_HWC.shape
    if min(height, width) < 3:
        return image_HWC
    levels = lax.optimization_barrier(_levels(image_HWC))  # or XLA rounds each level nine times

    def shifted(row: int, column: int) -> jax.Array:
        return levels[row : height - 2 + row, column : width - 2 + column]

    total = 4 * shifted(1, 1) + sum(shifted(row, column) for row in range(3) for column in range(3))
    smooth = jnp.floor(total / 13 + 0.5) / 255  # Pillow's ImageFilter.SMOOTH
    return image_HWC.at[1:-1, 1:-1].set(_blend(smooth, image_HWC[1:-1, 1:-1], factor))


def shift_hue(image_HWC: jax.Array, turn: Strength) -> jax.Array:
    """Turn the hue of each pixel, keeping its saturation and value (HSV, as `colorsys`).

    Pillow and torchvision's PIL backend round hue, saturation and value to 8 bits each; nothing is rounded here.

    Args:
        image_HWC: the image.
        turn: part of the whole circle of colours, -1 to 1: 1/3 turns red into green.
    """
    if not _has_colours(image_HWC):
        return image_HWC
    red, green, blue = image_HWC[..., 0], image_HWC[..., 1], image_HWC[..., 2]
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    safe = jnp.where(chroma > 0, chroma, 1)
    sixths = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixths = sixths + 6 * turn

    def channel(offset: int) -> jax.Array:
        position = (offset + sixths) % 6
        return value - chroma * jnp.clip(jnp.minimum(position, 4 - position), 0, 1)

    return jnp.where((chroma > 0)[..., None], jnp.stack([channel(5), channel(3), channel(1)], -1), image_HWC)


def autocontrast(image_HWC: jax.Array) -> jax.Array:
    """Stretch each channel to [0, 1] (`ImageOps.autocontrast` without a cutoff); constant channels stay."""
    low, high = image_HWC.min((0, 1)), image_HWC.max((0, 1))
    span = high - low
    return jnp.where(span > 0, jnp.clip((image_HWC - low) / jnp.where(span > 0, span, 1), 0, 1), image_HWC)


def equalize(image_HWC: jax.Array) -> jax.Array:
    """Spread each channel's levels evenly (`ImageOps.equalize`)."""
    pixels, channels = image_HWC.shape[0] * image_HWC.shape[1], image_HWC.shape[2]
    # Levels of all channels in one table, 256 after 256, and counted one by one: on CPU the fastest of many ways.
    places = lax.optimization_barrier(_levels(image_HWC).astype(jnp.int32) + 256 * jnp.arange(channels))
    counts = jnp.zeros(256 * channels, jnp.int32).at[places.reshape(-1)].add(1, mode="promise_in_bounds")
    counts_C256 = counts.reshape(channels, 256)
    last_C = 255 - jnp.argmax(counts_C256[:, ::-1] > 0, axis=1)  # the highest level that occurs
    step_C1 = (pixels - jnp.take_along_axis(counts_C256, last_C[:, None], 1)) // 255  # what is below it, in 255 steps
    below_C256 = lax.associative_scan(jnp.add, counts_C256, axis=1) - counts_C256
    new_C256 = jnp.minimum((below_C256 + step_C1 // 2) // jnp.maximum(step_C1, 1), 255)
    table = lax.optimization_barrier(new_C256.reshape(-1).astype(jnp.float32) / 255)  # or XLA makes it at each pixel
    return jnp.where(step_C1[:, 0] > 0, table.at[places].get(mode="promise_in_bounds"), image_HWC)


def posterize(image_HWC: jax.Array, bits: Strength) -> jax.Array:
    """Keep each level's highest bits (`ImageOps.posterize`).

    Args:
        image_HWC: the image.
        bits: how many, a whole number from 0 to 8.
    """
    unit = 2.0 ** (8 - jnp.asarray(bits, jnp.float32))
    return jnp.where(unit > 1, jnp.floor(_levels(image_HWC) / unit) * unit / 255, image_HWC)


def solarize(image_HWC: jax.Array, threshold: Strength) -> jax.Array:
    """Invert the levels of at least a threshold (`ImageOps.solarize`): 0 inverts all, 256 none."""
    return jnp.where(_levels(image_HWC) < threshold, image_HWC, 1 - image_HWC)


def _blend(other: jax.Array, image_HWC: jax.Array, factor: Strength) -> jax.Array:
    """Return (1 - factor) · other + factor · image within [0, 1]; the image itself for a factor of 1."""
    return jnp.clip((1 - factor) * other + factor * image_HWC, 0, 1)


def _has_colours(image_HWC: jax.Array) -> bool:
    return image_HWC.shape[-1] == 3


def _levels(image: jax.Array) -> jax.Array:
    """Return the nearest whole levels of 0 to 255, float32."""
    return jnp.round(jnp.clip(image, 0, 1) * 255)


def _grey_levels(image_HWC: jax.Array) -> jax.Array:
    """Return each pixel's grey, whole levels (H, W, 1) int32, as Pillow rounds it."""
    levels = _levels(image_HWC).astype(jnp.int32)
    if not _has_colours(image_HWC):
        return jnp.round(levels.mean(-1, keepdims=True)).astype(jnp.int32)
    red, green, blue = (weight * levels[..., channel, None] for channel, weight in enumerate(_LUMA))
    return (red + green + blue + 32768) >> 16
