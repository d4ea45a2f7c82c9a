"""Targets move with the pixels: a mask that is moved by the sources is the mask that is augmented as an image."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    resample,
    sources,
)
from flaxcnn.models import create
from flaxcnn.tasks import Regression
from flaxcnn.training import adam, create_state
from flaxcnn.training.step import augmented_batch

pytestmark = pytest.mark.usefixtures("light_programs")

KEY = jax.random.key(3)
MASKS = np.random.default_rng(0).random((6, 9, 12, 1)).astype(np.float32)


@pytest.mark.parametrize(
    "augmentations",
    [
        (RandomFlip(0.5),),
        (RandomCrop(3),),
        (RandomCrop(2), RandomFlip(1.0)),
        (RandomShift(2.5),),
        (RandomRotation(30.0), RandomScale(0.2), RandomShear(10.0)),
        (Elastic(1.0, 2.0),),
        (RandomFlip(0.5), RandomRotation(20.0)),
    ],
)
def test_a_mask_read_at_the_sources_is_the_mask_augmented_as_an_image(augmentations):
    as_images = augment(augmentations, KEY, MASKS)
    read = jax.vmap(resample)(MASKS, sources(augmentations, KEY, len(MASKS), MASKS.shape[1:3]))
    np.testing.assert_allclose(read, as_images, atol=1e-4)


def test_a_hole_moves_nothing():
    (rows, columns), *_ = sources((Cutout(4),), KEY, 2, (3, 5))
    np.testing.assert_array_equal(rows, np.repeat(np.arange(3.0)[:, None], 5, 1))
    np.testing.assert_array_equal(columns, np.repeat(np.arange(5.0)[None], 3, 0))


@dataclass(frozen=True)
class Boxes(Regression):
    """A box an image: first row, first column, last row, last column."""

    name = "boxes"
    moves = True

    def move(self, targets, source_2HW):
        rows, columns = source_2HW
        inside = (rows >= targets[0]) & (rows <= targets[2]) & (columns >= targets[1]) & (columns <= targets[3])
        over_rows, over_columns = inside.any(1), inside.any(0)
        last_row = len(over_rows) - 1 - jnp.argmax(over_rows[::-1])
        last_column = len(over_columns) - 1 - jnp.argmax(over_columns[::-1])
        return jnp.stack([jnp.argmax(over_rows), jnp.argmax(over_columns), last_row, last_column]).astype(jnp.float32)


def state_of(task):
    return create_state(
        create("paper_cnn", 4),
        adam(),
        (8, 12, 1),
        augmentations=(RandomFlip(1.0),),
        task=task,
        constants={"target_mean": np.zeros(4, np.float32), "target_deviation": np.ones(4, np.float32)},
    )


def test_a_step_moves_the_boxes_of_a_task_that_asks_for_it():
    images, boxes = np.zeros((2, 8, 12, 1), np.uint8), np.float32([[1, 2, 3, 4], [0, 0, 7, 0]])
    moved = augmented_batch(state_of(Boxes()), jnp.asarray(images), jnp.asarray(boxes)).targets
    np.testing.assert_array_equal(moved, [[1, 7, 3, 9], [0, 11, 7, 11]])  # mirrored: column c becomes 11 - c
    left = augmented_batch(state_of(Regression()), jnp.asarray(images), jnp.asarray(boxes)).targets
    np.testing.assert_array_equal(left, boxes)
