"""An augmented example depends on its key alone, and every outcome is as likely as it should be."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import chisquare

from flaxcnn.layers.augmentation import RandomCrop, augment

IMAGE = np.arange(1, 4 * 5 * 2 + 1, dtype=np.uint8).reshape(4, 5, 2)


def windows_of(image, padding):
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    size = 2 * padding + 1
    return [padded[top : top + 4, left : left + 5] for top in range(size) for left in range(size)]


def test_a_crop_is_each_window_of_the_padded_image_equally_often():
    keys = jax.random.split(jax.random.key(0), 2500)
    crops = np.asarray(jax.vmap(lambda key: RandomCrop(2)(key, jnp.asarray(IMAGE)))(keys))
    assert crops.dtype == np.uint8
    counts = [(crops == window).all(axis=(1, 2, 3)).sum() for window in windows_of(IMAGE, 2)]
    assert sum(counts) == 2500  # no crop is anything else
    assert chisquare(counts).pvalue > 1e-4


def test_no_padding_changes_nothing():
    np.testing.assert_array_equal(RandomCrop(0)(jax.random.key(3), jnp.asarray(IMAGE)), IMAGE)


def test_an_example_is_changed_alike_in_a_batch_of_any_size():
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (8, 4, 5, 2), np.uint8))
    key = jax.random.key(7)
    whole = augment((RandomCrop(2), RandomCrop(1)), key, images)
    np.testing.assert_array_equal(augment((RandomCrop(2), RandomCrop(1)), key, images[:3]), whole[:3])
    assert not np.array_equal(whole, images)


def test_examples_of_a_batch_and_steps_are_changed_apart():
    same = jnp.broadcast_to(jnp.asarray(IMAGE), (64, 4, 5, 2))
    first = np.asarray(augment((RandomCrop(2),), jax.random.key(0), same))
    assert len(np.unique(first.reshape(64, -1), axis=0)) > 15  # of 25 windows
    assert not np.array_equal(first, augment((RandomCrop(2),), jax.random.key(1), same))


def test_a_second_augmentation_of_the_same_kind_draws_anew():
    same = jnp.broadcast_to(jnp.asarray(IMAGE), (200, 4, 5, 2))
    twice = np.asarray(augment((RandomCrop(1), RandomCrop(1)), jax.random.key(0), same))
    # One crop has 9 outcomes, and so have two that draw the same.
    assert len(np.unique(twice.reshape(200, -1), axis=0)) > 9
