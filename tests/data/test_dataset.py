"""A data set that exists is one that fits: whatever doesn't is refused with both sides named."""

import hashlib

import numpy as np
import pytest

from flaxcnn.data import Dataset, Split, array_digest
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


def test_the_train_split_is_checked_as_the_test_split_is():
    with pytest.raises(DataError, match=r"^drawn train labels: labels out of range; expected 0 to 2, found 9"):
        dataset(split(labels=[0, 1, 2, 9]), split())


def test_an_error_calls_a_part_by_the_place_it_came_from():
    with pytest.raises(DataError, match=r"^t10k-labels: labels out of range"):
        dataset(split(), split(labels=[0, 1, 2, 3]), places={"test/labels": "t10k-labels"})
    called = {"labels": "t10k-labels", "images": "t10k-images"}
    with pytest.raises(DataError) as refused:
        Split(np.zeros((2, 5, 6, 1), np.uint8), np.zeros(1, np.int32), places=called)
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
