"""A warp moves the content as SciPy and Pillow do, by amounts drawn as declared; several are one resampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.stats import kstest

from flaxcnn.data import load
from flaxcnn.errors import ConfigError
from flaxcnn.layers.augmentation import (
    Elastic,
    RandomRotation,
    RandomScale,
    RandomShear,
    RandomShift,
    augment,
    resample,
)

pytestmark = pytest.mark.usefixtures("light_programs")

WARPS = {
    "shift": RandomShift(3.0),
    "rotation": RandomRotation(20.0),
    "scale": RandomScale(0.2),
    "shear": RandomShear(20.0),
    "elastic": Elastic(1.5, smoothness=3.0),
}
CENTRE = 13.5  # of 28 pixels


@pytest.fixture(scope="module")
def digits():
    """MNIST's first 8 training images in [0, 1], (8, 28, 28, 1)."""
    return load("mnist").train.images[:8].astype(np.float32) / 255


def grid(height, width):
    return jnp.asarray(np.mgrid[:height, :width], jnp.float32)


def sources(warp, count, height=28, width=28):
    """The coordinate maps of so many keys, (count, 2, H, W)."""
    keys = jax.random.split(jax.random.key(5), count)
    return np.asarray(jax.jit(jax.vmap(lambda key: warp.source(key, grid(height, width))))(keys))


def step_right(source):
    """How far apart, in rows and columns, two neighbours in a row are read."""
    return source[..., 0, 1] - source[..., 0, 0]


def angles_of(maps):
    # Content turned counter-clockwise: what stands to the right was below, where rows count upwards.
    rows, columns = step_right(maps.transpose(1, 0, 2, 3))
    return np.degrees(np.arctan2(rows, columns))


def factors_of(maps):
    return 1 / step_right(maps.transpose(1, 0, 2, 3))[1]


def slants_of(maps):
    return np.degrees(np.arctan(-(maps[:, 1, 1, 0] - maps[:, 1, 0, 0])))


def test_resampling_is_scipys_linear_interpolation_with_zeros_around(digits):
    colours = np.stack([digits[0, ..., 0], digits[1, ..., 0] + 0.5, 1 - digits[2, ..., 0]], -1)
    coordinates = np.random.default_rng(0).uniform(-4, 32, (2, 28, 28)).astype(np.float32)
    expected = [ndimage.map_coordinates(colours[..., c], coordinates, order=1, mode="grid-constant") for c in range(3)]
    np.testing.assert_allclose(resample(colours, jnp.asarray(coordinates)), np.stack(expected, -1), atol=2e-6)


def test_resampling_reads_places_of_any_number_and_zeros_however_far_outside():
    image = jnp.asarray([[[1.0], [2.0]], [[3.0], [4.0]]])
    rows, columns = [[0.5, 0.0, -0.5, 1e9, -np.inf]], [[0.5, 0.25, 0.0, 0.0, 1.0]]
    found = resample(image, jnp.asarray([rows, columns], jnp.float32))
    np.testing.assert_array_equal(found[..., 0], [[2.5, 1.25, 0.5, 0.0, 0.0]])


@pytest.mark.parametrize("name", WARPS)
def test_zero_strength_gives_back_the_image_bit_for_bit(name, digits):
    warp = WARPS[name]
    still = jax.tree.map(lambda strength: 0 * strength, warp)
    np.testing.assert_array_equal(jax.jit(augment)((still,), jax.random.key(2), digits), digits)
    odd = jax.random.normal(jax.random.key(0), (7, 10, 3))
    np.testing.assert_array_equal(still(jax.random.key(1), odd), odd)


@pytest.mark.slow
def test_all_warps_at_zero_strength_give_back_the_image_bit_for_bit(digits):
    still = (RandomShift(0.0), RandomRotation(0.0), RandomScale(0.0), RandomShear(0.0), Elastic(0.0, smoothness=2.0))
    np.testing.assert_array_equal(augment(still, jax.random.key(2), digits), digits)


@pytest.mark.parametrize(
    ("warp", "drawn", "low", "width"),
    [
        (RandomShift(3.0), lambda maps: -maps[:, 0, 0, 0], -3, 6),
        (RandomShift(3.0), lambda maps: -maps[:, 1, 0, 0], -3, 6),
        (RandomRotation(20.0), angles_of, -20, 40),
        (RandomScale(0.2), factors_of, 0.8, 0.4),
        (RandomShear(25.0), slants_of, -25, 50),
    ],
    ids=["rows", "columns", "rotation", "scale", "shear"],
)
def test_what_is_drawn_is_uniform_over_the_declared_range(warp, drawn, low, width):
    values = drawn(sources(warp, 3000))
    assert kstest(values, "uniform", args=(low, width)).pvalue > 1e-4
    assert values.min() >= low - 1e-3
    assert values.max() <= low + width + 1e-3


def test_the_two_directions_of_a_shift_are_independent():
    rows, columns = sources(RandomShift(1.0), 3000)[:, :, 0, 0].T
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 5 / np.sqrt(3000)


def test_a_shift_is_scipys(digits):
    maps = sources(WARPS["shift"], 8)
    for image, key, moved in zip(digits, jax.random.split(jax.random.key(5), 8), -maps[:, :, 0, 0], strict=True):
        expected = ndimage.shift(image[..., 0], moved, order=1, mode="grid-constant")
        np.testing.assert_allclose(WARPS["shift"](key, image)[..., 0], expected, atol=1e-5)


def test_a_rotation_is_pillows_and_scipys(digits):
    angles = angles_of(sources(WARPS["rotation"], 8))
    assert angles.max() > 5
    assert angles.min() < -5
    for image, key, angle in zip(digits, jax.random.split(jax.random.key(5), 8), angles.tolist(), strict=True):
        turned = WARPS["rotation"](key, image)[..., 0]
        by_pillow = Image.fromarray(image[..., 0]).rotate(angle, Image.Resampling.BILINEAR)  # counter-clockwise
        np.testing.assert_allclose(turned, by_pillow, atol=1e-4)
        by_scipy = ndimage.rotate(image[..., 0], angle, reshape=False, order=1, mode="grid-constant")
        np.testing.assert_allclose(turned, by_scipy, atol=1e-4)


def test_a_scale_keeps_the_centre_and_is_scipys_affine_transform(digits):
    factors = factors_of(sources(WARPS["scale"], 8))
    for image, key, factor in zip(digits, jax.random.split(jax.random.key(5), 8), factors, strict=True):
        expected = ndimage.affine_transform(
            image[..., 0], [1 / factor] * 2, CENTRE - CENTRE / factor, order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(WARPS["scale"](key, image)[..., 0], expected, atol=1e-4)


def test_a_shear_slides_rows_and_is_pillows_affine_transform(digits):
    slopes = np.tan(np.radians(slants_of(sources(WARPS["shear"], 8)))).tolist()
    for image, key, slope in zip(digits, jax.random.split(jax.random.key(5), 8), slopes, strict=True):
        # Pillow counts from the corners of pixels: centres lie at 14.
        map_back = (1, -slope, 14 * slope, 0, 1, 0)
        pillow = Image.fromarray(image[..., 0]).transform(
            (28, 28), Image.Transform.AFFINE, map_back, Image.Resampling.BILINEAR
        )
        np.testing.assert_allclose(WARPS["shear"](key, image)[..., 0], pillow, atol=1e-4)


def test_an_elastic_field_is_smoothed_noise_as_scipy_smooths_it():
    size, smoothness, key = 48, 2.0, jax.random.key(11)
    words = np.asarray(jax.random.bits(key, (size * size * 2 // 4,), jnp.uint32))
    noise = words.astype("<u4").view(np.uint8).reshape(size, size, 2) - 127.5
    noise /= np.arange(256).std()  # of equally likely 0 … 255
    smooth = ndimage.gaussian_filter(noise, smoothness, axes=(0, 1), mode="constant", truncate=8)
    expected = 1.5 * smooth * np.sqrt(4 * np.pi) * smoothness  # the squares of a Gaussian's weights sum to 1 / (4π σ²)
    found = Elastic(1.5, smoothness).source(key, grid(size, size)) - grid(size, size)
    inner = slice(12, -12)  # no weight reaches over the edge
    np.testing.assert_allclose(
        np.moveaxis(np.asarray(found), 0, -1)[inner, inner], expected[inner, inner], atol=1e-4, rtol=0
    )


def test_an_elastic_displacement_has_the_declared_deviation_at_each_pixel_to_the_corner():
    moved = sources(Elastic(1.5, smoothness=2.0), 4000, 9, 12) - grid(9, 12)
    # 4000 draws: a mean is uncertain by 1/63 of the deviation, a deviation by 1/89; five times that.
    assert abs(moved.mean(0)).max() < 1.5 * 5 / 63
    np.testing.assert_allclose(moved.std(0), 1.5, rtol=5 / 89)


def test_the_smoothness_of_an_elastic_field_is_above_zero(digits):
    with pytest.raises(ConfigError, match=r"Elastic\.smoothness: out of range; expected a number above 0, found 0"):
        Elastic(1.0, 0.0)(jax.random.key(0), digits[0])


def blob(row, column, width=2.0):
    rows, columns = np.mgrid[:41, :41]
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2)).astype(np.float32)[None, ..., None]


def centroid(images_BHWC):
    return np.array(ndimage.center_of_mass(np.asarray(images_BHWC)[0, ..., 0]))


def test_the_first_listed_warp_acts_first():
    key, start = jax.random.key(9), np.array([20.0, 28.0])
    image = blob(*start)
    shift, rotation = RandomShift(6.0), RandomRotation(60.0)
    moved = centroid(augment((shift,), key, image)) - start
    # What the second place draws: the blob right of the centre goes up by as much as it turns counter-clockwise.
    row, column = centroid(augment((RandomShift(0.0), rotation), key, image)) - 20
    angle = np.arctan2(-row, column)
    assert min(np.abs(moved).max(), abs(angle)) > 0.3  # the two orders differ visibly
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # of (row, column)
    both = centroid(augment((shift, rotation), key, image))
    np.testing.assert_allclose(both, 20 + turn @ (start + moved - 20), atol=0.02)
    assert np.abs(both - (20 + turn @ (start - 20) + moved)).max() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("names", [("elastic", "rotation"), ("rotation", "elastic"), ("shear", "scale", "elastic")])
def test_warps_in_a_row_are_one_after_the_other_without_the_blur_between(names):
    image = blob(16.0, 26.0, width=4.0)
    warps = tuple(WARPS[name] for name in names)
    together = augment(warps, jax.random.key(3), image)
    example = jax.random.fold_in(jax.random.key(3), 0)
    one_by_one = image[0]
    for place, warp in enumerate(warps):
        one_by_one = warp(jax.random.fold_in(example, place), one_by_one)
    assert np.abs(together[0] - image[0]).max() > 0.2
    np.testing.assert_allclose(together[0], one_by_one, atol=0.03)  # the blur
    assert np.max(together) > np.max(one_by_one)  # each resampling flattens the peak


def test_content_that_leaves_the_image_between_two_warps_comes_back():
    image, away = jnp.ones((1, 5, 5, 1)), RandomShift(40.0)
    keys = [jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 0), place) for place in (0, 1)]
    first, second = (away.source(key, grid(5, 5))[:, 0, 0] for key in keys)
    expected = ndimage.shift(np.ones((5, 5)), -np.asarray(first + second), order=1, mode="grid-constant")
    found = augment((away, away), jax.random.key(0), image)[0, ..., 0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", WARPS)
def test_bytes_are_refused_with_what_to_do(name):
    with pytest.raises(TypeError, match=r"expected floating-point pixels, found uint8\. Make them with flaxcnn"):
        WARPS[name](jax.random.key(0), jnp.zeros((4, 4, 1), jnp.uint8))


def test_half_precision_pixels_keep_their_type(digits):
    half = jnp.asarray(digits, jnp.bfloat16)
    turned = augment((WARPS["rotation"],), jax.random.key(0), half)
    assert turned.dtype == jnp.bfloat16
    exact = augment((WARPS["rotation"],), jax.random.key(0), digits)
    np.testing.assert_allclose(turned.astype(jnp.float32), exact, atol=2**-7)
