"""A data set that exists is one that fits: whatever doesn't is refused with both sides named."""

import hashlib

import numpy as np
import pytest

from flaxcnn.data import Dataset, Split, array_digest, split_digests
from flaxcnn.errors import DataError
from tests.error_fields import fields


def split(count=4, shape=(5, 6, 1), dtype=np.uint8, labels=None, label_dtype=np.int32):
    labels = [0, 1, 2, 1][:count] if labels is None else labels
    return Split(np.zeros((count, *shape), dtype), np.array(labels, label_dtype))


def dataset(train, test, **options):
    return Dataset("drawn", train, test, target_names=("a", "b", "c"), digests={}, **options)


def test_a_data_set_that_fits_says_its_shape_classes_and_lengths():
    made = dataset(split(), split(2))
    assert made.image_shape == (5, 6, 1)
    assert (made.classes, len(made.train), len(made.test)) == (3, 4, 2)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {"label_dtype": np.int64},
            ("targets", "int32 (N,), float32 (N, ...) or bool (N, ...)", "int64 (4,)"),
        ),
        (
            {"labels": [0, 1, 2]},
            ("targets", "4 targets, as images has images", "3"),
        ),
        (
            {"labels": [0, 1, 2, -1]},
            ("targets", "0 or more", "-1 at position 3 (1 such labels)"),
        ),
    ],
)
def test_targets_that_no_task_could_learn_make_no_split(values, told):
    with pytest.raises(DataError) as refused:
        split(**values)
    assert fields(refused.value) == told


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (
            split(dtype=np.float32),
            ("drawn test images", "uint8 (N, H, W, C)", "float32 (4, 5, 6, 1)"),
        ),
        (
            Split(np.zeros((4, 5, 6), np.uint8), np.zeros(4, np.int32)),
            ("drawn test images", "uint8 (N, H, W, C)", "uint8 (4, 5, 6)"),
        ),
        (split(0), ("drawn test images", "every dimension at least 1", "0×5×6×1")),
        (
            split(labels=[0, 3, 4, 1]),
            ("drawn test labels", "0 to 2", "3 at position 1 (2 such labels)"),
        ),
        (
            split(shape=(6, 5, 1)),
            ("drawn test images", "5×6×1 as in drawn train images", "6×5×1"),
        ),
    ],
)
def test_a_split_that_does_not_fit_is_refused(broken, told):
    with pytest.raises(DataError) as refused:
        dataset(split(), broken)
    assert fields(refused.value) == told


def made(train_targets, test_targets, names, train_groups=None, test_groups=None):
    splits = [
        Split(np.zeros((4, 5, 6, 1), np.uint8), targets, groups)
        for targets, groups in ((train_targets, train_groups), (test_targets, test_groups))
    ]
    return Dataset("drawn", *splits, names)


def int32(*numbers):
    return np.asarray(numbers, np.int32)


def float32(*numbers):
    return np.asarray(numbers, np.float32)


NUMBERS = float32(1, 2, 3, 4)
CLASSES = int32(0, 1, 1, 0)


@pytest.mark.parametrize(
    ("targets", "where", "found"),
    [
        (float32(0, np.nan, 0, 0), "targets", "nan at position 1 (1 such examples)"),
        (float32(0, 0, np.inf, 0), "targets", "inf at position 2 (1 such examples)"),
        (float32([1, 2], [1, 2], [1, np.nan], [1, 2]), "targets", "[ 1. nan] at position 2 (1 such examples)"),
        ({"mg": float32(0, 0, 0, -np.inf)}, "targets/mg", "-inf at position 3 (1 such examples)"),
        ({"kind": int32(0, -2, -1, 0)}, "targets/kind", "-2 at position 1 (1 such labels)"),
    ],
)
def test_only_a_dictionary_may_lack_a_target_of_an_example(targets, where, found):
    with pytest.raises(DataError) as refused:
        Split(np.zeros((4, 5, 6, 1), np.uint8), targets)
    assert (refused.value.where, refused.value.found) == (where, found)
    Split(np.zeros((4, 5, 6, 1), np.uint8), {"mg": float32(0, np.nan, 0, 0), "kind": int32(-1, 0, 0, 0)})


@pytest.mark.parametrize(
    ("train", "test", "names", "where", "found"),
    [
        (NUMBERS, CLASSES, ("mg",), "drawn test labels", "int32 (N,)"),
        (NUMBERS, NUMBERS[:, None], ("mg",), "drawn test labels", "float32 (N, 1)"),
        ({"a": CLASSES}, {"b": CLASSES}, {"a": ("x", "y")}, "drawn test labels", "b int32 (N,)"),
        (NUMBERS, NUMBERS, ("mg", "g"), "drawn train labels", "2"),
        (NUMBERS, NUMBERS, {"a": ("mg",)}, "drawn train labels", "a dictionary with 'a'"),
        ({"a": CLASSES}, {"a": CLASSES}, ("x", "y"), "drawn train labels", "tuple"),
        ({"a": CLASSES}, {"a": CLASSES}, {"b": ("x", "y")}, "drawn train labels", "a dictionary with 'b'"),
        ({"a": CLASSES}, {"a": CLASSES}, {"a": ("x",)}, "drawn train labels/a", "1 at position 1 (2 such labels)"),
    ],
)
def test_targets_have_one_kind_in_both_splits_and_names_that_go_with_them(train, test, names, where, found):
    with pytest.raises(DataError) as refused:
        made(train, test, names)
    assert (refused.value.where, str(refused.value.found)) == (where, found)


def test_a_group_in_both_splits_is_refused():
    with pytest.raises(DataError) as refused:
        made(CLASSES, CLASSES, ("x", "y"), int32(1, 2, 3, 7), int32(4, 7, 5, 3))
    assert (refused.value.where, refused.value.found) == ("drawn test groups", "group 3 and 1 more")


def test_groups_of_one_split_or_numbered_apart_are_fine():
    assert made(CLASSES, CLASSES, ("x", "y"), int32(1, 1, 2, 2), None).test.groups is None
    assert made(CLASSES, CLASSES, ("x", "y"), int32(1, 1, 2, 2), int32(3, 3, 4, 4)).test.groups.tolist() == [3, 3, 4, 4]


def test_digests_are_made_where_none_are_given():
    dataset = made({"a": CLASSES, "b": NUMBERS}, {"a": CLASSES, "b": NUMBERS}, {"a": ("x", "y"), "b": ("mg",)}, CLASSES)
    assert dataset.digests == {
        "train/images": array_digest(dataset.train.images),
        "train/targets/a": array_digest(CLASSES),
        "train/targets/b": array_digest(NUMBERS),
        "train/groups": array_digest(CLASSES),
        "test/images": array_digest(dataset.test.images),
        "test/targets/a": array_digest(CLASSES),
        "test/targets/b": array_digest(NUMBERS),
    }
    assert split_digests("test", Split(dataset.test.images, CLASSES)).keys() == {"test/images", "test/targets"}


def test_the_train_split_is_checked_as_the_test_split_is():
    with pytest.raises(DataError, match=r"^drawn train labels: labels out of range; expected 0 to 2, found 9"):
        dataset(split(labels=[0, 1, 2, 9]), split())


def test_an_error_calls_a_part_by_the_place_it_came_from():
    with pytest.raises(DataError, match=r"^t10k-labels: labels out of range"):
        dataset(split(), split(labels=[0, 1, 2, 3]), origins={"test/labels": "t10k-labels"})
    called = {"labels": "t10k-labels", "images": "t10k-images"}
    with pytest.raises(DataError) as refused:
        Split(np.zeros((2, 5, 6, 1), np.uint8), np.zeros(1, np.int32), origins=called)
    assert refused.value.where == "t10k-labels"
    assert refused.value.expected == "2 targets, as t10k-images has images"


def test_nobody_can_write_into_a_data_set():
    made = dataset(split(), split())
    for array in (made.train.images, made.train.targets, made.test.images, made.test.targets):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_arrays_that_a_split_is_made_of_stay_writable():
    images, labels = np.zeros((1, 2, 2, 1), np.uint8), np.zeros(1, np.int32)
    Split(images, labels)
    images[0], labels[0] = 1, 1


def test_a_digest_is_of_type_shape_and_elements_in_reading_order():
    expected = hashlib.sha256(b"int32 (2, 2)\n" + bytes([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0])).hexdigest()
    array = np.array([[1, 2], [3, 4]], np.int32)
    assert array_digest(array) == expected
    assert array_digest(np.asfortranarray(array)) == expected
    assert array_digest(array.astype(">i4")) == expected
    assert array_digest(array.reshape(4)) != expected
    assert array_digest(array.astype(np.int64)) != expected
