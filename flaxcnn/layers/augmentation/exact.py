"""Augmentations that move or blank whole pixels, so pixel values stay exact in any dtype: crop, flip and cutout."""

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from flaxcnn.layers.augmentation.protocol import Strength


@flax.struct.dataclass
class RandomCrop:
    """Pads an image with zeros on each side and crops it to its original size at a uniformly random position.

    Source: C.-Y. Lee et al., "Deeply-Supervised Nets", AISTATS 2015; common for CIFAR since, with a padding of 4.

    Attributes:
        padding: pixels on each side; static, because it determines a shape.
    """

    padding: int = flax.struct.field(pytree_node=False)

    def __call__(self, key: jax.Array, image_HWC: jax.Array) -> jax.Array:
        """Return the cropped image, (H, W, C), of the same dtype."""
        padding = self.padding
        padded = jnp.pad(image_HWC, ((padding, padding), (padding, padding), (0, 0)))
        top, left = self._corner(key)
        return lax.dynamic_slice(padded, (top, left, jnp.zeros_like(top)), image_HWC.shape)

    def source(self, key: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
        """Return where the input is read (`Augmentation.source`)."""
        return coordinates_2HW + (self._corner(key) - self.padding)[:, None, None]

    def _corner(self, key: jax.Array) -> jax.Array:
        """Return the first row and column of the window in the padded image."""
        return jax.random.randint(key, (2,), 0, 2 * self.padding + 1)


@flax.struct.dataclass
class RandomFlip:
    """Flips an image left to right with a given probability.

    Attributes:
        probability: the probability of a flip, in [0, 1].
    """

    probability: Strength

    def __call__(self, key: jax.Array, image_HWC: jax.Array) -> jax.Array:
        """Return the image or its mirror image, (H, W, C), of the same dtype."""
        return jnp.where(self._mirrors(key), image_HWC[:, ::-1], image_HWC)

    def source(self, key: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
        """Return where the input is read (`Augmentation.source`)."""
        rows, columns = coordinates_2HW
        return jnp.stack([rows, jnp.where(self._mirrors(key), columns.shape[1] - 1 - columns, columns)])

    def _mirrors(self, key: jax.Array) -> jax.Array:
        return jax.random.bernoulli(key, self.probability)


@flax.struct.dataclass
class Cutout:
    """Sets a square of an image to zero.

    The square's centre is a uniformly random pixel of the image, so part of the square may lie outside.

    Source: T. DeVries and G. W. Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017
    (arXiv:1708.04552), section 3.

    Attributes:
        size: the square's side in pixels, an integer.
    """

    size: Strength

    def __call__(self, key: jax.Array, image_HWC: jax.Array) -> jax.Array:
        """Return the image with the square set to zero, (H, W, C), of the same dtype."""
        extent = jnp.asarray(image_HWC.shape[:2], jnp.float32)
        # Of a uniform float32 in [0, 1) times a whole number, the floor is below that number, whatever is rounded.
        centre = jnp.floor(jax.random.uniform(key, (2,)) * extent)
        first = centre - jnp.floor(jnp.asarray(self.size) / 2)

        def cut(axis: int) -> jax.Array:
            positions = jnp.arange(image_HWC.shape[axis])
            return (positions >= first[axis]) & (positions < first[axis] + self.size)

        hole_HW = cut(0)[:, None] & cut(1)[None, :]
        return jnp.where(hole_HW[..., None], jnp.zeros((), image_HWC.dtype), image_HWC)

    def source(self, key: jax.Array, coordinates_2HW: jax.Array) -> jax.Array:
        """Return the coordinates as they are: a hole moves nothing."""
        return coordinates_2HW
