"""Mosaic: training on images that are made of parts of four."""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from flaxcnn.layers.augmentation.protocol import Strength

PARTS = 4
"""Images of which a mosaic is made: an image, and the next three of the batch."""
_MIDDLE = (0.25, 0.75)  # of each side, where the four meet


@flax.struct.dataclass
class Mosaic:
    """Puts parts of four images beside each other, which meet at a random point.

    Each part keeps its scale, and shows a random part of its image. The point lies in the middle half of each side.

    Source: A. Bochkovskiy, C.-Y. Wang and H.-Y. M. Liao, "YOLOv4: Optimal Speed and Accuracy of Object Detection", 2020
    (arXiv:2004.10934), section 3.3.

    Attributes:
        probability: that an image becomes a mosaic; else it stays what it is.
    """

    probability: Strength


class Tiles(NamedTuple):
    """Where the parts of a mosaic lie, and what they show.

    Attributes:
        areas: of each part in the mosaic, y0, x0, y1, x1, int32 (4, 4); of no area where there is none.
        shifts: by how many rows and columns each part's image is moved, int32 (4, 2).
    """

    areas: jax.Array
    shifts: jax.Array


def drawn_tiles(mosaic: Mosaic, key: jax.Array, height: int, width: int) -> Tiles:
    """Return where the parts of one image's mosaic lie.

    Args:
        mosaic: how likely it is one.
        key: the example's key.
        height: of an image.
        width: of an image.
    """
    which, middle, shown = jax.random.split(key, 3)
    sides = jnp.asarray([height, width], jnp.float32)
    low, high = _MIDDLE
    at = jnp.floor(sides * jax.random.uniform(middle, (2,), minval=low, maxval=high)).astype(jnp.int32)
    whole = ~jax.random.bernoulli(which, mosaic.probability)
    y, x = jnp.where(whole, jnp.asarray([height, width]), at)
    zero = jnp.zeros_like(y)
    rows = [(zero, zero, y, x), (zero, x, y, width), (y, zero, height, x), (y, x, height, width)]
    areas_4x4 = jnp.stack([jnp.stack([jnp.asarray(side, jnp.int32) for side in row]) for row in rows])
    free_4x2 = jnp.asarray([height, width]) - (areas_4x4[:, 2:] - areas_4x4[:, :2])
    # Of a uniform float32 in [0, 1) times a whole number, the floor is below that number, whatever is rounded.
    first_4x2 = jnp.floor(jax.random.uniform(shown, (PARTS, 2)) * (free_4x2 + 1)).astype(jnp.int32)
    return Tiles(areas_4x4, areas_4x4[:, :2] - first_4x2)


def tiled(mosaic: Mosaic, key: jax.Array, images_BHWC: jax.Array) -> tuple[jax.Array, Tiles]:
    """Return the mosaics of a batch, each of an image and the next three; a batch is in random order.

    Args:
        mosaic: how likely an image becomes one.
        key: the step's key; an example's key follows from its position in the batch.
        images_BHWC: the batch.

    Returns:
        The mosaics, (B, H, W, C), and where their parts lie, with a leading axis B.
    """
    batch, height, width, _ = images_BHWC.shape
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch))
    tiles = jax.vmap(lambda own: drawn_tiles(mosaic, own, height, width))(keys)
    rows, columns = jnp.arange(height), jnp.arange(width)

    def put(image_HWC: jax.Array, part_HWC: jax.Array, area_4: jax.Array, shift_2: jax.Array) -> jax.Array:
        moved = jnp.roll(part_HWC, shift_2, axis=(0, 1))
        inside = ((rows >= area_4[0]) & (rows < area_4[2]))[:, None] & ((columns >= area_4[1]) & (columns < area_4[3]))
        return jnp.where(inside[..., None], moved, image_HWC)

    mosaics = images_BHWC
    for part in range(PARTS):
        others = jnp.roll(images_BHWC, -part, axis=0)
        mosaics = jax.vmap(put)(mosaics, others, tiles.areas[:, part], tiles.shifts[:, part])
    return mosaics, tiles
