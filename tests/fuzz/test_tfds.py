"""Prepared data sets: their descriptions, their class names and their files of records."""

import json

import pytest

from flaxcnn.data import Options, load
from flaxcnn.data.sources.tfds.array_record import open_array_record
from flaxcnn.data.sources.tfds.description import read_description
from tests.data.array_record_files import BLOCK, array_record, chunk, chunk_of, message, simple
from tests.data.prepared_sets import as_examples, drawings, features, prepare
from tests.fuzz.mutations import count, hold, mutated_bytes, mutated_json


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    examples = as_examples(drawings(3, (4, 4, 1), 0))
    return prepare(folder, dict.fromkeys(("train", "test"), examples), features())


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "label.labels.txt"])
def test_no_description_is_answered_with_anything_but_a_line(version, name):
    before = (version / name).read_bytes()
    legacy = {
        "type": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "content": {
            "image": {
                "type": "tensorflow_datasets.core.features.image_feature.Image",
                "content": {"shape": [None, None, 1], "dtype": "uint8"},
            },
            "label": {
                "type": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
                "content": {"num_classes": 3},
            },
        },
    }

    def run(data):
        (version / name).write_bytes(data)
        read_description(version)
        load("tfds:drawn", Options(dir=version.parents[1]))

    if name == "label.labels.txt":
        mutations = mutated_bytes([before], count(2))
    else:
        mutations = mutated_json([json.loads(before), *([legacy] if name == "features.json" else [])], count(2))
    hold(run, mutations)
    (version / name).write_bytes(before)


def test_no_file_of_records_is_answered_with_anything_but_a_line(version):
    path = next(version.glob("drawn-train.array_record*"))
    whole = path.read_bytes()
    end = whole.rindex(b"\xc9q", 0, BLOCK + 200) + 2  # of the postscript; zeros follow

    def run(data):
        path.write_bytes(data.ljust(2 * BLOCK, b"\0"))
        load("tfds:drawn", Options(dir=version.parents[1]))

    hold(run, mutated_bytes([whole[:end], whole], count(4)))
    path.write_bytes(whole)


def test_no_file_with_right_hashes_is_answered_with_anything_but_a_line(tmp_path):
    # A change is mostly found by its hash, before what is changed is believed: here the hashes are made right again.
    path, record = tmp_path / "some.array_record", b"an example's bytes" * 5
    chunks = [(chunk_of([record] * each), each, each * len(record)) for each in (2, 2, 1)]
    entries = [
        message((1, 64), (2, 180), (3, 2)),
        message((1, 288), (2, 180), (3, 2)),
        message((1, 512), (2, 90), (3, 1)),
    ]
    described = [message((1, message((1, 1), (2, 3), (3, 5)))), *entries]
    assert chunk_of(described) in array_record(chunks)

    def read(content):
        path.write_bytes(content)
        file = open_array_record(path, tmp_path)
        file.read(file.reader(), range(len(file)))

    def footer(data):
        read(array_record(chunks, footer=chunk(data, 4, sum(map(len, described)))))

    def first_chunk(data):
        read(array_record([(chunk(data, 2, 180), 2, 180), *chunks[1:]]))

    hold(footer, mutated_bytes([simple(described)], count(4)))
    hold(first_chunk, mutated_bytes([simple([record] * 2)], count(4)))
