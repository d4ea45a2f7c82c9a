"""Each operation on colours is Pillow's to one level of 255, on photographs, over its whole range."""

import colorsys

import jax
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage
from scipy.stats import binomtest, kstest

from flaxcnn.layers.augmentation import ColorJitter, GaussianBlur, RandomGray, augment, colours, sources
from flaxcnn.layers.augmentation.photographs import blurred
from tests.layers.photographs import as_floats, gray, levels, photograph

pytestmark = pytest.mark.usefixtures("light_programs")

FACTORS = (0.0, 0.1, 0.5, 0.9, 1.0, 1.3, 1.9, 3.0)
ENHANCERS = {
    "brightness": (colours.brighten, ImageEnhance.Brightness),
    "contrast": (colours.contrast, ImageEnhance.Contrast),
    "saturation": (colours.saturate, ImageEnhance.Color),
    "sharpness": (colours.sharpen, ImageEnhance.Sharpness),
}
IMAGES = {
    "flower": photograph("flower"),
    "china": photograph("china"),
    "dark": photograph("china") // 3 + 20,  # its histogram has gaps and ends
    "gray": gray("flower"),
    "one level": np.full((9, 8, 3), 77, np.uint8),
    "few levels": photograph("flower") // 64 * 64,
}


def pillow(image):
    return Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)


def assert_a_level_apart(found, expected, image):
    expected = np.asarray(expected).reshape(image.shape)
    assert np.abs(levels(found) - expected).max() <= 1 + 1e-3


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("name", ENHANCERS)
def test_an_enhancement_is_pillows(name, factor):
    ours, theirs = ENHANCERS[name]
    ours = jax.jit(ours)
    for image in IMAGES.values():
        if name == "saturation" and image.shape[-1] == 1:
            continue
        assert_a_level_apart(ours(as_floats(image), factor), theirs(pillow(image)).enhance(factor), image)


@pytest.mark.parametrize("name", IMAGES)
def test_autocontrast_is_pillows_and_equalize_to_the_bit(name):
    image = IMAGES[name]
    assert_a_level_apart(jax.jit(colours.autocontrast)(as_floats(image)), ImageOps.autocontrast(pillow(image)), image)
    found = np.round(levels(jax.jit(colours.equalize)(as_floats(image))))
    np.testing.assert_array_equal(found, np.asarray(ImageOps.equalize(pillow(image))).reshape(image.shape))


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize_is_pillows_to_the_bit(bits):
    for image in IMAGES.values():
        found = np.round(levels(jax.jit(colours.posterize)(as_floats(image), bits)))
        np.testing.assert_array_equal(found, np.asarray(ImageOps.posterize(pillow(image), bits)).reshape(image.shape))


@pytest.mark.parametrize("threshold", [0, 1, 100, 127.5, 128, 255, 256])
def test_solarize_is_pillows_to_the_bit(threshold):
    for image in IMAGES.values():
        found = np.round(levels(jax.jit(colours.solarize)(as_floats(image), threshold)))
        expected = ImageOps.solarize(pillow(image), threshold)
        np.testing.assert_array_equal(found, np.asarray(expected).reshape(image.shape))


def test_grey_is_pillows_in_each_channel():
    for image in (photograph("flower"), photograph("china")):
        found = np.round(levels(colours.grey(as_floats(image))))
        np.testing.assert_array_equal(found, np.asarray(pillow(image).convert("L").convert("RGB")))


@pytest.mark.parametrize("turn", [-0.5, -0.21, 0.0, 0.1, 1 / 3, 0.5])
def test_a_hue_is_turned_as_colorsys_turns_it(turn):
    image = as_floats(photograph("flower")[::4, ::4])
    image[0, :4] = [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0]]
    expected = np.empty(image.shape)
    for place in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[place].tolist())
        expected[place] = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
    np.testing.assert_allclose(jax.jit(colours.shift_hue)(image, turn), expected, atol=2e-6)


def test_a_third_of_a_turn_makes_red_green_and_green_blue():
    primary = np.float32([[[1, 0, 0], [0, 1, 0], [0.2, 0.2, 0.8]]])
    turned = colours.shift_hue(primary, 1 / 3)
    np.testing.assert_allclose(turned, [[[0, 1, 0], [0, 0, 1], [0.8, 0.2, 0.2]]], atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_operations_on_colours_leave_images_without_three_channels(channels):
    image = as_floats(np.concatenate([gray("flower")] * channels, -1))
    image[..., -1] *= 0.5
    for found in (colours.saturate(image, 0.3), colours.shift_hue(image, 0.3), colours.grey(image)):
        np.testing.assert_array_equal(found, image)
    np.testing.assert_array_equal(RandomGray(1.0)(jax.random.key(0), image), image)


# --- what is drawn


def changed(augmentation, count, image):
    images = np.broadcast_to(image, (count, *image.shape))
    return np.asarray(jax.jit(augment)((augmentation,), jax.random.key(4), images))


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.5])
def test_a_brightness_factor_is_uniform_over_torchvisions_range(strength):
    image = np.full((1, 1, 3), 0.25, np.float32)  # no factor below 4 reaches white
    factors = changed(ColorJitter(brightness=strength), 2000, image)[:, 0, 0, 0] / 0.25
    low, high = max(0, 1 - strength), 1 + strength
    if strength:
        assert kstest(factors, "uniform", args=(low, high - low)).pvalue > 1e-4
    assert factors.min() >= low
    assert factors.max() <= high + 1e-6


def test_a_hue_turns_uniformly_in_both_directions():
    turned = changed(ColorJitter(hue=0.2), 2000, np.float32([[[1.0, 0.0, 0.0]]]))[:, 0, 0]
    hues = np.array([colorsys.rgb_to_hsv(*pixel.tolist())[0] for pixel in turned])
    assert kstest((hues + 0.5) % 1 - 0.5, "uniform", args=(-0.2, 0.4)).pvalue > 1e-4


def test_changes_of_colour_come_in_each_order_and_are_torchvisions_one_after_the_other():
    image, jitter = as_floats(photograph("flower")[::8, ::8]), ColorJitter(0.9, 0.9, 0.9)
    found = changed(jitter, 60, image)
    seen = set()
    for number, result in enumerate(found):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(4), number), 0)
        orders, amounts = jax.random.split(key)
        shares = np.asarray(jax.random.uniform(amounts, (4,)))
        order = np.asarray(jax.random.permutation(orders, 3))
        expected = Image.fromarray(np.round(image * 255).astype(np.uint8))
        for change in order:
            enhancer = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[change]
            expected = enhancer(expected).enhance(float(0.1 + 1.8 * shares[change]))
        # Pillow rounds down to a level after each change, which later factors of up to 1.9 enlarge.
        assert np.abs(levels(result) - np.asarray(expected)).max() < 1 + 1.9 + 1.9**2 + 1
        seen.add(tuple(order))
    assert len(seen) == 6


def test_jitter_of_strength_0_gives_back_the_image_bit_for_bit():
    image = as_floats(photograph("china"))
    np.testing.assert_array_equal(changed(ColorJitter(0.0, 0.0, 0.0), 2, image), [image] * 2)
    np.testing.assert_allclose(changed(ColorJitter(hue=0.0), 2, image), [image] * 2, atol=1e-6)
    np.testing.assert_array_equal(ColorJitter()(jax.random.key(0), image), image)


def test_turning_one_change_on_does_not_alter_what_another_draws():
    image = np.full((1, 1, 1), 0.25, np.float32)
    alone, together = changed(ColorJitter(0.4), 20, image), changed(ColorJitter(0.4, None, 0.4, 0.1), 20, image)
    np.testing.assert_array_equal(alone, together)


def test_an_image_is_made_grey_as_often_as_declared():
    image = as_floats(photograph("flower")[:4, :4])
    found = changed(RandomGray(0.3), 2000, image)
    is_grey = (found == np.asarray(colours.grey(image))).all((1, 2, 3))
    assert (found[~is_grey] == image).all()
    assert binomtest(int(is_grey.sum()), 2000, 0.3).pvalue > 1e-4


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0, 5.0])
def test_a_blur_is_scipys_gaussian_with_reflected_edges(sigma):
    image = as_floats(photograph("china"))
    expected = ndimage.gaussian_filter(image.astype(np.float64), (sigma, sigma, 0), mode="mirror", radius=(15, 15, 0))
    np.testing.assert_allclose(jax.jit(blurred, static_argnums=2)(image, sigma, 15), expected, atol=2e-6)


def test_a_blur_of_an_image_smaller_than_its_reach_keeps_a_constant():
    np.testing.assert_allclose(blurred(np.full((3, 1, 1), 0.4, np.float32), 4.0, 12), 0.4, atol=1e-6)


def test_blurs_are_as_frequent_as_declared_and_their_sigma_is_uniform():
    image = np.zeros((31, 1, 1), np.float32)
    image[15] = 1
    found = changed(GaussianBlur(0.6, 2.0), 1500, image)[..., 0, 0]
    ratios = found[:, 16] / found[:, 15]  # of a Gaussian: exp(-1 / 2σ²)
    blurs = ratios > 1e-3
    least = np.sqrt(-1 / (2 * np.log(1e-3)))
    assert binomtest(int(blurs.sum()), 1500, 0.6 * (2 - least) / (2 - 0.1)).pvalue > 1e-4
    sigmas = np.sqrt(-1 / (2 * np.log(ratios[blurs])))
    assert kstest(sigmas, "uniform", args=(least, 2 - least)).pvalue > 1e-4


@pytest.mark.parametrize("augmentation", [ColorJitter(0.2), RandomGray(0.5), GaussianBlur(0.5)])
def test_bytes_are_refused_half_precision_is_kept_and_nothing_moves(augmentation):
    with pytest.raises(TypeError, match=rf"{type(augmentation).__name__}: expected floating-point pixels"):
        augmentation(jax.random.key(0), np.zeros((4, 4, 3), np.uint8))
    assert augmentation(jax.random.key(0), np.zeros((4, 4, 3), jax.numpy.bfloat16)).dtype == jax.numpy.bfloat16
    rows, columns = sources((augmentation,), jax.random.key(0), 1, (3, 5))[0]
    np.testing.assert_array_equal(rows, np.arange(3.0)[:, None] * np.ones(5))
    np.testing.assert_array_equal(columns, np.arange(5.0) * np.ones((3, 1)))
