"""Checkpoints: each of their files, with a manifest that matches what was changed, as an attacker makes it."""

import json

import jax.numpy as jnp
import pyarrow
import pytest

from flaxcnn.training.checkpoints import CheckpointStore, Metadata
from tests.forged_checkpoints import MANIFEST, NODE, STATE, forge, framed, write_index
from tests.fuzz.mutations import count, hold, mutated_bytes, mutated_json

COST = 8  # a restore takes some 10 ms


def tree():
    arrays = {f"conv{each}": {"bias": jnp.ones(4), "kernel": jnp.ones((3, 3, 2, 4), jnp.bfloat16)} for each in range(3)}
    return {**arrays, "step": jnp.int32(3), "used": jnp.array([True, False])}


@pytest.fixture
def store(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints")
    reports = {"reports": {"100": 0.5}, "hardware": {"device": "cpu"}}
    metadata = Metadata(3, 0, {"name": "run"}, "c", {"train": "d"}, {"jax": "0.12"}, 1, 0.5, 0.25, 0.75, reports)
    store.save(tree(), metadata)
    return store


@pytest.mark.parametrize("name", ["manifest.json", "metadata.json"])
def test_no_description_of_a_checkpoint_is_answered_with_anything_but_a_line(store, name):
    path = store.path(3) / name
    seed = json.loads(path.read_text())

    def run(data):
        path.write_bytes(data)
        if name == "metadata.json":
            forge(store.path(3))
        store.restore_newest(tree())

    hold(run, mutated_json([seed], count(COST)))


@pytest.mark.parametrize("part", ["manifest.ocdbt", "d", "ocdbt.process_0/d"])
def test_no_file_of_the_arrays_is_answered_with_anything_but_a_line(store, part):
    path = store.path(3) / STATE / part
    if path.is_dir():
        (path,) = path.iterdir()
    seed = path.read_bytes()

    def run(data):
        path.write_bytes(data)
        forge(store.path(3))
        store.restore_newest(tree())

    hold(run, mutated_bytes([seed], count(COST)))


def decompressed(data):
    with pyarrow.CompressedInputStream(pyarrow.BufferReader(data[14:-4]), "zstd") as stream:
        return stream.read()


@pytest.mark.parametrize("compress", [False, True])
def test_no_node_of_the_index_is_answered_with_anything_but_a_line(store, compress):
    """Changed before it is compressed, or most changes would only be bad compression."""
    (path,) = (store.path(3) / STATE / "d").iterdir()
    seed = decompressed(path.read_bytes())
    write_index(store.path(3), framed(NODE, seed, compress))
    assert store.restore_newest(tree()) is not None  # so that it is the changes that are refused

    def run(data):
        write_index(store.path(3), framed(NODE, data, compress), height=data[0] if data else 0)
        store.restore_newest(tree())

    hold(run, mutated_bytes([seed], count(COST)))


def test_no_manifest_of_the_index_is_answered_with_anything_but_a_line(store):
    path = store.path(3) / STATE / "manifest.ocdbt"
    seed = decompressed(path.read_bytes())

    def run(data):
        path.write_bytes(framed(MANIFEST, data))
        forge(store.path(3))
        store.restore_newest(tree())

    hold(run, mutated_bytes([seed], count(COST)))
