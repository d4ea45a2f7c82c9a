"""Random windows of an image: the resized crop, and random erasing."""

from collections.abc import Sequence
from typing import Literal

import flax.struct
import jax
import jax.numpy as jnp

from flaxcnn.layers.augmentation.noise import random_levels
from flaxcnn.layers.augmentation.protocol import Strength, require_float_pixels
from flaxcnn.layers.augmentation.warps import Warp

_TRIES = 10  # torchvision's and timm's
_ERASED_AREA, _ERASED_ASPECT = (0.02, 1 / 3), 1 / 0.3


def _drawn_sizes(
    key: jax.Array, extent: Sequence[int], area: tuple[Strength, Strength], aspect: Strength
) -> tuple[jax.Array, jax.Array]:
    """Return ten heights and widths of windows, float32 whole numbers, (10,) each; some are larger than the image.

    Args:
        key: of the draws.
        extent: the image's height and width.
        area: least and greatest area, as a fraction of the image's; uniform.
        aspect: the greatest ratio of the sides; its logarithm is uniform from -log(aspect) to log(aspect).
    """
    areas, aspects = jax.random.split(key)
    low, high = area
    pixels = extent[0] * extent[1] * (low + (high - low) * jax.random.uniform(areas, (_TRIES,)))
    root = jnp.exp(jnp.log(aspect) * jax.random.uniform(aspects, (_TRIES,), jnp.float32, -1, 1) / 2)
    side = jnp.sqrt(pixels)
    return jnp.round(side / root), jnp.round(side * root)


def _corner(key: jax.Array, extent: Sequence[int], size_2: jax.Array) -> jax.Array:
    """Return the first row and column of a window that lies inside an image, each position as likely."""
    free = jnp.asarray(extent, jnp.float32) - size_2 + 1
    # Of a uniform float32 in [0, 1) times a whole number, the floor is below that number, whatever is rounded.
    return jnp.floor(jax.random.uniform(key, (2,)) * free)


@flax.struct.dataclass
class RandomResizedCrop(Warp):
    """Cuts a random window and resizes it to the image's size, as torchvision's `RandomResizedCrop`.

    Area and aspect ratio are drawn up to ten times, until the window fits into the image; otherwise it is the largest
    window in the middle that keeps the greatest aspect ratio. Resampling is bilinear. A window is never larger than the
    image that it becomes, so antialiasing, which torchvision does by default, would change nothing. A warp that follows
    reads what lies beyond the window, where the image has it.

    Source: C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6; area 0.08 and aspect ratio 4/3.

    Attributes:
        area: the window's least area, as a fraction of the image's, in (0, 1]; the greatest is 1.
        aspect: the greatest aspect ratio, at least 1; the least is 1 / aspect.
    """

    area: Strength
    aspect: Strength = 4 / 3

    def source(self, key: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
        """Return where the input is read (`Warp.source`)."""
        _, *extent = coordinates_2HW.shape
        size, corner = (each[:, None, None] for each in self._window(key, extent))
        outputs = jnp.asarray(extent, jnp.float32)[:, None, None]
        read = corner + (coordinates_2HW + 0.5) * (size / outputs) - 0.5
        inside = (coordinates_2HW >= 0) & (coordinates_2HW <= outputs - 1)
        return jnp.where(inside, jnp.clip(read, corner, corner + size - 1), read)

    def _window(self, key: jax.Array, extent: Sequence[int]) -> tuple[jax.Array, jax.Array]:
        """Return a window's size and its corner, rows and columns, float32 (2,) each."""
        sizes, place = jax.random.split(key)
        (height, width), aspect = extent, jnp.asarray(self.aspect, jnp.float32)
        heights, widths = _drawn_sizes(sizes, extent, (self.area, 1.0), aspect)
        fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
        first = jnp.argmax(fits)
        drawn = jnp.stack([heights[first], widths[first]])
        middle = jnp.stack(
            [jnp.minimum(height, jnp.round(width * aspect)), jnp.minimum(width, jnp.round(height * aspect))]
        )
        free = jnp.asarray(extent, jnp.float32) - middle
        size = jnp.where(fits.any(), drawn, middle)
        return size, jnp.where(fits.any(), _corner(place, extent, drawn), jnp.floor(free / 2))


@flax.struct.dataclass
class RandomErasing:
    """Replaces a random window of an image with a given probability.

    The window's area is uniform in 0.02 to 1/3 of the image's, the logarithm of its aspect ratio uniform between those
    of 0.3 and 1 / 0.3. Both are drawn up to ten times until the window is smaller than the image, else nothing is
    erased. These are timm's numbers. timm erases standardised images with 0 or normal noise; here they are pixels in
    [0, 1], and noise is uniform over the 256 levels, as in the paper.

    Source: Z. Zhong, L. Zheng, G. Kang, S. Li and Y. Yang, "Random Erasing Data Augmentation", AAAI 2020
    (arXiv:1708.04896).

    Attributes:
        probability: in [0, 1].
        fill: "noise", drawn for each pixel and channel, or "zeros"; static.
    """

    probability: Strength
    fill: Literal["noise", "zeros"] = flax.struct.field(pytree_node=False, default="noise")

    def __call__(self, key: jax.Array, image_HWC: jax.Array) -> jax.Array:
        """Return the image, erased or not, (H, W, C), of the same dtype.

        Raises:
            TypeError: the pixels are not floating-point.
        """
        require_float_pixels(image_HWC, type(self).__name__)
        whether, sizes, place, noise = jax.random.split(key, 4)
        *extent, _ = image_HWC.shape
        heights, widths = _drawn_sizes(sizes, extent, _ERASED_AREA, _ERASED_ASPECT)
        fits = (heights >= 1) & (heights < extent[0]) & (widths >= 1) & (widths < extent[1])
        first = jnp.argmax(fits)
        size = jnp.stack([heights[first], widths[first]])
        corner = _corner(place, extent, size)
        rows, columns = (
            (jnp.arange(side) >= start) & (jnp.arange(side) < start + length)
            for side, start, length in zip(extent, corner, size, strict=True)
        )
        erases = jax.random.bernoulli(whether, self.probability) & fits.any()
        filled = random_levels(noise, image_HWC.shape) / 255 if self.fill == "noise" else jnp.zeros((1, 1, 1))
        hole_HW1 = (rows[:, None] & columns[None, :])[..., None]
        return jnp.where(erases & hole_HW1, filled.astype(image_HWC.dtype), image_HWC)

    def source(self, key: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
        """Return the coordinates as they are: nothing moves."""
        return coordinates_2HW
