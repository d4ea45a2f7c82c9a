"""Predictions come back bit for bit, the same ones as the same bytes, and damage is named."""

import hashlib
import time
import zipfile

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from flaxcnn.errors import DataError, RunFolderError
from flaxcnn.evaluation.predictions import Predictions, load_predictions, save_predictions
from flaxcnn.tasks import Classification


def some_predictions(examples=3):
    logits = np.linspace(-1, 1, examples * 4, dtype=np.float32).reshape(examples, 4)
    return Predictions(np.arange(examples), np.arange(examples, dtype=np.int32) % 4, {"logits": logits})


def manifold_predictions():
    """What a task of several targets has: dictionaries of targets, several predictions, constants and groups."""
    return Predictions(
        np.arange(3),
        {
            "species": np.asarray([0, 1, 0], np.int32),
            "leaf": {"area": np.float32([0.5, np.nan, 2]), "spots": np.asarray([[True, False]] * 3)},
        },
        {"species": np.ones((3, 2), np.float32), "leaf/area": np.float32([0.25, 1, 2])},
        {"area_mean": np.float32(1.5), "thresholds": np.float32([0.5, 0.25])},
        np.asarray([7, 7, -1], np.int32),
    )


def assert_same_bits(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(0, 9), st.integers(1, 5))
def test_what_was_saved_is_loaded_bit_for_bit(tmp_path_factory, data, examples, classes):
    predictions = Predictions(
        data.draw(arrays.arrays(np.int64, examples)),
        data.draw(arrays.arrays(np.int32, examples, elements=st.integers(0, classes - 1))),
        {"logits": data.draw(arrays.arrays(np.float32, (examples, classes)))},
    )
    path = tmp_path_factory.mktemp("predictions") / "predictions.npz"
    save_predictions(path, predictions)
    assert_same_bits(load_predictions(path), predictions)


NAMES = st.text("abcdeé ._-", min_size=1, max_size=5)
ROWS = st.sampled_from([np.int32, np.float32, np.bool_]).flatmap(
    lambda dtype: st.sampled_from([(4,), (4, 1), (4, 2, 3)]).flatmap(lambda shape: arrays.arrays(dtype, shape))
)


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(ROWS, lambda below: st.dictionaries(NAMES, below, min_size=1, max_size=3), max_leaves=5),
    st.dictionaries(NAMES, ROWS, min_size=1, max_size=2),
    st.dictionaries(NAMES, arrays.arrays(np.float32, arrays.array_shapes(min_dims=0)), max_size=2),
    st.none() | arrays.arrays(np.int32, 4),
)
def test_dictionaries_of_targets_constants_and_groups_come_back(tmp_path_factory, targets, found, constants, groups):
    path = tmp_path_factory.mktemp("predictions") / "predictions.npz"
    predictions = Predictions(np.arange(4), targets, found, constants, groups)
    save_predictions(path, predictions)
    assert_same_bits(load_predictions(path), predictions)


def test_several_targets_are_called_by_their_places_in_the_file(tmp_path):
    save_predictions(tmp_path / "predictions.npz", manifold_predictions())
    assert_same_bits(load_predictions(tmp_path / "predictions.npz"), manifold_predictions())
    with np.load(tmp_path / "predictions.npz") as file:
        assert set(file.files) == {
            *("index", "group", "target/species", "target/leaf/area", "target/leaf/spots", "species", "leaf/area"),
            *("constant/area_mean", "constant/thresholds"),
        }
        np.testing.assert_array_equal(file["constant/thresholds"], [0.5, 0.25])


def test_the_same_predictions_are_the_same_bytes_at_any_time(tmp_path):
    save_predictions(tmp_path / "now.npz", some_predictions())
    time.sleep(2.1)  # a zip file's clock ticks every 2 seconds
    logits = some_predictions().predictions["logits"]
    turned = some_predictions()._replace(predictions={"logits": np.asfortranarray(logits)})
    save_predictions(tmp_path / "later.npz", turned)
    now, later = ((tmp_path / name).read_bytes() for name in ("now.npz", "later.npz"))
    assert hashlib.sha256(now).digest() == hashlib.sha256(later).digest()


def test_numpy_alone_reads_the_file(tmp_path):
    save_predictions(tmp_path / "predictions.npz", some_predictions())
    with np.load(tmp_path / "predictions.npz") as file:
        assert file.files == ["index", "target", "logits"]
        assert [file[name].dtype for name in file.files] == [np.int64, np.int32, np.float32]
        np.testing.assert_array_equal(file["logits"], some_predictions().predictions["logits"])


def test_a_file_that_numpy_wrote_is_read(tmp_path):
    np.savez(tmp_path / "predictions.npz", **some_predictions().arrays())
    assert_same_bits(load_predictions(tmp_path / "predictions.npz"), some_predictions())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunFolderError, match=r"absent\.npz: no predictions\. Name the folder of a finished run"):
        load_predictions(tmp_path / "absent.npz")


def test_a_folder_in_the_files_place_is_named(tmp_path):
    with pytest.raises(RunFolderError, match="not a regular file; found a folder"):
        load_predictions(tmp_path)


def test_every_cut_file_is_named_as_damaged(tmp_path):
    save_predictions(tmp_path / "whole.npz", some_predictions())
    whole = (tmp_path / "whole.npz").read_bytes()
    damaged = tmp_path / "damaged.npz"
    for length in range(0, len(whole), 7):
        damaged.write_bytes(whole[:length])
        with pytest.raises(RunFolderError, match=r"damaged\.npz: damaged"):
            load_predictions(damaged)


def test_every_changed_byte_is_named_or_changes_nothing(tmp_path):
    save_predictions(tmp_path / "whole.npz", some_predictions())
    content = (tmp_path / "whole.npz").read_bytes()
    damaged, messages = tmp_path / "damaged.npz", []
    for place in range(len(content)):
        for flipped in (0x01, 0x08, 0x0E):  # of a zip file's methods, 8 is deflate and 14 LZMA
            damaged.write_bytes(content[:place] + bytes([content[place] ^ flipped]) + content[place + 1 :])
            try:
                found = load_predictions(damaged)
            except RunFolderError as error:
                messages.append(str(error))
            else:
                assert_same_bits(found, some_predictions())  # a date, or what else no reader looks at
    assert len(messages) > len(content)
    assert all("damaged.npz: " in message for message in messages)


def tampered(path, predictions, changes):
    np.savez(path, **{name: array for name, array in {**predictions.arrays(), **changes}.items() if array is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "where", "found"),
    [
        ({"logits": None}, "", "index <i8 (3,); target <i4 (3,)"),
        ({"target": None}, "", "index <i8 (3,); logits <f4 (3, 4)"),
        ({"target": None, "targets": np.zeros(3, np.int32)}, "", "targets <i4 (3,)"),
        ({"index": None}, "", "target <i4 (3,)"),
        ({"index": np.zeros(3, np.int32)}, "", "index <i4 (3,)"),
        ({"index": np.zeros((3, 1), np.int64)}, "", "index <i8 (3, 1)"),
        ({"weight": np.zeros(3)}, "", "weight <f8 (3,)"),
        ({"target": np.zeros(3)}, "", "target <f8 (3,)"),
        ({"constant/mean": np.zeros(())}, "", "constant/mean <f8 ()"),
        ({"target": np.zeros(2, np.int32)}, ": target", "(2,)"),
        ({"logits": np.float32(0)}, ": logits", "()"),
        ({"group": np.zeros(2, np.int32)}, ": group", "(2,)"),
        ({"group": np.zeros((3, 1), np.int32)}, "", "(3, 1)"),
        ({"target/more": np.zeros(3, np.int32)}, "", "more"),
    ],
)
def test_arrays_that_are_no_predictions_are_named(tmp_path, changes, where, found):
    path = tampered(tmp_path / "other.npz", some_predictions(), changes)
    with pytest.raises(RunFolderError) as refused:
        load_predictions(path)
    assert str(refused.value.where) == f"{path}{where}"
    assert found in str(refused.value.found)


def test_objects_are_no_predictions(tmp_path):
    path = tampered(tmp_path / "other.npz", some_predictions(), {"target": np.asarray([None] * 3)})
    with pytest.raises(RunFolderError, match=r"damaged: no array of numbers: \{'descr': '\|O'"):
        load_predictions(path)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"target/species": None, "target": np.zeros(3, np.int32)}, "leaf/area"),
        ({"target/leaf": np.zeros(3, np.int32)}, "leaf"),
        ({"target/leaf/area/left": np.zeros(3, np.int32)}, "area/left"),
    ],
)
def test_two_targets_at_one_place_are_named(tmp_path, changes, found):
    path = tampered(tmp_path / "other.npz", manifold_predictions(), changes)
    with pytest.raises(RunFolderError) as refused:
        load_predictions(path)
    assert (refused.value.where, refused.value.found) == (path, found)


@pytest.mark.parametrize(
    ("changes", "expected", "found"),
    [
        ({"logits": None, "boxes": np.zeros((3, 4), np.float32)}, "logits", "boxes"),
        ({"logits": np.zeros(3, np.float32)}, "logits (N, K)", "(3,)"),
        ({"target": np.asarray([0, 4, 0], np.int32)}, "0 to 3", "4"),
        ({"target": np.asarray([0, -1, 0], np.int32)}, "0 to 3", "-1"),
        ({"target": np.zeros(3, np.float32)}, "integers", "float32"),
        ({"logits": np.full((3, 4), np.inf, np.float32)}, "a number", "inf"),
    ],
)
def test_whole_arrays_that_are_not_a_classifiers_are_refused_by_its_task(tmp_path, changes, expected, found):
    predictions = load_predictions(tampered(tmp_path / "other.npz", some_predictions(), changes))
    with pytest.raises(DataError) as refused:
        Classification().scores(predictions.predicted())
    assert expected in str(refused.value.expected)
    assert found in str(refused.value.found)


def test_a_file_of_another_kind_is_named_as_damaged(tmp_path):
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("index.npy", "not an array")
    with pytest.raises(RunFolderError, match=r"text\.npz: damaged"):
        load_predictions(tmp_path / "text.npz")
    zeros = {name: array * 0 for name, array in some_predictions(1 << 16).arrays().items()}
    np.savez_compressed(tmp_path / "small.npz", **zeros)
    with pytest.raises(RunFolderError, match=r"small\.npz: too large; expected at most .*, found 1835008"):
        load_predictions(tmp_path / "small.npz")
    np.save(tmp_path / "one.npy", np.arange(3))
    with pytest.raises(RunFolderError, match=r"one\.npy: damaged"):
        load_predictions(tmp_path / "one.npy")
