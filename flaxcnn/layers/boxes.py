"""Boxes as arrays: overlap, distance, and how they move with an image.

A box is y0, x0, y1, x1 in pixels of the image, whose first pixel covers 0 to 1.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

_LEAST = 1e-9  # of a divisor


def areas(boxes: jax.Array) -> jax.Array:
    """Return the areas of boxes (..., 4), in square pixels, (...); 0 of a box whose end is before its beginning."""
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def overlaps(one: jax.Array, other: jax.Array) -> jax.Array:
    """Return the intersection over union of boxes that broadcast, (..., 4) both, in [0, 1]; 0 of two without area."""
    shared = _shared(one, other)
    return shared / jnp.maximum(areas(one) + areas(other) - shared, _LEAST)


def generalised_overlaps(one: jax.Array, other: jax.Array) -> jax.Array:
    """Return the generalised intersection over union of boxes that broadcast, (..., 4) both, in [-1, 1].

    Source: H. Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019.
    """
    shared = _shared(one, other)
    union = areas(one) + areas(other) - shared
    around = jnp.concatenate(
        [jnp.minimum(one[..., :2], other[..., :2]), jnp.maximum(one[..., 2:], other[..., 2:])], axis=-1
    )
    enclosing = areas(around)
    return shared / jnp.maximum(union, _LEAST) - (enclosing - union) / jnp.maximum(enclosing, _LEAST)


def _shared(one: jax.Array, other: jax.Array) -> jax.Array:
    begin, end = jnp.maximum(one[..., :2], other[..., :2]), jnp.minimum(one[..., 2:], other[..., 2:])
    return areas(jnp.concatenate([begin, end], axis=-1))


def moved(boxes_Mx4: jax.Array, source_2HW: jax.Array) -> jax.Array:
    """Return where boxes of an image are in the augmented image: the boxes around them, not clipped, (M, 4).

    Flips, shifts, zooms, rotations and shears are affine: the map that is fitted to where pixels are read is theirs.
    For an elastic deformation it is the nearest affine map. Of an image that was moved out of sight, all is NaN.

    Args:
        boxes_Mx4: boxes of the original image; NaN for none.
        source_2HW: for each pixel of the augmented image the row and the column of the original that it is read from
            (`flaxcnn.layers.augmentation.sources`).
    """
    _, height, width = source_2HW.shape
    ends = jnp.asarray([height - 1, width - 1], jnp.float32)[:, None, None]
    seen_HW = ((source_2HW > 0) & (source_2HW < ends)).all(0).astype(jnp.float32)  # at an edge, what is read is clipped
    grid_2HW = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")).astype(jnp.float32)
    count = seen_HW.sum()

    def centre(points_2HW: jax.Array) -> jax.Array:
        return (points_2HW * seen_HW).sum((1, 2)) / jnp.maximum(count, 1)

    from_2, to_2 = centre(source_2HW), centre(grid_2HW)
    read = (source_2HW - from_2[:, None, None]) * seen_HW
    written = (grid_2HW - to_2[:, None, None]) * seen_HW
    spread_2x2 = jnp.einsum("ihw,jhw->ij", written, written, precision="highest")
    matrix_2x2 = jnp.einsum("ihw,jhw->ij", read, written, precision="highest") @ _inverse(spread_2x2)
    forward_2x2 = _inverse(matrix_2x2)
    y0, x0, y1, x1 = jnp.moveaxis(boxes_Mx4, -1, 0)
    corners_Mx4x2 = jnp.stack([jnp.stack(each, -1) for each in ((y0, x0), (y0, x1), (y1, x0), (y1, x1))], axis=1)
    offsets = corners_Mx4x2 - 0.5 - from_2  # a pixel's place is that of its centre
    placed = jnp.einsum("ij,mcj->mci", forward_2x2, offsets, precision="highest") + to_2 + 0.5
    found = jnp.concatenate([placed.min(1), placed.max(1)], axis=-1)
    return jnp.where(count > 2, found, jnp.nan)


def _inverse(matrix_2x2: jax.Array) -> jax.Array:
    (a, b), (c, d) = matrix_2x2
    determinant = a * d - b * c
    return jnp.stack([jnp.stack([d, -b]), jnp.stack([-c, a])]) / jnp.where(determinant == 0, jnp.inf, determinant)


def clipped(boxes_Mx4: jax.Array, area: jax.Array | Sequence[float], least: float) -> jax.Array:
    """Return boxes clipped to an area, (M, 4), and NaN for those of which less than a share is inside.

    Args:
        boxes_Mx4: the boxes; NaN for none.
        area: y0, x0, y1, x1; all of an image, or a part of it.
        least: share of a box's area that has to be inside.
    """
    area_4 = jnp.asarray(area, jnp.float32)
    low, high = (jnp.concatenate([corner, corner]) for corner in (area_4[:2], area_4[2:]))
    inside = jnp.clip(boxes_Mx4, low, high)
    stays = (areas(inside) > 0) & (areas(inside) >= least * areas(boxes_Mx4))
    return jnp.where(stays[:, None], inside, jnp.nan)
