"""A data set from arrays: what a user has becomes what a training takes, or one error says what does not fit."""

import hashlib

import numpy as np
import pytest

from flaxcnn.data import array_digest, from_arrays, split_validation
from flaxcnn.data.images import StoredImages
from flaxcnn.errors import ConfigError, DataError

COUNT = 12
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 6, 5, 3), np.uint8)
MASK = np.arange(COUNT) >= 8


def made(targets, images=IMAGES, test=MASK, **options):
    return from_arrays(images, targets, test=test, **options)


def refused(*args, kind=DataError, **options):
    with pytest.raises(kind) as refusal:
        made(*args, **options)
    return refusal.value


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.uint64])
@pytest.mark.parametrize("shape", [(COUNT,), (COUNT, 1)])
def test_class_numbers_of_any_integers_are_int32_named_by_their_numbers(dtype, shape):
    dataset = made((np.arange(COUNT) % 3).astype(dtype).reshape(shape))
    assert (dataset.train.targets.dtype, dataset.train.targets.tolist()) == (np.int32, [0, 1, 2, 0, 1, 2, 0, 1])
    assert dataset.test.targets.tolist() == [2, 0, 1, 2]
    assert dataset.target_names == ("0", "1", "2")
    np.testing.assert_array_equal(dataset.train.images, IMAGES[:8])
    np.testing.assert_array_equal(dataset.test.images, IMAGES[8:])


def test_class_names_become_the_sorted_classes_of_both_splits():
    dataset = made(["owl"] * 8 + ["cat", "ant", "cat", "owl"])
    assert dataset.target_names == ("ant", "cat", "owl")
    assert (dataset.train.targets.tolist(), dataset.test.targets.tolist()) == ([2] * 8, [1, 0, 1, 2])


def test_class_names_are_numbered_as_target_names_says():
    dataset = made(["owl", "cat"] * 6, target_names=["owl", "dog", "cat"])
    assert dataset.target_names == ("owl", "dog", "cat")
    assert dataset.test.targets.tolist() == [0, 2, 0, 2]


def test_classes_that_only_the_test_split_has_are_counted():
    dataset = from_arrays(IMAGES[:3], [0, 1, 0], test=(IMAGES[3:5], [4, 0]))
    assert dataset.target_names == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (np.arange(COUNT, dtype=np.float64) / 4, ("target",)),
        (np.arange(3 * COUNT, dtype=np.float16).reshape(COUNT, 3), ("0", "1", "2")),
    ],
)
def test_numbers_are_float32_and_a_column_is_named_by_its_place(targets, names):
    dataset = made(targets)
    assert dataset.train.targets.dtype == np.float32
    np.testing.assert_array_equal(dataset.train.targets, targets[:8])
    assert dataset.target_names == names


def test_labels_of_which_any_may_hold_stay_bool():
    labels = np.arange(2 * COUNT).reshape(COUNT, 2) % 3 == 0
    dataset = made(labels, target_names=("spots", "wings"))
    assert dataset.test.targets.dtype == bool
    np.testing.assert_array_equal(dataset.test.targets, labels[8:])
    assert dataset.target_names == ("spots", "wings")


def test_in_a_dictionary_an_example_may_lack_a_target():
    weights = np.arange(COUNT, dtype=np.float64)
    weights[9] = np.nan
    dataset = made(
        {
            "weight": weights,
            "species": [None, "bee", "ant"] * 4,
            "stage": [-1, 2] * 6,
            "age": [3, None] * 6,
            "box": {"size": np.ones((COUNT, 2))},
        },
        target_names={"weight": ("mg",)},
    )
    assert dataset.test.targets["species"].tolist() == [0, -1, 1, 0]
    assert dataset.test.targets["stage"].tolist() == [-1, 2, -1, 2]
    assert dataset.test.targets["age"].tolist() == [3, -1, 3, -1]
    np.testing.assert_array_equal(dataset.test.targets["weight"], np.float32([8, np.nan, 10, 11]))
    assert dataset.target_names == {
        "weight": ("mg",),
        "species": ("ant", "bee"),
        "stage": ("0", "1", "2"),
        "age": ("0", "1", "2", "3"),
        "box": {"size": ("0", "1")},
    }


def test_a_split_may_lack_a_target_altogether():
    train = {"kind": ["ant", "bee"] * 4, "box": np.ones((8, 2)), "stage": [1, 2] * 4}
    dataset = from_arrays(IMAGES[:8], train, test=(IMAGES[8:], dict.fromkeys(train, [None] * 4)))
    assert dataset.test.targets["kind"].tolist() == [-1] * 4
    assert dataset.test.targets["stage"].tolist() == [-1] * 4
    assert np.isnan(dataset.test.targets["box"]).all()
    assert dataset.test.targets["box"].shape == (4, 2)
    assert dataset.target_names == {"kind": ("ant", "bee"), "box": ("0", "1"), "stage": ("0", "1", "2")}


@pytest.mark.parametrize(
    ("targets", "where", "found"),
    [
        ([0, 1, -1] * 4, "arrays targets", "-1 at position 2 (4 such labels)"),
        ([0.5, np.nan] * 6, "arrays targets", "nan at position 1 (6 such examples)"),
        (["ant", None] * 6, "arrays targets", "none at position 1 (6 such examples)"),
        ({"weight": [1.0, np.inf] * 6}, "arrays targets/weight", "inf at position 1 (6 such examples)"),
        ({"weight": [1e39] * COUNT}, "arrays targets/weight", "inf at position 0 (12 such examples)"),
        ({"stage": [-2] + [0] * 11}, "arrays targets/stage", "-2 at position 0 (1 such labels)"),
        ([2**31] * COUNT, "arrays targets", "2147483648 at position 0"),
        (np.full(COUNT, 2**64 - 1, np.uint64), "arrays targets", "18446744073709551615 at position 0"),
        ([1_000_000] * COUNT, "arrays targets", "1,000,000"),
        (np.zeros((COUNT, 4), np.int64), "arrays targets", "int64 (12, 4)"),
        (np.zeros(COUNT, bool), "arrays targets", "bool (12,)"),
        (np.zeros((COUNT, 0)), "arrays targets", "float64 (12, 0)"),
        (np.zeros((COUNT, 2, 2)), "arrays targets", "float64 (12, 2, 2)"),
        (np.zeros(COUNT, complex), "arrays targets", "complex128 (12,)"),
        ([object()] * COUNT, "arrays targets", "object (12,)"),
        (3, "arrays targets", "int64 ()"),
        ({}, "arrays targets", "no key"),
        ({"a": [0] * COUNT, 7: [0] * COUNT}, "arrays targets", "'a', 7"),
        ([0] * 11, "arrays targets", "11"),
    ],
)
def test_targets_that_do_not_fit_are_refused(targets, where, found):
    error = refused(targets)
    assert (error.where, str(error.found)) == (where, found)


@pytest.mark.parametrize(
    ("targets", "names", "found"),
    [
        ([0, 1, 2] * 4, ("a", "b"), "2 at position 2 (2 such labels)"),
        (["a", "b", "c"] * 4, ("a", "b"), "c"),
        (np.zeros((COUNT, 3)), ("a", "b"), "2"),
        (np.zeros((COUNT, 3), bool), ("a", "b"), "2"),
        (["a"] * COUNT, ("a", "a"), "a"),
        (["a"] * COUNT, "a", "'a'"),
        ([0] * COUNT, (0,), "(0,)"),
        ([0] * COUNT, (), "()"),
        ([0] * COUNT, {"x": ("a",)}, "{'x': ('a',)}"),
        ({"x": [0] * COUNT}, ("a",), "tuple"),
        ({"x": [0] * COUNT}, {"y": ("a",)}, "'y'"),
    ],
)
def test_target_names_that_do_not_go_with_the_targets_are_refused(targets, names, found):
    error = refused(targets, target_names=names)
    assert error.where.startswith(("arrays targets", "arrays train"))
    assert str(error.found) == found


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (IMAGES.astype(np.float32), "float32 (12, 6, 5, 3)"),
        (IMAGES.astype(np.int64) - 1, "int64 (12, 6, 5, 3)"),
        (IMAGES.reshape(COUNT, -1), "uint8 (12, 90)"),
        (IMAGES[0, 0, 0, 0], "uint8 ()"),
        (np.zeros((COUNT, 3, 8, 8), np.uint8), "uint8 (12, 3, 8, 8)"),
        (["1.png", "2.png"], "<U5 (2,)"),
    ],
)
def test_images_of_another_kind_are_refused(images, found):
    error = refused([0] * COUNT, images=images)
    assert (error.where, error.found) == ("arrays images", found)


def test_images_of_different_sizes_are_no_array():
    assert refused([0, 0], images=[IMAGES[0], IMAGES[1, 1:]]).where == "arrays images"


def test_gray_images_have_one_channel_and_whole_numbers_of_a_byte_are_taken():
    gray = IMAGES[..., 0]
    dataset = made([0] * COUNT, images=gray.astype(np.int64))
    assert dataset.image_shape == (6, 5, 1)
    np.testing.assert_array_equal(dataset.train.images[..., 0], gray[:8])


def test_test_examples_of_their_own_may_have_groups_and_names():
    dataset = from_arrays(
        IMAGES[:4],
        [0.0, 1, 2, 3],
        groups=["ann", "bob", "ann", "eve"],
        names=["1.png", "2.png", "3.png", "4.png"],
        test=(IMAGES[4:6], [4.0, 5], ["dan", "cid"], ["5.png", "6.png"]),
        source="people",
    )
    # The sorted names of both splits: ann, bob, cid, dan, eve.
    assert (dataset.train.groups.tolist(), dataset.test.groups.tolist()) == ([0, 1, 0, 4], [3, 2])
    assert (dataset.train.names, dataset.test.names) == (("1.png", "2.png", "3.png", "4.png"), ("5.png", "6.png"))
    assert dataset.source == "people"


def test_a_mask_divides_groups_and_names_with_the_images():
    names = [f"{place}.png" for place in range(COUNT)]
    dataset = made([0] * COUNT, groups=np.arange(COUNT) // 4 + 70, names=names)
    assert (dataset.train.groups.tolist(), dataset.test.groups.tolist()) == ([70] * 4 + [71] * 4, [72] * 4)
    assert dataset.test.names == ("8.png", "9.png", "10.png", "11.png")


def test_a_group_in_both_splits_is_refused():
    error = refused([0] * COUNT, groups=[5, 6, 7, 8] * 3)
    assert (error.where, error.found) == ("arrays test groups", "group 5 and 3 more")


@pytest.mark.parametrize(
    ("groups", "where", "found"),
    [
        ([0.5] * COUNT, "arrays groups", "float64 (12,)"),
        ([[1]] * COUNT, "arrays groups", "int64 (12, 1)"),
        ([2**31] * COUNT, "arrays groups", "2147483648 at position 0"),
        ([1] * 5, "groups", "5"),
    ],
)
def test_groups_of_another_kind_are_refused(groups, where, found):
    error = refused([0] * COUNT, groups=groups)
    assert (error.where, str(error.found)) == (where, found)


@pytest.mark.parametrize(
    ("test", "where", "found"),
    [
        (np.arange(4), "arrays test", "int64 (4,)"),
        ("train", "arrays test", "str"),
        ((IMAGES,), "arrays test", "a tuple of 1"),
        (MASK[:5], "arrays test", "5"),
        (~MASK & False, "arrays test images", "0×6×5×3"),
        ((IMAGES, [0.5] * COUNT), "arrays test targets", "numbers"),
        ((IMAGES, {"x": [0] * COUNT}), "arrays test targets", "'x'"),
        ((IMAGES[:, 1:], [0] * COUNT), "arrays test images", "5×5×3"),
    ],
)
def test_test_examples_that_do_not_fit_are_refused(test, where, found):
    error = refused([0] * COUNT, test=test)
    assert (error.where, str(error.found)) == (where, found)


def test_other_columns_in_test_than_in_training_are_refused():
    error = refused(np.zeros((COUNT, 2)), test=(IMAGES, np.zeros((COUNT, 3))))
    assert (error.where, error.found) == ("arrays test targets", "float32 (N, 3)")


def test_which_examples_are_for_test_has_to_be_said_once():
    assert refused([0] * COUNT, test=None, kind=ConfigError).found == "neither"
    assert refused([0] * COUNT, test_fraction=0.5, kind=ConfigError).found == "both"


def distinct(count):
    return np.arange(count, dtype=">u2").view(np.uint8).reshape(count, 1, 2, 1)


def test_a_fraction_is_drawn_by_the_pixels_and_independently_of_validation():
    images = distinct(4000)
    order = np.random.default_rng(1).permutation(4000)
    one, other = (from_arrays(each, [0] * 4000, test_fraction=0.25) for each in (images, images[order]))
    drawn = [{image.tobytes() for image in dataset.test.images} for dataset in (one, other)]
    assert drawn[0] == drawn[1]
    # Each of 4,000 coins of probability 1/4; five standard deviations are 137.
    assert abs(len(drawn[0]) - 1000) < 137
    # Were the hash that of validation, what stays would have no image for a validation split of 0.25 or less.
    _, validation = split_validation(one.train, 0.2)
    assert abs(len(validation) - 600) < 110


def test_a_fraction_draws_whole_groups():
    dataset = from_arrays(distinct(600), [0] * 600, test_fraction=0.3, groups=np.arange(600) % 60)
    assert not set(dataset.train.groups.tolist()) & set(dataset.test.groups.tolist())
    assert 0 < len(set(dataset.test.groups.tolist())) < 60
    assert all(np.bincount(dataset.test.groups)[number] == 10 for number in set(dataset.test.groups.tolist()))


def test_digests_are_of_images_of_each_target_and_of_groups():
    dataset = made({"species": [0] * COUNT, "size": np.zeros(COUNT)}, groups=np.arange(COUNT))
    names = ["images", "targets/size", "targets/species", "groups"]
    assert list(dataset.digests) == [f"{split}/{name}" for split in ("train", "test") for name in names]
    assert dataset.digests["test/groups"] == array_digest(np.arange(8, 12, dtype=np.int32))
    content = b"float32 (4,)\n" + bytes(16)
    assert dataset.digests["test/targets/size"] == hashlib.sha256(content).hexdigest()
    assert list(made([0] * COUNT).digests) == ["train/images", "train/targets", "test/images", "test/targets"]


def test_arrays_of_the_right_type_are_not_copied():
    targets = np.zeros(3, np.int32)
    dataset = from_arrays(IMAGES[:3], targets, test=(IMAGES[3:], [0] * 9))
    assert np.shares_memory(dataset.train.images, IMAGES)
    assert np.shares_memory(dataset.train.targets, targets)


def test_images_on_disk_stay_there():
    class OnDisk(StoredImages):
        def read(self, positions_K, out_KHWC):
            out_KHWC[...] = IMAGES[positions_K]

    dataset = made([0] * COUNT, images=OnDisk(IMAGES.shape))
    assert isinstance(dataset.train.images, StoredImages)
    assert dataset.digests["test/images"] == array_digest(IMAGES[8:])
