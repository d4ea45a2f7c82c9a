"""Changes of colour and sharpness drawn for each image: colour jitter, grey and Gaussian blur."""

import functools
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from flaxcnn.layers.augmentation import colours
from flaxcnn.layers.augmentation.protocol import OneByOne, Strength, require_float_pixels

_LEAST_SIGMA = 0.1  # pixels, of a blur: SimCLR's


class _InPlace:
    """An augmentation that moves nothing."""

    def source(self, key: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
        """Return the coordinates as they are."""
        return coordinates_2HW


@flax.struct.dataclass
class ColorJitter(_InPlace, OneByOne):
    """Changes brightness, contrast, saturation and hue, in random order, as torchvision's `ColorJitter`.

    A factor is uniform in 1 ± strength, at least 0; the hue turns by a part of the circle uniform in ±strength. A
    strength of None leaves its change out. Images without three channels keep saturation and hue.

    Attributes:
        brightness: strength for the factor of the pixels, at least 0, or None.
        contrast: strength for the factor of the contrast, at least 0, or None.
        saturation: strength for the factor of the saturation, at least 0, or None.
        hue: strength for the hue, 0 to 0.5, or None.
    """

    brightness: Strength | None = None
    contrast: Strength | None = None
    saturation: Strength | None = None
    hue: Strength | None = None

    def __call__(self, key: jax.Array, image_HWC: jax.Array) -> jax.Array:
        """Return the changed image, (H, W, C), of the same dtype.

        Raises:
            TypeError: the pixels are not floating-point.
        """
        require_float_pixels(image_HWC, type(self).__name__)
        orders, amounts = jax.random.split(key)
        drawn = jax.random.uniform(amounts, (4,))
        changes: list[Callable[[jax.Array, Strength], jax.Array]] = []
        values: list[jax.Array] = []
        for change, strength, share in (
            (colours.brighten, self.brightness, drawn[0]),
            (colours.contrast, self.contrast, drawn[1]),
            (colours.saturate, self.saturation, drawn[2]),
        ):
            if strength is not None:
                changes.append(change)
                values.append(_factor(strength, share))
        if self.hue is not None:
            changes.append(colours.shift_hue)
            values.append(self.hue * (2 * drawn[3] - 1))
        if not changes:
            return image_HWC

        def one(image_HWC: jax.Array, place: jax.Array) -> tuple[jax.Array, None]:
            return lax.switch(place, changes, image_HWC, jnp.stack(values)[place]), None

        order = jax.random.permutation(orders, len(changes))
        return lax.scan(one, image_HWC.astype(jnp.float32), order)[0].astype(image_HWC.dtype)


def _factor(strength: Strength, share: jax.Array) -> jax.Array:
    """Return the factor at a share of the range from max(0, 1 - strength) to 1 + strength."""
    least = jnp.maximum(0, 1 - jnp.asarray(strength, jnp.float32))
    return least + (1 + strength - least) * share


@flax.struct.dataclass
class RandomGray(_InPlace):
    """Makes an image grey, in all three channels, with a given probability; other numbers of channels stay.

    Attributes:
        probability: in [0, 1].
    """

    probability: Strength

    def __call__(self, key: jax.Array, image_HWC: jax.Array) -> jax.Array:
        """Return the image or its greys, (H, W, C), of the same dtype.

        Raises:
            TypeError: the pixels are not floating-point.
        """
        require_float_pixels(image_HWC, type(self).__name__)
        image = image_HWC.astype(jnp.float32)
        chosen = jnp.where(jax.random.bernoulli(key, self.probability), colours.grey(image), image)
        return chosen.astype(image_HWC.dtype)


@flax.struct.dataclass
class GaussianBlur(_InPlace):
    """Blurs an image with a given probability, by a Gaussian of a standard deviation uniform from 0.1 to `sigma`.

    The Gaussian is cut off at 3 · `sigma`, and beyond its edges the image is reflected, as torchvision's is.

    Source: T. Chen, S. Kornblith, M. Norouzi and G. Hinton, "A Simple Framework for Contrastive Learning of Visual
    Representations", ICML 2020 (arXiv:2002.05709), appendix A: a probability of 0.5 and a sigma of 2 for 224 pixels.

    Attributes:
        probability: in [0, 1].
        sigma: the greatest standard deviation in pixels, at least 0.1; static.
    """

    probability: Strength
    sigma: float = flax.struct.field(pytree_node=False, default=2.0)

    def __call__(self, key: jax.Array, image_HWC: jax.Array) -> jax.Array:
        """Return the image, blurred or not, (H, W, C), of the same dtype.

        Raises:
            TypeError: the pixels are not floating-point.
        """
        require_float_pixels(image_HWC, type(self).__name__)
        whether, how = jax.random.split(key)
        sigma = jax.random.uniform(how, (), jnp.float32, _LEAST_SIGMA, max(self.sigma, _LEAST_SIGMA))
        radius = max(1, round(3 * self.sigma))
        blurs = jax.random.bernoulli(whether, self.probability)
        return jnp.where(blurs, blurred(image_HWC, sigma, radius), image_HWC)


def blurred(image_HWC: jax.Array, sigma: Strength, radius: int) -> jax.Array:
    """Return an image smoothed by a Gaussian along rows and columns, (H, W, C), of the same dtype.

    Args:
        image_HWC: the image, floating-point.
        sigma: the Gaussian's standard deviation in pixels, above 0.
        radius: the distance in pixels from which on its weights are 0.
    """
    raw = jnp.exp(-(jnp.arange(-radius, radius + 1) ** 2) / (2 * jnp.asarray(sigma, jnp.float32) ** 2))
    weights = raw / raw.sum()
    smooth = image_HWC.astype(jnp.float32)
    for axis in (0, 1):
        extent = smooth.shape[axis]
        around = [(radius, radius) if place == axis else (0, 0) for place in range(3)]
        padded = lax.optimization_barrier(jnp.pad(smooth, around, mode="reflect"))
        parts = (lax.slice_in_dim(padded, tap, tap + extent, axis=axis) for tap in range(2 * radius + 1))
        smooth = functools.reduce(jnp.add, (weights[tap] * part for tap, part in enumerate(parts)))
    return smooth.astype(image_HWC.dtype)
