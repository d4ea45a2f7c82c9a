"""Shears, shifts and rotations of an image as Pillow makes them: positions outside read zeros, edges do not blend.

An affine map is a float32 matrix (2, 3): input (x, y) = matrix · (x, y, 1) of the output, in pixels from the image's
upper left corner, where the first pixel's centre is (0.5, 0.5). It is what `Image.transform` takes as AFFINE.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp

from flaxcnn.layers.augmentation.protocol import Strength
from flaxcnn.layers.augmentation.warps import resample

AffineMap: TypeAlias = jax.Array

OUTSIDE = -1e6  # a position that no further map brings back into an image


def shear_x(slope: Strength) -> AffineMap:
    """Return the map of AutoAugment's ShearX: x + slope · y."""
    return _matrix(((1, slope, 0), (0, 1, 0)))


def shear_y(slope: Strength) -> AffineMap:
    """Return the map of AutoAugment's ShearY: y + slope · x."""
    return _matrix(((1, 0, 0), (slope, 1, 0)))


def translate_x(pixels: Strength) -> AffineMap:
    """Return the map that moves content right."""
    return _matrix(((1, 0, -pixels), (0, 1, 0)))


def translate_y(pixels: Strength) -> AffineMap:
    """Return the map that moves content down."""
    return _matrix(((1, 0, 0), (0, 1, -pixels)))


def rotate(degrees: Strength, height: int, width: int) -> AffineMap:
    """Return the map of `Image.rotate`: counter-clockwise about the image's centre."""
    angle = jnp.deg2rad(jnp.asarray(degrees, jnp.float32))
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    x, y = width / 2, height / 2
    return _matrix(((cosine, -sine, x - cosine * x + sine * y), (sine, cosine, y - sine * x - cosine * y)))


def transform(image_HWC: jax.Array, matrix: AffineMap) -> jax.Array:
    """Return `Image.transform(size, AFFINE, matrix, BILINEAR)`, (H, W, C), of the same dtype."""
    height, width, _ = image_HWC.shape
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")).astype(jnp.float32)
    return resample(image_HWC, read_at(matrix, grid))


def read_at(matrix: AffineMap, coordinates_2HW: jax.Array) -> jax.Array:
    """Return where the input is read, rows and columns (`Augmentation.source`).

    Within half a pixel of the edge that is the edge, and beyond it `OUTSIDE`.
    """
    _, height, width = coordinates_2HW.shape
    y, x = coordinates_2HW[0] + 0.5, coordinates_2HW[1] + 0.5
    from_x = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    from_y = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    rows, columns = jnp.clip(from_y - 0.5, 0, height - 1), jnp.clip(from_x - 0.5, 0, width - 1)
    return jnp.where(inside, jnp.stack([rows, columns]), OUTSIDE)


def _matrix(rows: tuple[tuple[Strength, ...], ...]) -> AffineMap:
    return jnp.stack([jnp.stack([jnp.asarray(number, jnp.float32) for number in row]) for row in rows])
