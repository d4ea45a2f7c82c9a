"""Apply augmentations in order to a whole batch."""

from functools import partial
from itertools import groupby

import jax
import jax.numpy as jnp

from flaxcnn.layers.augmentation.protocol import Augmentation
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
    if not augmentations:
        return images_BHWC
    return jax.vmap(partial(_augment_one, augmentations, key))(jnp.arange(images_BHWC.shape[0]), images_BHWC)


def _augment_one(
    augmentations: tuple[Augmentation, ...], step_key: jax.Array, position: jax.Array, image_HWC: jax.Array
) -> jax.Array:
    example_key = jax.random.fold_in(step_key, position)
    keyed = [(each, jax.random.fold_in(example_key, place)) for place, each in enumerate(augmentations)]
    for _, neighbours in groupby(keyed, key=lambda pair: isinstance(pair[0], Warp)):
        row = list(neighbours)
        if warps := [(each, key) for each, key in row if isinstance(each, Warp)]:
            image_HWC = warp(warps, image_HWC)
        else:
            for each, key in row:
                image_HWC = each(key, image_HWC)
    return image_HWC
