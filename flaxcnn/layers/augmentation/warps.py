"""Augmentations that resample an image: shift, rotation, scale, shear and elastic deformation.

Each is a map of coordinates: it says which input position an output pixel reads. Consecutive warps are combined into
one map and one bilinear resampling, which is cheaper and blurs only once.
"""

import abc
import math
from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from flaxcnn.errors import ConfigError
from flaxcnn.layers.augmentation.noise import random_levels
from flaxcnn.layers.augmentation.protocol import Strength, require_float_pixels


class Warp(abc.ABC):
    """An augmentation that maps coordinates, in pixels from 0: rows go down, columns go right."""

    @abc.abstractmethod
    def source(self, key: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
        """Return the input position that each output position reads.

        Args:
            key: the example's key.
            coordinates_2HW: output positions, row and column, float32; fractions of pixels are allowed.

        Returns:
            Input positions, float32 (2, H, W).
        """

    def __call__(self, key: jax.Array, image_HWC: jax.Array) -> jax.Array:
        """Return the warped image, (H, W, C), of the same dtype.

        Raises:
            TypeError: the pixels are not floating-point.
        """
        return warp(((self, key),), image_HWC)


def warp(keyed: Sequence[tuple[Warp, jax.Array]], image_HWC: jax.Array) -> jax.Array:
    """Apply several warps in order with a single resampling.

    Content that one warp moves out of the image and a later one moves back is not lost.

    Args:
        keyed: the warps, each with the example's key for it.
        image_HWC: the image, floating-point.

    Returns:
        The warped image, (H, W, C), of the same dtype.

    Raises:
        TypeError: the pixels are not floating-point.
    """
    height, width, _ = image_HWC.shape
    coordinates = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")).astype(jnp.float32)
    # The last warp made the output, so its map is the first on the way back to the image.
    for each, key in reversed(keyed):
        require_float_pixels(image_HWC, type(each).__name__)
        coordinates = each.source(key, coordinates)
    return resample(image_HWC, coordinates)


def resample(image_HWC: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
    """Resample an image bilinearly, with zeros outside the image.

    At integer coordinates the result is the exact pixel value.

    Args:
        image_HWC: the image, floating-point.
        coordinates_2HW: the row and the column to read for each output pixel, float32. H and W may differ from the
            image's.

    Returns:
        The resampled image, (H, W, C), of the image's dtype.
    """
    height, width, channels = image_HWC.shape
    # Without the barrier XLA computes the whole chain of maps again for each of the four taps.
    coordinates_2HW = lax.optimization_barrier(coordinates_2HW)
    row, down = _cell(coordinates_2HW[0], height)
    column, across = _cell(coordinates_2HW[1], width)
    # A border of zeros, and pixels counted through: one index is all that a tap needs.
    pixels = jnp.pad(image_HWC, ((1, 1), (1, 1), (0, 0))).reshape((height + 2) * (width + 2), channels)
    corner = row * (width + 2) + column

    def tap(rows: int, columns: int) -> jax.Array:
        return pixels.at[corner + rows * (width + 2) + columns].get(mode="clip")  # "fill" would check each index

    upper = (1 - across) * tap(0, 0) + across * tap(0, 1)
    lower = (1 - across) * tap(1, 0) + across * tap(1, 1)
    return ((1 - down) * upper + down * lower).astype(image_HWC.dtype)


def _cell(positions_HW: jax.Array, extent: int) -> tuple[jax.Array, jax.Array]:
    """Return the padded image's row (or column) at or before each position, and the fraction to the next, (H, W, 1)."""
    positions = jnp.clip(positions_HW, -1, extent)
    before = jnp.minimum(jnp.floor(positions), extent - 1)
    return before.astype(jnp.int32) + 1, (positions - before)[..., None]


def _linear(matrix: Sequence[Sequence[Strength]], coordinates_2HW: jax.Array) -> jax.Array:
    """Apply a 2×2 matrix about the image's centre. The identity matrix is exact."""
    _, height, width = coordinates_2HW.shape
    centre_row, centre_column = (height - 1) / 2, (width - 1) / 2
    row, column = coordinates_2HW[0] - centre_row, coordinates_2HW[1] - centre_column
    (a, b), (c, d) = matrix
    return jnp.stack([a * row + b * column + centre_row, c * row + d * column + centre_column])


def _signed_unit(key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
    return jax.random.uniform(key, shape, jnp.float32, -1, 1)


@flax.struct.dataclass
class RandomShift(Warp):
    """Shifts the content along rows and columns by independent amounts, uniform in ±pixels.

    Attributes:
        pixels: the maximum shift, at least 0.
    """

    pixels: Strength

    def source(self, key: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
        """Return where the input is read (`Warp.source`)."""
        return coordinates_2HW - (self.pixels * _signed_unit(key, (2,)))[:, None, None]


@flax.struct.dataclass
class RandomRotation(Warp):
    """Rotates the content about the image's centre by an angle uniform in ±degrees.

    Attributes:
        degrees: the maximum angle, at least 0.
    """

    degrees: Strength

    def source(self, key: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
        """Return where the input is read (`Warp.source`)."""
        angle = jnp.deg2rad(self.degrees * _signed_unit(key))
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        return _linear(((cosine, sine), (-sine, cosine)), coordinates_2HW)


@flax.struct.dataclass
class RandomScale(Warp):
    """Scales the content about the image's centre by a factor uniform in 1 ± fraction, equal for both axes.

    Attributes:
        fraction: the maximum change of the factor, in [0, 1).
    """

    fraction: Strength

    def source(self, key: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
        """Return where the input is read (`Warp.source`)."""
        inverse = 1 / (1 + self.fraction * _signed_unit(key))
        return _linear(((inverse, 0.0), (0.0, inverse)), coordinates_2HW)


@flax.struct.dataclass
class RandomShear(Warp):
    """Shears the content horizontally by an angle uniform in ±degrees; the centre row stays in place.

    Attributes:
        degrees: the maximum angle, in [0, 90).
    """

    degrees: Strength

    def source(self, key: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
        """Return where the input is read (`Warp.source`)."""
        slope = jnp.tan(jnp.deg2rad(self.degrees * _signed_unit(key)))
        return _linear(((1.0, 0.0), (-slope, 1.0)), coordinates_2HW)


@flax.struct.dataclass
class Elastic(Warp):
    """Displaces each pixel by a smooth random field: uniform noise per pixel and direction, smoothed by a Gaussian.

    At every pixel, also at the edge, and in each direction, the displacement has mean 0 and standard deviation
    `pixels`: the Gaussian's weights within the image are scaled so that their squares sum to 1. As the last of several
    warps, it displaces output pixels. Before other warps, the field is interpolated at their positions and is 0
    outside.

    Source: P. Y. Simard, D. Steinkraus and J. C. Platt, "Best Practices for Convolutional Neural Networks Applied to
    Visual Document Analysis", ICDAR 2003, section 2. Their alpha multiplies noise in ±1 smoothed by weights whose sum
    is 1. Far from the edge, this equals `pixels` = alpha / (sqrt(3) · sqrt(4π) · smoothness): for MNIST, their alpha of
    34 with a sigma of 4 is 1.38 pixels.

    Attributes:
        pixels: the displacement's standard deviation in each direction, at least 0.
        smoothness: the Gaussian's standard deviation in pixels, above 0; static.
    """

    pixels: Strength
    smoothness: float = flax.struct.field(pytree_node=False)

    def source(self, key: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
        """Return where the input is read (`Warp.source`).

        Raises:
            ConfigError: the smoothness is not above 0.
        """
        _, height, width = coordinates_2HW.shape
        down, across = _gaussian(height, self.smoothness), _gaussian(width, self.smoothness)
        field_HW2 = jnp.einsum("ih,hwd,jw->ijd", down, _noise(key, (height, width, 2)), across)
        return coordinates_2HW + self.pixels * jnp.moveaxis(resample(field_HW2, coordinates_2HW), -1, 0)


def _noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return float32 noise of mean 0 and standard deviation 1, uniform over 256 values."""
    return (random_levels(key, shape) - 127.5) / math.sqrt((256**2 - 1) / 12)


def _gaussian(extent: int, smoothness: float) -> np.ndarray:
    """Return the matrix that smooths along an axis, (extent, extent) float32, the squares of each row summing to 1."""
    if not smoothness > 0:
        raise ConfigError("out of range", where="Elastic.smoothness", expected="a number above 0", found=smoothness)
    positions = np.arange(extent)
    weights = np.exp(-((positions[:, None] - positions[None, :]) ** 2) / (2 * smoothness**2))
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)
