"""RandAugment, TrivialAugment and AugMix: each image takes operations drawn from a list.

The operations are Pillow's (`operations`), with bilinear resampling and zeros outside. Their amounts are torchvision's
for RandAugment and TrivialAugment, and those of the paper's code for AugMix. Pixels are not rounded to 8 bits between
operations.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from flaxcnn.layers.augmentation import operations
from flaxcnn.layers.augmentation.operations import IDENTITY, OPERATIONS
from flaxcnn.layers.augmentation.protocol import OneByOne, Strength, require_float_pixels

_BINS = 30  # steps between the levels of torchvision's magnitudes
_WIDTH, _DEPTH = 3, 3  # AugMix's chains, and the most operations in one
_LEAST_SEVERITY = 0.1  # of the paper's code
# AugMix leaves out brightness and others that resemble the corruptions of ImageNet-C, on which it is tested.
_OF_AUGMIX = tuple(
    OPERATIONS.index(name)
    for name in (
        *("autocontrast", "equalize", "posterize", "rotate", "solarize"),
        *("shear_x", "shear_y", "translate_x", "translate_y"),
    )
)


class Greatest(NamedTuple):
    """How far a policy's operations go at a level of 1; at 0 they change little or nothing.

    Attributes:
        shear: slope, in either direction.
        translate: pixels (rows, columns), in either direction.
        rotate: degrees, in either direction.
        factor: by which the factor of brightness, color, contrast and sharpness differs from 1.
    """

    shear: float
    translate: tuple[float, float]
    rotate: float
    factor: float


def amounts(greatest: Greatest, level: Strength, sign: Strength, bits: Strength, threshold: Strength) -> jax.Array:
    """Return the amount of every operation, float32 in the order of `OPERATIONS`.

    Args:
        greatest: the amounts at a level of 1.
        level: from 0 to 1.
        sign: 1 or -1, for the operations that have a direction.
        bits: that posterize keeps.
        threshold: from which on solarize inverts.
    """
    signed = jnp.asarray(level, jnp.float32) * sign
    down, across = greatest.translate
    factor = 1 + signed * greatest.factor
    by_name: dict[str, Strength] = {
        "shear_x": signed * greatest.shear,
        "shear_y": signed * greatest.shear,
        "translate_x": jnp.trunc(signed * across),
        "translate_y": jnp.trunc(signed * down),
        "rotate": signed * greatest.rotate,
        "brightness": factor,
        "color": factor,
        "contrast": factor,
        "sharpness": factor,
        "posterize": bits,
        "solarize": threshold,
    }
    return jnp.stack([jnp.asarray(by_name.get(name, 0.0), jnp.float32) for name in OPERATIONS])


class _Drawn(NamedTuple):
    """Operations in order, and their amounts."""

    numbers: jax.Array
    amounts: jax.Array


class _InOrder(OneByOne, ABC):
    """A policy that applies drawn operations one after the other."""

    @abstractmethod
    def _draw(self, key: jax.Array, height: int, width: int) -> _Drawn:
        """Return the operations for an image of a size."""

    def __call__(self, key: jax.Array, image_HWC: jax.Array) -> jax.Array:
        """Return the augmented image, (H, W, C), of the same dtype.

        Raises:
            TypeError: the pixels are not floating-point.
        """
        require_float_pixels(image_HWC, type(self).__name__)
        return _applied(self._draw(key, *image_HWC.shape[:2]), image_HWC.astype(jnp.float32)).astype(image_HWC.dtype)

    def source(self, key: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
        """Return where the input is read (`Augmentation.source`)."""

        def back(coordinates_2HW: jax.Array, drawn: _Drawn) -> tuple[jax.Array, None]:
            return operations.source(drawn.numbers, drawn.amounts, coordinates_2HW), None

        drawn = self._draw(key, *coordinates_2HW.shape[1:])
        return lax.scan(back, coordinates_2HW, drawn, reverse=True)[0]


def _applied(drawn: _Drawn, image_HWC: jax.Array) -> jax.Array:
    def one(image_HWC: jax.Array, drawn: _Drawn) -> tuple[jax.Array, None]:
        return operations.apply(drawn.numbers, drawn.amounts, image_HWC), None

    return lax.scan(one, image_HWC, drawn)[0]


def _signs(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jnp.where(jax.random.bernoulli(key, shape=shape), 1.0, -1.0)


def _chosen(numbers: jax.Array, amounts_of_all: jax.Array) -> _Drawn:
    return _Drawn(numbers, jnp.take_along_axis(amounts_of_all, numbers[..., None], -1)[..., 0])


@flax.struct.dataclass
class RandAugment(_InOrder):
    """Applies operations drawn with equal probability from `OPERATIONS`, all with the same magnitude.

    Source: E. D. Cubuk, B. Zoph, J. Shlens and Q. V. Le, "RandAugment: Practical automated data augmentation with a
    reduced search space", NeurIPS 2020 (arXiv:1909.13719). Operations and amounts are those of torchvision's
    `RandAugment` with 31 magnitude bins.

    Attributes:
        count: number of operations for each image; static.
        magnitude: 0 to 30.
    """

    count: int = flax.struct.field(pytree_node=False)
    magnitude: Strength = 9.0

    def _draw(self, key: jax.Array, height: int, width: int) -> _Drawn:
        kinds, signs = jax.random.split(key)
        numbers = jax.random.randint(kinds, (self.count,), 0, len(OPERATIONS))
        level = jnp.asarray(self.magnitude, jnp.float32) / _BINS
        greatest = Greatest(0.3, (150 / 331 * height, 150 / 331 * width), 30.0, 0.9)

        def of(sign: jax.Array) -> jax.Array:
            return amounts(greatest, level, sign, 8 - jnp.round(4 * level), 255 * (1 - level))

        return _chosen(numbers, jax.vmap(of)(_signs(signs, (self.count,))))


@flax.struct.dataclass
class TrivialAugment(_InOrder):
    """Applies one operation drawn with equal probability from `OPERATIONS`, with one of 31 magnitudes.

    Source: S. G. Müller and F. Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", ICCV 2021
    (arXiv:2103.10158). Operations and amounts are those of torchvision's `TrivialAugmentWide`.
    """

    def _draw(self, key: jax.Array, height: int, width: int) -> _Drawn:
        kind, bin_key, sign = jax.random.split(key, 3)
        number = jax.random.randint(kind, (), 0, len(OPERATIONS))
        level = jax.random.randint(bin_key, (), 0, _BINS + 1) / _BINS
        greatest = Greatest(0.99, (32.0, 32.0), 135.0, 0.99)
        found = amounts(greatest, level, _signs(sign, ()), 8 - jnp.round(6 * level), 255 * (1 - level))
        return jax.tree.map(lambda each: each[None], _chosen(number, found))


@flax.struct.dataclass
class AugMix(OneByOne):
    """Mixes an image with a weighted sum of three copies, each changed by a chain of one to three operations.

    The weights of the copies are uniform over all that sum to 1, and so is the image's own share in 0 to 1. The paper
    also adds a loss that compares two such mixtures of an image, which is not part of this.

    Source: D. Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty", ICLR
    2020 (arXiv:1912.02781), algorithm 1. Operations and amounts are those of its code.

    Attributes:
        severity: the greatest level of an operation, 0 to 10; 3 in the paper. Levels are uniform from 0.1.
    """

    severity: Strength

    def __call__(self, key: jax.Array, image_HWC: jax.Array) -> jax.Array:
        """Return the mixture, (H, W, C), of the same dtype.

        Raises:
            TypeError: the pixels are not floating-point.
        """
        require_float_pixels(image_HWC, type(self).__name__)
        image = image_HWC.astype(jnp.float32)
        chains, weights, own = jax.random.split(key, 3)
        drawn = self._draw(chains, *image.shape[:2])
        # Exponential numbers divided by their sum are uniform over the weights that sum to 1: Dirichlet(1, 1, 1).
        raw = jax.random.exponential(weights, (_WIDTH,))

        def add(total: jax.Array, chain: tuple[jax.Array, _Drawn]) -> tuple[jax.Array, None]:
            weight, drawn = chain
            return total + weight * _applied(drawn, image), None

        copies, _ = lax.scan(add, jnp.zeros_like(image), (raw / raw.sum(), drawn))
        share = jax.random.uniform(own)
        return (share * image + (1 - share) * copies).astype(image_HWC.dtype)

    def source(self, key: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
        """Return the coordinates as they are: a mixture has no place of its own for what lies in an image."""
        return coordinates_2HW

    def _draw(self, key: jax.Array, height: int, width: int) -> _Drawn:
        """Return the operations of each chain, arrays (3, 3); after a chain's end they are the identity."""
        kinds, depths, levels, signs = jax.random.split(key, 4)
        shape = (_WIDTH, _DEPTH)
        numbers = jnp.asarray(_OF_AUGMIX)[jax.random.randint(kinds, shape, 0, len(_OF_AUGMIX))]
        depth = jax.random.randint(depths, (_WIDTH, 1), 1, _DEPTH + 1)
        numbers = jnp.where(jnp.arange(_DEPTH) < depth, numbers, IDENTITY)
        least = jnp.minimum(_LEAST_SEVERITY, self.severity)
        level = (least + (self.severity - least) * jax.random.uniform(levels, shape)) / 10
        greatest = Greatest(0.3, (height / 3, width / 3), 30.0, 0.0)

        def of(level: jax.Array, sign: jax.Array) -> jax.Array:
            return amounts(greatest, level, sign, 4 - jnp.floor(4 * level), 256 - jnp.floor(256 * level))

        return _chosen(numbers, jax.vmap(jax.vmap(of))(level, _signs(signs, shape)))
