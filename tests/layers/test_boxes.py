"""Boxes overlap, and move with the pixels that they are around."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.layers.augmentation import (
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomScale,
    RandomShear,
    RandomShift,
    augment,
    sources,
)
from flaxcnn.layers.boxes import areas, clipped, generalised_overlaps, moved, overlaps

pytestmark = pytest.mark.usefixtures("light_programs")


@pytest.mark.parametrize(
    ("one", "other", "overlap", "generalised"),
    [
        ((0, 0, 4, 2), (0, 0, 4, 2), 1, 1),
        ((0, 0, 2, 2), (0, 1, 2, 3), 2 / 6, 2 / 6),  # side by side: the box around them has no gap
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7, 1 / 7 - 2 / 9),
        ((0, 0, 1, 1), (3, 3, 4, 4), 0, -14 / 16),
        ((0, 0, 1, 1), (2, 2, 2, 2), 0, 0 - 3 / 4),  # of no area
    ],
)
def test_two_boxes_overlap_as_much_as_by_hand(one, other, overlap, generalised):
    pair = np.float32([one]), np.float32([other])
    for first, second in (pair, pair[::-1]):
        np.testing.assert_allclose(overlaps(first, second), [overlap], atol=1e-6)
        np.testing.assert_allclose(generalised_overlaps(first, second), [generalised], atol=1e-6)


def test_a_box_whose_end_is_before_its_beginning_has_no_area():
    np.testing.assert_array_equal(areas(np.float32([[0, 0, 2, 3], [4, 4, 2, 5], [1, 1, 1, 9]])), [6, 0, 0])


MOVES = {
    "flip": (RandomFlip(1.0),),
    "shift": (RandomShift(9.0),),
    "scale": (RandomScale(0.5),),
    "crop": (RandomCrop(12),),
    "resized crop": (RandomResizedCrop(0.4),),
    "all": (RandomFlip(0.5), RandomScale(0.4), RandomShift(8.0)),
    "rotation": (RandomRotation(25.0),),
    "shear": (RandomFlip(0.5), RandomShear(12.0)),
}


@pytest.mark.parametrize("name", sorted(MOVES))
def test_a_box_stays_around_its_pixels(name):
    """The box around an object's pixels in the augmented image is the moved box; of a turned one it is inside."""
    size, count = (80, 96), 12
    random = np.random.default_rng(1)
    corners = random.integers(4, 50, (count, 2))
    boxes = np.concatenate([corners, corners + random.integers(6, 28, (count, 2))], 1)
    images = np.zeros((count, *size, 1), np.float32)
    for image, (y0, x0, y1, x1) in zip(images, boxes, strict=True):
        image[y0:y1, x0:x1] = 1
    key = jax.random.key(5)
    read = sources(MOVES[name], key, count, size)
    found = jax.vmap(moved)(jnp.float32(boxes)[:, None], read)
    found = np.asarray(jax.vmap(lambda box: clipped(box, (0, 0, *size), 0.0))(found))[:, 0]
    augmented = np.asarray(augment(MOVES[name], key, images))[..., 0]
    seen = 0
    for image, box in zip(augmented, found, strict=True):
        rows, columns = np.flatnonzero((image > 0.5).any(1)), np.flatnonzero((image > 0.5).any(0))
        if not len(rows):
            continue
        seen += 1
        around = np.float32([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
        if name in ("rotation", "shear"):  # whose corners are sharp, and blurred away
            assert (around[:2] >= box[:2] - 1).all()
            assert (around[2:] <= box[2:] + 1).all()
            assert np.abs(around - box).max() < 4
        else:
            np.testing.assert_allclose(box, around, atol=1.0)
    assert seen >= count / 2


def test_a_box_of_which_too_little_is_left_is_none():
    boxes = np.float32([[-5, 0, 5, 10], [-8, 0, 2, 10], [2, 2, 4, 4], [20, 20, 30, 30], [np.nan] * 4])
    found = np.asarray(clipped(boxes, (0, 0, 10, 12), 0.3))
    np.testing.assert_array_equal(found[0], [0, 0, 5, 10])
    np.testing.assert_array_equal(found[2], [2, 2, 4, 4])
    assert np.isnan(found[[1, 3, 4]]).all()


def test_boxes_of_an_image_out_of_sight_are_none():
    outside = np.full((2, 8, 8), -1e6, np.float32)
    assert np.isnan(moved(np.float32([[1, 1, 4, 4]]), outside)).all()
