"""An augmented example depends on its key alone, and every outcome is as likely as it should be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy.stats import chisquare

from flaxcnn.layers.augmentation import (
    Cutout,
    Elastic,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomScale,
    RandomShear,
    RandomShift,
    augment,
)

ALL = (
    RandomFlip(0.5),
    RandomShift(2.0),
    RandomRotation(15.0),
    RandomCrop(1),
    RandomScale(0.2),
    RandomShear(10.0),
    Elastic(1.0, smoothness=2.0),
    Cutout(2.0),
)
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


@pytest.mark.slow
def test_every_kind_of_augmentation_changes_an_example_alike_in_a_batch_of_any_size():
    images = jax.random.uniform(jax.random.key(0), (9, 14, 12, 3))
    whole = jax.jit(augment)(ALL, jax.random.key(7), images)
    np.testing.assert_array_equal(jax.jit(augment)(ALL, jax.random.key(7), images[:4]), whole[:4])


def test_neighbours_that_are_no_warps_part_the_warps_beside_them():
    images = jax.random.uniform(jax.random.key(0), (3, 14, 12, 3))
    key = jax.random.key(7)
    expected = images
    for place, augmentation in enumerate((RandomShift(2.0), RandomFlip(0.5), RandomRotation(40.0))):
        keys = [jax.random.fold_in(jax.random.fold_in(key, position), place) for position in range(3)]
        expected = jnp.stack([augmentation(each, image) for each, image in zip(keys, expected, strict=True)])
    found = augment((RandomShift(2.0), RandomFlip(0.5), RandomRotation(40.0)), key, images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_other_strengths_compile_nothing_anew():
    traced = []

    @jax.jit
    def program(augmentations, images):
        traced.append(augmentations)
        return augment(augmentations, jax.random.key(0), images)

    images = jax.random.uniform(jax.random.key(0), (4, 8, 8, 1))
    weak = program(ALL, images)
    strong = program(jax.tree.map(lambda strength: 1.5 * strength, ALL), images)
    assert len(traced) == 1
    assert not np.array_equal(weak, strong)


def test_a_padding_or_a_smoothness_decides_a_shape_and_is_no_leaf():
    assert jax.tree.leaves((RandomCrop(3), Elastic(1.5, smoothness=4.0))) == [1.5]


def test_a_loop_of_steps_augments_as_the_steps_alone_do():
    images = jax.random.uniform(jax.random.key(0), (4, 8, 8, 3))

    def step(index, images):
        return augment(ALL, jax.random.fold_in(jax.random.key(1), index), images)

    @jax.jit
    def loop(steps, images):
        return lax.while_loop(lambda c: c[0] < steps, lambda c: (c[0] + 1, step(*c)), (0, images))[1]

    np.testing.assert_allclose(loop(2, images), jax.jit(step)(1, jax.jit(step)(0, images)), atol=1e-5)


@pytest.mark.slow
def test_batches_of_batches_are_augmented_as_each_batch_alone():
    batches = jax.random.uniform(jax.random.key(0), (2, 4, 8, 8, 3))
    keys = jax.random.split(jax.random.key(1), 2)
    found = jax.jit(jax.vmap(augment, (None, 0, 0)))(ALL, keys, batches)
    expected = [jax.jit(augment)(ALL, key, batch) for key, batch in zip(keys, batches, strict=True)]
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)
