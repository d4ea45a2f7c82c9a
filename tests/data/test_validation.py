"""The validation split depends on each image's pixels, and on nothing else; of groups, whole ones are drawn."""

import hashlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import binomtest

from flaxcnn.data import Split, load, split_validation, validation_mask
from flaxcnn.errors import ConfigError, DataError
from tests.error_fields import fields

images = arrays(np.uint8, array_shapes(min_dims=4, max_dims=4, max_side=4))
fractions = st.floats(0, 1, exclude_min=True, exclude_max=True)


def hash_of(image):
    height, width, channels = image.shape
    content = b"%d %d %d\n" % (height, width, channels) + bytes(image.ravel().tolist())
    digest = hashlib.blake2b(content, digest_size=8, person=b"flaxcnn.validate").digest()
    return sum(byte << 8 * (7 - place) for place, byte in enumerate(digest))


def group_hash_of(images):
    """The hash of the smallest hash of a group's images, as the documentation of `validation_mask` has it."""
    smallest = min(hash_of(image) for image in images).to_bytes(8, "big")
    return int.from_bytes(hashlib.blake2b(smallest, digest_size=8, person=b"flaxcnn.vgroup").digest(), "big")


def distinct_images(count):
    """Images of 2×2 whose first two pixels count them."""
    numbers = np.arange(count)
    return np.stack([numbers // 256, numbers % 256, numbers * 7 % 256, numbers * 0 + 9], -1).astype(np.uint8)[
        :, None, :, None
    ]


@given(images, fractions)
def test_an_image_is_for_validation_where_its_hash_is_below_the_fraction(images, fraction):
    expected = [Fraction(hash_of(image), 2**64) < Fraction(fraction) for image in images]
    found = validation_mask(images, fraction)
    assert (found.tolist(), found.dtype, found.shape) == (expected, bool, (len(images),))


def test_a_hash_just_at_the_fraction_is_not_below_it():
    # A double holds a hash exactly where its 11 lowest bits are 0; of 40,000 hashes about 20 are such.
    several = distinct_images(40_000)
    exact = [image for image in several if hash_of(image) % 2**11 == 0]
    assert len(exact) > 5
    for image in exact:
        at = hash_of(image) / 2**64
        assert not validation_mask(image[None], at)[0]
        assert validation_mask(image[None], np.nextafter(at, 1).item())[0]


@settings(deadline=None)
@given(st.permutations(range(60)), st.sets(st.integers(0, 59), min_size=1), fractions)
def test_order_and_other_images_do_not_move_an_image(order, kept, fraction):
    several = distinct_images(60)
    mask = validation_mask(several, fraction)
    assert validation_mask(several[order], fraction).tolist() == mask[order].tolist()
    rows = sorted(kept)
    assert validation_mask(several[rows], fraction).tolist() == mask[rows].tolist()


@given(fractions, fractions)
def test_a_larger_fraction_keeps_what_a_smaller_one_took(one, other):
    several = distinct_images(100)
    small, large = (validation_mask(several, fraction) for fraction in sorted((one, other)))
    assert not np.any(small & ~large)


def test_the_layout_in_memory_does_not_matter():
    several = np.random.default_rng(0).integers(0, 256, (200, 5, 4, 3), np.uint8)
    elsewhere = np.asfortranarray(several)
    assert not elsewhere[0].flags.c_contiguous
    assert validation_mask(elsewhere, 0.5).tolist() == validation_mask(several, 0.5).tolist()


def test_the_same_pixels_in_another_shape_are_another_image():
    # Were the shape left out, all 200 would agree; 200 independent coins agree once in 2**200.
    wide = np.random.default_rng(0).integers(0, 256, (200, 2, 6, 1), np.uint8)
    assert validation_mask(wide, 0.5).tolist() != validation_mask(wide.reshape(200, 6, 2, 1), 0.5).tolist()


def test_copies_of_an_image_stay_together_whatever_their_labels():
    copied = np.concatenate([distinct_images(300)] * 3)
    labels = np.arange(900, dtype=np.int32) % 7
    train, validation = split_validation(Split(copied, labels), 0.3)
    sides = [{image.tobytes() for image in split.images} for split in (train, validation)]
    assert not sides[0] & sides[1]
    assert sum(map(len, sides)) == 300


def test_the_two_splits_are_the_examples_in_their_order():
    labels = np.arange(500, dtype=np.int32)  # each example has a label of its own
    several = distinct_images(500)
    train, validation = split_validation(Split(several, labels), 0.25)
    for split in (train, validation):
        assert np.all(np.diff(split.targets) > 0)
        np.testing.assert_array_equal(split.images, several[split.targets])
        assert (split.images.dtype, split.targets.dtype) == (np.uint8, np.int32)
    assert sorted([*train.targets.tolist(), *validation.targets.tolist()]) == list(range(500))


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5])
def test_a_fraction_of_mnist_is_about_that_fraction_of_each_digit(fraction):
    train, validation = split_validation(load("mnist").train, fraction)
    counts = [np.bincount(split.targets, minlength=10) for split in (train, validation)]
    assert sum(counts).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # of MNIST's train
    for left, taken in zip(*counts, strict=True):
        assert binomtest(int(taken), int(left + taken), fraction).pvalue > 1e-4


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), fractions)
def test_a_group_is_for_validation_where_its_hash_is_below_the_fraction(groups, fraction):
    several, groups = distinct_images(len(groups)), np.asarray(groups, np.int32)
    hashes = {number: group_hash_of(several[groups == number]) for number in groups.tolist()}
    expected = [Fraction(hashes[number], 2**64) < Fraction(fraction) for number in groups.tolist()]
    assert validation_mask(several, fraction, groups).tolist() == expected


@given(st.permutations(range(40)), st.permutations(range(8)), st.sets(st.integers(0, 7), min_size=1), fractions)
def test_order_numbers_and_other_groups_do_not_move_a_group(order, numbers, kept, fraction):
    several, groups = distinct_images(40), np.arange(40, dtype=np.int32) % 8
    mask = validation_mask(several, fraction, groups)
    renumbered = np.asarray(numbers, np.int32)[groups]
    assert validation_mask(several[order], fraction, renumbered[order]).tolist() == mask[order].tolist()
    rows = np.isin(groups, list(kept))
    assert validation_mask(several[rows], fraction, groups[rows]).tolist() == mask[rows].tolist()


def test_no_group_is_on_both_sides_and_names_and_groups_go_with_their_images():
    several, groups = distinct_images(300), np.random.default_rng(0).integers(0, 30, 300).astype(np.int32)
    targets = {"place": np.arange(300, dtype=np.int32)}
    split = Split(several, targets, groups, tuple(map(str, range(300))))
    sides = split_validation(split, 0.4)
    assert not set(sides[0].groups.tolist()) & set(sides[1].groups.tolist())
    assert sum(map(len, sides)) == 300
    for side in sides:
        origins = side.targets["place"]
        np.testing.assert_array_equal(side.images, several[origins])
        assert side.groups.tolist() == groups[origins].tolist()
        assert side.names == tuple(str(place) for place in origins)


def test_a_large_group_is_as_likely_for_validation_as_a_small_one():
    # 1,000 groups of one image and 1,000 of nine; drawn by the smallest hash itself, 87% of the large ones would go.
    groups = np.concatenate([np.arange(1000), 1000 + np.arange(9000) % 1000]).astype(np.int32)
    drawn = np.unique(groups[validation_mask(distinct_images(10_000), 0.2, groups)])
    for count in (np.count_nonzero(drawn < 1000), np.count_nonzero(drawn >= 1000)):
        assert binomtest(int(count), 1000, 0.2).pvalue > 1e-4


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ConfigError) as refused:
        split_validation(Split(distinct_images(9), np.zeros(9, np.int32)), fraction)
    assert fields(refused.value) == ("fraction", "more than 0 and less than 1", str(fraction))


@pytest.mark.parametrize(
    ("fraction", "told"),
    [
        (
            1e-9,
            (
                "data.validation 1e-09",
                "at least one image to train on and one for validation",
                "0 of 1,200 drawn for validation",
            ),
        ),
        (
            1 - 1e-9,
            (
                "data.validation 0.999999999",
                "at least one image to train on and one for validation",
                "1,200 of 1,200 drawn for validation",
            ),
        ),
    ],
)
def test_a_fraction_that_leaves_one_side_empty_is_refused(fraction, told):
    with pytest.raises(DataError) as refused:
        split_validation(Split(distinct_images(1200), np.zeros(1200, np.int32)), fraction)
    assert fields(refused.value) == told


def test_too_few_groups_for_a_fraction_are_counted_in_the_error():
    with pytest.raises(DataError) as refused:
        split_validation(Split(distinct_images(12), np.zeros(12, np.int32), np.arange(12, dtype=np.int32) % 3), 1e-9)
    assert refused.value.found == "0 of 12 drawn for validation, of 3 groups"
