"""Apply augmentations in order to a whole batch."""

from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from flaxcnn.layers.augmentation.protocol import Augmentation, OneByOne
from flaxcnn.layers.augmentation.warps import Warp, warp


def augment(augmentations: tuple[Augmentation, ...], key: jax.Array, images_BHWC: jax.Array) -> jax.Array:
    """Apply augmentations in order, with separate keys for each example.

    Consecutive warps are combined into one resampling (`warp`).

    Args:
        augmentations: the augmentations, in order.
        key: the step's key; an example's keys follow from its position in the batch and the augmentation's index.
        images_BHWC: the batch; must be floating-point for warps.

    Returns:
        The augmented images, (B, H, W, C), of the same dtype.

    Raises:
        TypeError: there are warps, and the pixels are not floating-point.
    """
    positions = jnp.arange(images_BHWC.shape[0])
    for apart, row in groupby(enumerate(augmentations), key=lambda numbered: isinstance(numbered[1], OneByOne)):
        every = partial(_augment_one, tuple(row), key)
        if apart:
            one_by_one = partial(_one_by_one, every)
            images_BHWC = lax.platform_dependent(positions, images_BHWC, cpu=one_by_one, default=jax.vmap(every))
        else:
            images_BHWC = jax.vmap(every)(positions, images_BHWC)
    return images_BHWC


def sources(
    augmentations: tuple[Augmentation, ...], key: jax.Array, batch: int, image_shape: tuple[int, int]
) -> jax.Array:
    """Return where `augment` reads each pixel of its result in the image that it is given.

    Tasks move their targets by it: what lies in an image moves with the pixels. What one augmentation moves out of the
    image and a later one back in again is read, as several warps in a row read it; two crops in a row lose it.

    Args:
        augmentations: as for `augment`.
        key: the same as for `augment`.
        batch: how many images.
        image_shape: (H, W).

    Returns:
        Rows and columns in pixels, (B, 2, H, W) float32; outside of the image for what is padded.
    """
    height, width = image_shape
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")).astype(jnp.float32)

    def of_one(position: jax.Array) -> jax.Array:
        coordinates = grid
        numbered = tuple(enumerate(augmentations))
        for each, own_key in reversed(_keyed(numbered, key, position)):  # the last one made the result
            coordinates = each.source(own_key, coordinates)
        return coordinates

    return jax.vmap(of_one)(jnp.arange(batch))


_Numbered: TypeAlias = tuple[tuple[int, Augmentation], ...]  # some of the augmentations, each with its place among all


def _one_by_one(
    every: Callable[[jax.Array, jax.Array], jax.Array], positions_B: jax.Array, images_BHWC: jax.Array
) -> jax.Array:
    return lax.map(lambda example: every(*example), (positions_B, images_BHWC))


def _keyed(numbered: _Numbered, step_key: jax.Array, position: jax.Array) -> list[tuple[Augmentation, jax.Array]]:
    """Return the augmentations, each with its key for one example."""
    example_key = jax.random.fold_in(step_key, position)
    return [(each, jax.random.fold_in(example_key, place)) for place, each in numbered]


def _augment_one(numbered: _Numbered, step_key: jax.Array, position: jax.Array, image_HWC: jax.Array) -> jax.Array:
    for _, neighbours in groupby(_keyed(numbered, step_key, position), key=lambda pair: isinstance(pair[0], Warp)):
        row = list(neighbours)
        if warps := [(each, key) for each, key in row if isinstance(each, Warp)]:
            image_HWC = warp(warps, image_HWC)
        else:
            for each, key in row:
                image_HWC = each(key, image_HWC)
    return image_HWC
