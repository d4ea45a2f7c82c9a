"""IDX files, raw and gzipped, as a data set and one by one."""

import gzip
import struct

import numpy as np
import pytest

from flaxcnn.data import load
from flaxcnn.data.sources.idx import read_idx, read_idx_images
from tests.fuzz.mutations import count, hold, mutated_bytes

IMAGES = struct.pack(">4I", 0x0803, 3, 4, 5) + np.random.default_rng(0).integers(0, 256, 60, np.uint8).tobytes()
LABELS = struct.pack(">2I", 0x0801, 3) + bytes([0, 1, 1])


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_no_file_of_images_is_answered_with_anything_but_a_line(tmp_path, in_memory):
    path = tmp_path / "images"
    packed = gzip.compress(IMAGES[:20]) + gzip.compress(b"") + gzip.compress(IMAGES[20:])

    def run(data):
        path.write_bytes(data)
        images, _ = read_idx_images(path, in_memory)
        images[:]

    hold(run, mutated_bytes([IMAGES, gzip.compress(IMAGES), packed], count(2)))


def test_no_file_of_labels_is_answered_with_anything_but_a_line(tmp_path):
    path = tmp_path / "labels"

    def run(data):
        path.write_bytes(data)
        read_idx(path, rank=1)

    hold(run, mutated_bytes([LABELS, gzip.compress(LABELS)], count(2)))


def test_no_source_is_answered_with_anything_but_a_line(tmp_path):
    for name, content in (("train-images-idx3", IMAGES), ("t10k-images-idx3", IMAGES), ("train-labels-idx1", LABELS)):
        (tmp_path / f"{name}-ubyte").write_bytes(content)
    path = tmp_path / "t10k-labels-idx1-ubyte"

    def run(data):
        path.write_bytes(data)
        load(f"idx:{tmp_path}")

    hold(run, mutated_bytes([LABELS], count(4)))
    path.write_bytes(LABELS)

    def name(data):
        load(data.decode("utf-8", "surrogateescape"))

    hold(name, mutated_bytes([b"mnis", f"idx:{tmp_path}".encode(), b"tfds:drawn/config:1.0.0", b"~/photos"], count(4)))
