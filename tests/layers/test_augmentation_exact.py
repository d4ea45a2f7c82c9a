"""Flips and holes are NumPy's, as likely as declared, and keep every other pixel of any dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from flaxcnn.layers.augmentation import Cutout, RandomFlip

IMAGE = np.arange(1, 4 * 5 * 3 + 1, dtype=np.uint8).reshape(4, 5, 3)


def outcomes(augmentation, count, image=IMAGE):
    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(jax.jit(jax.vmap(augmentation, (0, None)))(keys, image))


def hole_at(row, column, size):
    """The image with a square set to zero whose top left corner may lie outside."""
    image = IMAGE.copy()
    image[max(row, 0) : max(row + size, 0), max(column, 0) : max(column + size, 0)] = 0
    return image


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_flip_is_numpys_or_nothing_as_often_as_declared(dtype):
    image = IMAGE.astype(dtype)
    flipped = outcomes(RandomFlip(0.3), 2000, image)
    assert flipped.dtype == dtype
    mirrored = (flipped == np.flip(image, axis=1)).all(axis=(1, 2, 3))
    assert (flipped[~mirrored] == image).all()
    assert binomtest(int(mirrored.sum()), 2000, 0.3).pvalue > 1e-4


def test_a_flip_of_probability_0_or_1_is_certain():
    assert (outcomes(RandomFlip(0.0), 200) == IMAGE).all()
    assert (outcomes(RandomFlip(1.0), 200) == IMAGE[:, ::-1]).all()


@pytest.mark.parametrize("size", [2, 3])
def test_a_hole_is_the_square_about_each_pixel_equally_often(size):
    cut = outcomes(Cutout(float(size)), 3000)
    assert cut.dtype == np.uint8
    centres = [(row, column) for row in range(4) for column in range(5)]
    counts = [
        (cut == hole_at(row - size // 2, column - size // 2, size)).all(axis=(1, 2, 3)).sum() for row, column in centres
    ]
    assert sum(counts) == 3000  # no outcome is anything else
    assert chisquare(counts).pvalue > 1e-4


def test_a_hole_within_the_image_has_the_declared_area():
    blanked = (outcomes(Cutout(16.0), 500, np.ones((96, 96, 3), np.float32)) == 0).all(axis=-1).sum(axis=(1, 2))
    assert blanked.max() == 16 * 16
    # The centre's row, and its column, keep the whole side inside in 81 of 96 cases.
    assert binomtest(int((blanked == 256).sum()), 500, (81 / 96) ** 2).pvalue > 1e-4


def test_a_hole_of_no_side_changes_nothing_and_one_of_twice_the_image_blanks_it():
    assert (outcomes(Cutout(0.0), 50) == IMAGE).all()
    assert (outcomes(Cutout(10.0), 50) == 0).all()


def test_floating_point_pixels_keep_their_bits_outside_the_hole():
    image = jax.random.normal(jax.random.key(4), (4, 5, 3))
    cut = outcomes(Cutout(3.0), 50, image)
    assert ((cut == np.asarray(image)) | (cut == 0)).all()
    assert cut.dtype == jnp.float32
