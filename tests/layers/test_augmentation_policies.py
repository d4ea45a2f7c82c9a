"""RandAugment, TrivialAugment and AugMix apply Pillow's operations, each as often and as strongly as declared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy.stats import chisquare, kstest

from flaxcnn.layers.augmentation import (
    AugMix,
    ColorJitter,
    Cutout,
    RandAugment,
    RandomFlip,
    RandomShift,
    TrivialAugment,
    affine,
    augment,
    operations,
    resample,
    sources,
)
from flaxcnn.layers.augmentation.apply import _augment_one
from flaxcnn.layers.augmentation.operations import OPERATIONS
from tests.layers.photographs import as_floats, gray, levels, photograph

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = photograph("flower").shape[:2]
BILINEAR, AFFINE = Image.Resampling.BILINEAR, Image.Transform.AFFINE


def transformed(image, *numbers):
    return image.transform(image.size, AFFINE, numbers, BILINEAR)


# What torchvision's PIL backend computes for each operation (`_apply_op` in its autoaugment).
PILLOW = {
    "shear_x": lambda image, amount: transformed(image, 1, amount, 0, 0, 1, 0),
    "shear_y": lambda image, amount: transformed(image, 1, 0, 0, amount, 1, 0),
    "translate_x": lambda image, amount: transformed(image, 1, 0, -amount, 0, 1, 0),
    "translate_y": lambda image, amount: transformed(image, 1, 0, 0, 0, 1, -amount),
    "rotate": lambda image, amount: image.rotate(amount, BILINEAR),
    "brightness": lambda image, amount: ImageEnhance.Brightness(image).enhance(amount),
    "color": lambda image, amount: ImageEnhance.Color(image).enhance(amount),
    "contrast": lambda image, amount: ImageEnhance.Contrast(image).enhance(amount),
    "sharpness": lambda image, amount: ImageEnhance.Sharpness(image).enhance(amount),
    "posterize": lambda image, amount: ImageOps.posterize(image, int(amount)),
    "solarize": lambda image, amount: ImageOps.solarize(image, amount),
    "autocontrast": lambda image, amount: ImageOps.autocontrast(image),
    "equalize": lambda image, amount: ImageOps.equalize(image),
    "identity": lambda image, amount: image,
}
AMOUNTS = {
    "shear_x": (-0.99, -0.1, 0.03, 0.3, 0.99),
    "shear_y": (-0.99, -0.1, 0.03, 0.3, 0.99),
    "translate_x": (-32, -1, 0, 5, 100),
    "translate_y": (-32, -1, 0, 5, 100),
    "rotate": (-135, -30, -1, 0, 12.5, 90, 135),
    **dict.fromkeys(("brightness", "color", "contrast", "sharpness"), (0.01, 0.1, 0.7, 1.3, 1.9)),
    "posterize": (2, 4, 6, 8),
    "solarize": (0.0, 76.5, 200.0, 255.0),
    **dict.fromkeys(("autocontrast", "equalize", "identity"), (0.0,)),
}
apply = jax.jit(operations.apply)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_by_its_number_is_pillows_to_one_level(name):
    number = jnp.int32(OPERATIONS.index(name))
    for image in (photograph("flower"), photograph("china")):
        for amount in AMOUNTS[name]:
            found = levels(apply(number, jnp.float32(amount), as_floats(image)))
            expected = np.asarray(PILLOW[name](Image.fromarray(image), amount))
            assert np.abs(found - expected).max() <= 1 + 1e-3, amount
            assert np.abs(expected.astype(float) - image).max() > 1 or name == "identity" or amount in (0, 8, 255)


@pytest.mark.parametrize("name", ["rotate", "shear_y", "contrast", "equalize", "color"])
def test_so_it_is_for_gray_images(name):
    image = gray("flower")
    for amount in AMOUNTS[name]:
        found = levels(apply(jnp.int32(OPERATIONS.index(name)), jnp.float32(amount), as_floats(image)))[..., 0]
        expected = np.asarray(PILLOW[name](Image.fromarray(image[..., 0]), amount))
        assert np.abs(found - expected).max() <= 1 + 1e-3, amount


def test_what_an_affine_map_moves_out_stays_out_of_a_later_one():
    there, back = affine.translate_x(40.0), affine.translate_x(-40.0)
    grid = jnp.asarray(np.mgrid[:HEIGHT, :WIDTH], jnp.float32)
    image = np.ones((HEIGHT, WIDTH, 1), np.float32)
    one_by_one = affine.transform(affine.transform(image, there), back)
    read = resample(image, affine.read_at(there, affine.read_at(back, grid)))
    np.testing.assert_array_equal(read, one_by_one)
    assert np.asarray(read)[..., 0].sum() == HEIGHT * (WIDTH - 40)


# --- which operations a policy draws, and how strongly


def drawn(policy, count, height=HEIGHT, width=WIDTH):
    keys = jax.random.split(jax.random.key(6), count)
    found = jax.jit(jax.vmap(lambda key: policy._draw(key, height, width)))(keys)
    return np.asarray(found.numbers).reshape(-1), np.asarray(found.amounts).reshape(-1)


def amounts_of(name, found):
    numbers, amounts = found
    return amounts[numbers == OPERATIONS.index(name)]


@pytest.mark.parametrize("policy", [RandAugment(3, 7.0), TrivialAugment()])
def test_each_operation_is_as_likely(policy):
    numbers, _ = drawn(policy, 3000)
    assert chisquare(np.bincount(numbers, minlength=14)).pvalue > 1e-4


# torchvision's `_augmentation_space` of RandAugment for 31 bins, written out for bins 0, 9, 20 and 30.
@pytest.mark.parametrize(
    ("magnitude", "shear", "across", "down", "degrees", "change", "bits", "threshold"),
    [
        (0, 0, 0, 0, 0, 0, 8, 255),
        (9, 0.09, int(0.3 * 150 / 331 * 72), int(0.3 * 150 / 331 * 64), 9, 0.27, 7, 178.5),
        (20, 0.2, int(2 / 3 * 150 / 331 * 72), int(2 / 3 * 150 / 331 * 64), 20, 0.6, 5, 85),
        (30, 0.3, int(150 / 331 * 72), int(150 / 331 * 64), 30, 0.9, 4, 0),
    ],
)
def test_randaugments_amounts_are_torchvisions(magnitude, shear, across, down, degrees, change, bits, threshold):
    found = drawn(RandAugment(2, float(magnitude)), 1000)
    expected = {
        **dict.fromkeys(("shear_x", "shear_y"), (-shear, shear)),
        "translate_x": (-across, across),
        "translate_y": (-down, down),
        "rotate": (-degrees, degrees),
        **dict.fromkeys(("brightness", "color", "contrast", "sharpness"), (1 - change, 1 + change)),
        "posterize": (bits,),
        "solarize": (threshold,),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(np.unique(amounts_of(name, found)), np.unique(values), atol=1e-5, err_msg=name)


def test_trivialaugments_amounts_are_torchvisions_wide_ones():
    found = drawn(TrivialAugment(), 40_000)
    bins = np.arange(31) / 30
    both = np.concatenate([-bins[:0:-1], bins])
    expected = {
        **dict.fromkeys(("shear_x", "shear_y"), 0.99 * both),
        **dict.fromkeys(("translate_x", "translate_y"), np.trunc(32 * both)),
        "rotate": 135 * both,
        **dict.fromkeys(("brightness", "color", "contrast", "sharpness"), 1 + 0.99 * both),
        "posterize": 8 - np.round(np.arange(31) / (30 / 6)),
        "solarize": 255 * (1 - bins),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(
            np.unique(amounts_of(name, found).round(4)), np.unique(values.round(4)), atol=2e-3, err_msg=name
        )


def test_augmixs_chains_have_one_to_three_of_the_papers_operations_and_levels():
    policy = AugMix(3.0)
    keys = jax.random.split(jax.random.key(6), 2000)
    chains = jax.jit(jax.vmap(lambda key: policy._draw(key, HEIGHT, WIDTH)))(keys)
    numbers, amounts = (np.asarray(each).reshape(-1, 3) for each in (chains.numbers, chains.amounts))
    depth = (numbers != OPERATIONS.index("identity")).sum(1)
    assert (np.sort(numbers == OPERATIONS.index("identity"), axis=1) == (numbers == OPERATIONS.index("identity"))).all()
    assert chisquare(np.bincount(depth, minlength=4)[1:]).pvalue > 1e-4
    names, counts = np.unique(
        np.asarray(OPERATIONS)[numbers[numbers != OPERATIONS.index("identity")]], return_counts=True
    )
    papers = ["autocontrast", "equalize", "posterize", "rotate", "shear_x", "shear_y", "solarize", "translate_x"]
    assert names.tolist() == [*papers, "translate_y"]
    assert chisquare(counts).pvalue > 1e-4
    found = numbers.reshape(-1), amounts.reshape(-1)
    degrees = amounts_of("rotate", found)  # ±30 · level / 10, the level uniform from 0.1 to 3
    assert kstest(np.abs(degrees), "uniform", args=(0.3, 8.7)).pvalue > 1e-4
    assert 0.4 < (degrees > 0).mean() < 0.6
    assert set(amounts_of("posterize", found)) == {3.0, 4.0}  # 4 - int(4 · level / 10)
    thresholds = amounts_of("solarize", found)  # 256 - int(256 · level / 10)
    assert (thresholds.min(), thresholds.max()) == (256 - 76, 256 - 2)
    assert np.abs(amounts_of("translate_x", found)).max() == int(0.3 * WIDTH / 3)


# --- what comes out


def run(augmentations, images, seed=3):
    return np.asarray(jax.jit(augment)(augmentations, jax.random.key(seed), images))


def batch(count):
    return np.stack([as_floats(np.roll(photograph("flower"), place, 0)) for place in range(count)])


def key_of(position, seed=3):
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), position), 0)


def test_randaugment_applies_what_it_draws_in_order_as_pillow_does():
    images, policy = batch(24), RandAugment(2, 12.0)
    found = run((policy,), images)
    far = []
    for position in range(24):
        numbers, amounts = (np.asarray(each) for each in policy._draw(key_of(position), HEIGHT, WIDTH))
        image = Image.fromarray(np.round(images[position] * 255).astype(np.uint8))
        for number, amount in zip(numbers, amounts.tolist(), strict=True):
            image = PILLOW[OPERATIONS[number]](image, amount)
        far.append(np.abs(levels(found[position]) - np.asarray(image)))
    # Rounding between the two is Pillow's alone; posterize or equalize can make it a step.
    assert np.median([each.max() for each in far]) < 3
    assert np.mean(far) < 0.6


def test_augmix_is_the_weighted_sum_of_its_chains_and_the_image():
    image = as_floats(photograph("china"))
    policy, key = AugMix(10.0), jax.random.key(2)
    chains, weights, own = jax.random.split(key, 3)
    numbers, amounts = (np.asarray(each) for each in policy._draw(chains, HEIGHT, WIDTH))
    raw = np.asarray(jax.random.exponential(weights, (3,)), np.float64)
    total = 0
    for weight, of_chain, how in zip(raw / raw.sum(), numbers, amounts, strict=True):
        copy = jnp.asarray(image)
        for number, amount in zip(of_chain, how, strict=True):
            copy = apply(number, amount, copy)
        total = total + weight * np.asarray(copy)
    share = float(jax.random.uniform(own))
    expected = share * image + (1 - share) * total
    np.testing.assert_allclose(jax.jit(policy)(key, image), expected, atol=1e-5)
    assert np.abs(expected - image).max() > 0.05


POLICIES = [RandAugment(2, 9.0), TrivialAugment(), AugMix(3.0)]


def test_an_example_is_changed_alike_in_a_batch_of_any_size_and_otherwise_at_another_place():
    images = np.repeat(batch(1), 6, 0)
    both = (RandAugment(2, 9.0), ColorJitter(0.4, 0.4, 0.4, 0.1))
    whole = run(both, images)
    np.testing.assert_array_equal(run(both, images[:2]), whole[:2])
    assert not np.array_equal(whole, run(both, images, seed=4))
    assert len({image.tobytes() for image in whole}) == 6


@pytest.mark.parametrize("policy", [RandAugment(2, 9.0), ColorJitter(0.4, 0.4, 0.4, 0.1)])
def test_one_by_one_as_on_cpu_is_all_at_once_as_elsewhere(policy):
    images, key = batch(8), jax.random.key(3)
    at_once = jax.jit(jax.vmap(lambda place, image: _augment_one(((0, policy),), key, place, image)))
    np.testing.assert_allclose(run((policy,), images), at_once(jnp.arange(8), images), atol=1e-5)


def test_neighbours_of_a_policy_draw_as_they_do_by_their_place():
    images, key = batch(4), jax.random.key(3)
    row = (RandomFlip(0.5), RandAugment(1, 9.0), RandomShift(3.0), Cutout(9.0))
    expected = images
    for place, each in enumerate(row):
        keys = [jax.random.fold_in(jax.random.fold_in(key, position), place) for position in range(4)]
        compiled = jax.jit(each.__call__)
        expected = jnp.stack([compiled(own, image) for own, image in zip(keys, expected, strict=True)])
    np.testing.assert_allclose(run(row, images), expected, atol=1e-5)


def test_a_mask_is_moved_as_the_pixels_are():
    # Rows and columns rise along straight lines, which bilinear resampling keeps but for a border of a pixel.
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] / 72
    count, policy = 80, RandAugment(2, 15.0)
    images = np.broadcast_to(np.float32((rows + columns + 0.2) / 3)[..., None], (count, HEIGHT, WIDTH, 1))
    read = np.asarray(jax.vmap(resample)(images, sources((policy,), jax.random.key(3), count, (HEIGHT, WIDTH))))
    keys = jax.vmap(key_of)(jnp.arange(count))
    numbers = np.asarray(jax.vmap(lambda key: policy._draw(key, HEIGHT, WIDTH).numbers)(keys))
    moved = (numbers < OPERATIONS.index("brightness")).all(1)  # twice, by a shear, a shift or a rotation
    assert moved.sum() >= 5
    off = np.abs(read - run((policy,), images))[moved] > 1e-3
    assert off.mean() < 0.03
    assert 0.03 < (read[moved] == 0).mean() < 0.5


def test_augmix_moves_nothing_that_can_be_named():
    rows, columns = sources((AugMix(3.0),), jax.random.key(0), 1, (3, 5))[0]
    np.testing.assert_array_equal(rows, np.arange(3.0)[:, None] * np.ones(5))
    np.testing.assert_array_equal(columns, np.arange(5.0) * np.ones((3, 1)))


def test_other_magnitudes_compile_nothing_anew():
    assert jax.tree.leaves((RandAugment(2, 9.0), TrivialAugment(), AugMix(3.0))) == [9.0, 3.0]


@pytest.mark.parametrize("policy", POLICIES)
def test_bytes_are_refused_and_half_precision_is_kept(policy):
    with pytest.raises(TypeError, match=rf"{type(policy).__name__}: expected floating-point pixels"):
        policy(jax.random.key(0), np.zeros((4, 4, 3), np.uint8))
    assert jax.eval_shape(policy, jax.random.key(0), jnp.zeros((4, 4, 3), jnp.bfloat16)).dtype == jnp.bfloat16
