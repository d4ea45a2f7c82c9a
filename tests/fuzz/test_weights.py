"""Files of weights of other libraries, as every reader of them reads them."""

import contextlib
import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from flaxcnn.models.weights.pickled import read_pickle
from flaxcnn.models.weights.reading import read_weights
from tests.fuzz.mutations import count, hold, mutated_bytes
from tests.models.test_weight_files import BOMBS, HOSTILE, archive, legacy, tensor_of

FILES = Path(__file__).parents[1] / "models" / "weight_files"


@pytest.mark.parametrize("name", ["torch_1_6.pth", "torch_0_4.pth", "checkpoint.pth", "safe.safetensors"])
def test_no_file_of_weights_is_answered_with_anything_but_a_line(tmp_path, name):
    path = tmp_path / "weights"

    def run(data):
        path.write_bytes(data)
        for array in read_weights(path, most=1 << 24).values():
            np.array(array)  # every number of a view can be read

    hold(run, mutated_bytes([(FILES / name).read_bytes(), tensor_of()], count()))


@pytest.mark.parametrize("form", [archive, legacy])
def test_no_pickle_is_answered_with_anything_but_a_line(tmp_path, form):
    path = tmp_path / "weights"
    good = (FILES / "checkpoint.pth").read_bytes()
    start = good.index(b"\x80\x02")
    seeds = [good[start : good.index(b"PK", start)], *HOSTILE.values(), BOMBS["keys with one hash"][:200]]

    def run(data):
        path.write_bytes(form(data))
        read_weights(path, most=1 << 24)

    hold(run, mutated_bytes(seeds, count()))


def test_instructions_at_random_are_read_or_refused():
    opcodes = pickle.dumps([1, "a", {"b": (2, 3.0)}, b"x"], 4)

    def run(data):
        with contextlib.suppress(ValueError, EOFError, struct.error):
            read_pickle(io.BytesIO(data))

    hold(run, mutated_bytes([opcodes, b"\x80\x02(](}q\x00h\x00ua0125\x85\x86\x87N.", *HOSTILE.values()], count()))


@pytest.mark.slow
def test_no_file_in_hdf5_is_answered_with_anything_but_a_line(tmp_path):
    """HDF5's library takes all memory for some of these, where it is not held in a process of its own."""
    pytest.importorskip("h5py")
    path = tmp_path / "weights"

    def run(data):
        path.write_bytes(data)
        read_weights(path, most=1 << 24)

    hold(run, mutated_bytes([(FILES / "keras.weights.h5").read_bytes()], count(10)))  # a process each
