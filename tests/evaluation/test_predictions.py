"""Predictions come back bit for bit, the same ones as the same bytes, and damage is named."""

import hashlib
import time
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from flaxcnn.errors import RunFolderError
from flaxcnn.evaluation.predictions import Predictions, load_predictions, save_predictions


def some_predictions(examples=3):
    logits = np.linspace(-1, 1, examples * 4, dtype=np.float32).reshape(examples, 4)
    return Predictions(np.arange(examples), np.arange(examples, dtype=np.int32) % 4, logits)


def assert_same_bits(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(0, 9), st.integers(1, 5))
def test_what_was_saved_is_loaded_bit_for_bit(tmp_path_factory, data, examples, classes):
    predictions = Predictions(
        data.draw(arrays.arrays(np.int64, examples)),
        data.draw(arrays.arrays(np.int32, examples, elements=st.integers(0, classes - 1))),
        data.draw(arrays.arrays(np.float32, (examples, classes))),
    )
    path = tmp_path_factory.mktemp("predictions") / "predictions.npz"
    save_predictions(path, predictions)
    assert_same_bits(load_predictions(path), predictions)


def test_the_same_predictions_are_the_same_bytes_at_any_time(tmp_path):
    save_predictions(tmp_path / "now.npz", some_predictions())
    time.sleep(2.1)  # a zip file's clock ticks every 2 seconds
    turned = some_predictions()._replace(logits_NxK=np.asfortranarray(some_predictions().logits_NxK))
    save_predictions(tmp_path / "later.npz", turned)
    now, later = ((tmp_path / name).read_bytes() for name in ("now.npz", "later.npz"))
    assert hashlib.sha256(now).digest() == hashlib.sha256(later).digest()


def test_numpy_alone_reads_the_file(tmp_path):
    save_predictions(tmp_path / "predictions.npz", some_predictions())
    with np.load(tmp_path / "predictions.npz") as file:
        assert file.files == ["index", "label", "logits"]
        assert [file[name].dtype for name in file.files] == [np.int64, np.int32, np.float32]
        np.testing.assert_array_equal(file["logits"], some_predictions().logits_NxK)


def test_a_file_that_numpy_wrote_is_read(tmp_path):
    index, label, logits = some_predictions()
    np.savez(tmp_path / "predictions.npz", index=index, label=label, logits=logits)
    assert_same_bits(load_predictions(tmp_path / "predictions.npz"), some_predictions())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunFolderError, match=r"absent\.npz: no predictions\. Name the folder of a run that ended"):
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits": None}, "not the arrays of predictions; expected index <i8 in 1 .* logits <f4 in 2 .*, found"),
        ({"weight": np.zeros(3)}, "not the arrays of predictions; .* weight <f8 in 1"),
        ({"label": np.zeros(3)}, "not the arrays of predictions; .* found .*label <f8 in 1"),
        ({"logits": np.zeros(12, np.float32)}, "not the arrays of predictions; .* found .*logits <f4 in 1"),
        ({"label": np.asarray([0, 4, 0], np.int32)}, "damaged: a label without logits; expected 0 to 3, found 4"),
        ({"label": np.asarray([0, -1, 0], np.int32)}, "damaged: a label without logits; expected 0 to 3, found -1"),
        ({"label": np.zeros(2, np.int32)}, "arrays of several lengths; .* found 3 index, 2 label, 3 logits"),
        ({"label": np.asarray([None] * 3)}, "damaged: no array of numbers: {'descr': '|O'"),
    ],
)
def test_arrays_that_are_no_predictions_are_named(tmp_path, changes, message):
    index, label, logits = some_predictions()
    fields = {"index": index, "label": label, "logits": logits} | changes
    path = tmp_path / "other.npz"
    np.savez(path, **{name: array for name, array in fields.items() if array is not None})
    with pytest.raises(RunFolderError, match=message):
        load_predictions(path)


def test_a_file_of_another_kind_is_named_as_damaged(tmp_path):
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("index.npy", "not an array")
    with pytest.raises(RunFolderError, match=r"text\.npz: damaged"):
        load_predictions(tmp_path / "text.npz")
    index, label, logits = some_predictions(1 << 16)
    np.savez_compressed(tmp_path / "small.npz", index=index * 0, label=label * 0, logits=logits * 0)
    with pytest.raises(RunFolderError, match=r"small\.npz: too large; expected at most .*, found 1835008"):
        load_predictions(tmp_path / "small.npz")
    np.save(tmp_path / "one.npy", np.arange(3))
    with pytest.raises(RunFolderError, match=r"one\.npy: damaged"):
        load_predictions(tmp_path / "one.npy")
