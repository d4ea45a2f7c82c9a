"""Random changes of training images, made on the device, each a function of the example's key alone."""

from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
from jax import lax


class Augmentation(Protocol):
    """A random change of one image. Implementations are frozen dataclasses, equal where they do the same."""

    def __call__(self, key: jax.Array, image_HWC: jax.Array) -> jax.Array:
        """Return the changed image, (H, W, C), of the same dtype."""
        ...


@dataclass(frozen=True)
class RandomCrop:
    """Pads an image with zeros on each side and cuts a window of its own size out of it, each place equally likely.

    Source: C.-Y. Lee et al., "Deeply-Supervised Nets", AISTATS 2015; usual for CIFAR since, with a padding of 4.

    Attributes:
        padding: pixels on each side.
    """

    padding: int

    def __call__(self, key: jax.Array, image_HWC: jax.Array) -> jax.Array:
        """Return the cut image, (H, W, C)."""
        padding = self.padding
        padded = jnp.pad(image_HWC, ((padding, padding), (padding, padding), (0, 0)))
        top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        return lax.dynamic_slice(padded, (top, left, jnp.zeros_like(top)), image_HWC.shape)


def augment(augmentations: tuple[Augmentation, ...], key: jax.Array, images_BHWC: jax.Array) -> jax.Array:
    """Apply augmentations one after the other, each example with keys of its own.

    Args:
        augmentations: in order.
        key: of the step; an example's keys follow from its position in the batch and from the augmentation's place.
        images_BHWC: the batch.
    """
    if not augmentations:
        return images_BHWC

    def one(position: jax.Array, image: jax.Array) -> jax.Array:
        for place, augmentation in enumerate(augmentations):
            image = augmentation(jax.random.fold_in(jax.random.fold_in(key, position), place), image)
        return image

    return jax.vmap(one)(jnp.arange(images_BHWC.shape[0]), images_BHWC)
