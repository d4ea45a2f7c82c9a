"""JSON files and archives of arrays, as every reader of them reads them."""

import io

import numpy as np
import pytest

from flaxcnn.files import read_json
from flaxcnn.files.npz import read_npz
from tests.fuzz.mutations import count, hold, mutated_bytes, mutated_json


def test_no_json_file_is_answered_with_anything_but_a_line(tmp_path):
    path = tmp_path / "file.json"
    seeds = [{"step": 3, "rows": [{"loss": 0.5}, None], "name": "run", "nested": {"a": {"b": [1, 2, [3]]}}}, {}]

    def run(data):
        path.write_bytes(data)
        read_json(path)

    hold(run, mutated_json(seeds, count()))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_archive_of_arrays_is_answered_with_anything_but_a_line(tmp_path, save):
    path = tmp_path / "arrays.npz"
    content = io.BytesIO()
    save(content, **{"params/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "step": np.int32(3)})

    def run(data):
        path.write_bytes(data)
        read_npz(path, lambda forms: None, most=1 << 20, what="arrays")

    hold(run, mutated_bytes([content.getvalue()], count()))
