"""A resized crop is Pillow's crop and resize of a window as torchvision draws it; erasing blanks what timm would."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest, kstest

from flaxcnn.layers.augmentation import RandomErasing, RandomResizedCrop, RandomShift, augment, resample, sources
from tests.layers.photographs import as_floats, levels, photograph

HEIGHT, WIDTH = photograph("china").shape[:2]


def windows(crop, count, extent=(HEIGHT, WIDTH)):
    keys = jax.random.split(jax.random.key(1), count)
    sizes, corners = jax.jit(jax.vmap(lambda key: crop._window(key, extent)))(keys)
    return np.asarray(sizes), np.asarray(corners)


@pytest.mark.slow
def test_a_resized_crop_is_pillows_crop_and_resize():
    crop, image = RandomResizedCrop(0.08), photograph("china")
    sizes, corners = windows(crop, 12)
    for key, size, corner in zip(jax.random.split(jax.random.key(1), 12), sizes, corners, strict=True):
        (height, width), (top, left) = size.tolist(), corner.tolist()
        cut = Image.fromarray(image).crop((left, top, left + width, top + height))
        expected = np.asarray(cut.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))
        found = levels(jax.jit(crop.__call__)(key, as_floats(image)))
        assert np.abs(found - expected).max() <= 1 + 1e-3  # Pillow rounds after each of its two passes


def test_windows_lie_inside_with_torchvisions_areas_and_aspect_ratios():
    sizes, corners = windows(RandomResizedCrop(0.08, 4 / 3), 4000, (500, 500))
    assert (sizes == np.round(sizes)).all()
    assert (corners >= 0).all()
    assert (corners + sizes <= 500).all()
    areas, ratios = sizes.prod(1) / 500**2, sizes[:, 1] / sizes[:, 0]
    assert 0.079 < areas.min() < 0.1
    # Where every ratio fits, nothing is drawn again: below 3/4, the area is uniform, and the ratio's logarithm too.
    small = areas < 0.7
    assert kstest(areas[small], "uniform", args=(0.08, 0.62)).pvalue > 1e-4
    logarithms = np.log(ratios[small])
    assert kstest(logarithms, "uniform", args=(-np.log(4 / 3), 2 * np.log(4 / 3))).pvalue > 1e-4
    free = 500 - sizes[small]
    assert kstest((corners[small, 0] + 0.5) / (free[:, 0] + 1), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("extent", [(40, 200), (200, 40)])
def test_where_no_window_fits_it_is_the_largest_in_the_middle(extent):
    # Of an image of 1:5, windows of its whole area have sides of at least 77 by 77 / (4/3).
    sizes, corners = windows(RandomResizedCrop(1.0, 4 / 3), 5, extent)
    long = int(np.argmax(extent))
    assert (sizes[:, 1 - long] == 40).all()
    assert (sizes[:, long] == round(40 * 4 / 3)).all()
    assert (corners[:, long] == (200 - 53) // 2).all()
    assert (corners[:, 1 - long] == 0).all()


def test_the_whole_image_stays_bit_for_bit():
    image = as_floats(photograph("china"))[:, :64]
    np.testing.assert_array_equal(RandomResizedCrop(1.0, 1.0)(jax.random.key(0), image), image)


@pytest.mark.slow
def test_a_mask_is_cropped_as_the_image_is():
    images = np.stack([as_floats(photograph("flower"))] * 4)
    key, crop = jax.random.key(3), (RandomResizedCrop(0.2),)
    read = jax.vmap(resample)(images, sources(crop, key, 4, (HEIGHT, WIDTH)))
    np.testing.assert_allclose(read, jax.jit(augment)(crop, key, images), atol=1e-5)


def test_a_warp_after_a_crop_reads_what_lies_beyond_the_window():
    images = np.ones((20, HEIGHT, WIDTH, 1), np.float32)
    shifted = np.asarray(jax.jit(augment)((RandomResizedCrop(0.1), RandomShift(3.0)), jax.random.key(0), images))
    assert (shifted == 1).all((1, 2, 3)).sum() > 3  # windows far enough from the image's edge
    assert (shifted == 0).any()


# --- erasing


def erased(probability, fill, count, extent=(60, 80)):
    images = np.full((count, *extent, 3), 0.5, np.float32)
    return np.asarray(jax.jit(augment)((RandomErasing(probability, fill),), jax.random.key(2), images))


def test_erasing_sets_a_rectangle_to_zero_as_often_as_declared_with_timms_areas_and_ratios():
    holes = (erased(0.6, "zeros", 3000) == 0).all(-1)
    assert binomtest(int(holes.any((1, 2)).sum()), 3000, 0.6).pvalue > 1e-4
    rows, columns = holes.any(2).sum(1), holes.any(1).sum(1)
    some = rows > 0
    np.testing.assert_array_equal(holes.sum((1, 2)), rows * columns)  # a rectangle
    areas, ratios = (rows * columns / 4800)[some], (rows / np.maximum(columns, 1))[some]
    assert areas.min() > 0.015
    assert areas.max() < 1 / 3 + 0.01
    assert 0.25 < ratios.min() < 0.4
    assert 2.5 < ratios.max() < 3.7
    # Most windows fit, so that few are drawn again.
    assert kstest(areas[areas < 0.2], "uniform", args=(0.02, 0.18)).pvalue > 1e-4
    assert holes.mean(0).min() > 0  # no pixel is spared


def test_noise_is_drawn_for_each_pixel_and_channel_over_all_levels():
    found = erased(1.0, "noise", 200)
    noise = found[found != 0.5]
    np.testing.assert_allclose(np.unique(noise.round(6)), np.arange(256).astype(np.float32).round(0) / 255, atol=1e-6)
    assert noise.mean() == pytest.approx(0.5, abs=5 / np.sqrt(12 * len(noise)))
    assert abs(np.corrcoef(found[..., 0].ravel(), found[..., 1].ravel())[0, 1]) < 0.02


def test_erasing_with_probability_0_changes_nothing_and_moves_nothing():
    assert (erased(0.0, "noise", 20) == 0.5).all()
    rows, columns = sources((RandomErasing(1.0),), jax.random.key(0), 1, (3, 5))[0]
    np.testing.assert_array_equal(rows, np.arange(3.0)[:, None] * np.ones(5))
    np.testing.assert_array_equal(columns, np.arange(5.0) * np.ones((3, 1)))


def test_a_probability_an_area_and_a_ratio_are_runtime_values_and_bytes_are_refused():
    assert jax.tree.leaves((RandomResizedCrop(0.5, 2.0), RandomErasing(0.25))) == [0.5, 2.0, 0.25]
    for augmentation in (RandomResizedCrop(0.5), RandomErasing(1.0)):
        with pytest.raises(TypeError, match=rf"{type(augmentation).__name__}: expected floating-point pixels"):
            augmentation(jax.random.key(0), jnp.zeros((8, 8, 3), jnp.uint8))
