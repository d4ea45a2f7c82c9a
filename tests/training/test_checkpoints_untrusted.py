"""A checkpoint that a stranger made, with a manifest to match: nothing outside is read or deleted, little memory."""

import hashlib
import json
import os
import resource
import shutil
import struct

import jax.numpy as jnp
import numpy as np
import pyarrow
import pytest
import tensorstore

from flaxcnn.errors import ContractError, RunFolderError
from flaxcnn.training.checkpoints import CheckpointStore, DamagedCheckpointError, Metadata
from tests.forged_checkpoints import NODE, STATE, forge, framed, number, one_file, write_index


def metadata_of(step, **changes):
    return Metadata(step, 0, {}, "", {}, {}, 0, 0.0, 0.0, **changes)


def tree(value=0.0):
    return {"kernel": jnp.full((300, 70), value, jnp.float32), "step": jnp.int32(value)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the checkpoints of steps 1 and 2; to be copied, not changed."""
    store = CheckpointStore(tmp_path_factory.mktemp("saved") / "checkpoints")
    for step in (1, 2):
        store.save(tree(step), metadata_of(step))
    return store.folder


@pytest.fixture
def store(saved, tmp_path):
    return CheckpointStore(shutil.copytree(saved, tmp_path / "checkpoints"))


def rejected(store):
    """Restore; return why the newest checkpoint was not used, after looking that the one before it was."""
    restored = store.restore_newest(tree())
    assert np.asarray(restored.state["kernel"]).tobytes() == np.full((300, 70), 1, np.float32).tobytes()
    (line,) = restored.rejected
    return line


# Links


def test_linked_checkpoints_are_never_deleted_or_added_to(saved, store, tmp_path):
    (tmp_path / "mine").mkdir()
    linked = CheckpointStore(tmp_path / "mine" / "checkpoints", keep=1)
    linked.folder.symlink_to(store.folder)
    with pytest.raises(RunFolderError, match="mine/checkpoints: a link to elsewhere, where another run's files may be"):
        linked.save(tree(3), metadata_of(3))
    assert sorted(each.name for each in store.folder.iterdir()) == ["step-00000001", "step-00000002"]


def test_a_run_folder_that_is_itself_a_link_saves_and_restores(store, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    linked = CheckpointStore(tmp_path / "link" / "checkpoints", keep=1)
    linked.save(tree(3), metadata_of(3))
    assert linked.restore_newest(tree()).metadata.step == 3
    assert [each.name for each in store.folder.iterdir()] == ["step-00000003"]


@pytest.mark.parametrize("name", ["step-00000000", ".partial-step-00000009"])
def test_of_a_link_among_the_checkpoints_only_the_link_is_deleted(store, tmp_path, name):
    other = shutil.copytree(store.path(1), tmp_path / "other")
    (store.folder / name).symlink_to(other)
    CheckpointStore(store.folder, keep=1).save(tree(3), metadata_of(3))
    assert [each.name for each in store.folder.iterdir()] == ["step-00000003"]
    assert sorted(each.name for each in other.iterdir()) == ["manifest.json", "metadata.json", "state"]


def test_a_checkpoint_that_is_a_link_is_not_used(store, tmp_path):
    store.path(2).rename(tmp_path / "other")
    store.path(2).symlink_to(tmp_path / "other")
    assert rejected(store) == f"{store.path(2)}: a link; expected a folder that this run wrote"


def test_a_file_that_is_a_link_to_outside_is_not_read(store, tmp_path):
    path = store.path(2) / "state" / "commit_success.txt"
    (tmp_path / "secret").write_text("secret")
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    forge(store.path(2))
    assert rejected(store).startswith(f"{path}: lies outside; expected a file in {store.path(2)}")


# The manifest


@pytest.mark.parametrize("name", ["../x", "/dev/zero", "/etc/passwd", "state/../../x", "./metadata.json", "", "a\0b"])
def test_a_manifest_lists_only_files_within_its_folder(store, name):
    (store.folder / "x").write_text("outside")
    forge(store.path(2), **{name: {"bytes": 7, "sha256": hashlib.sha256(b"outside").hexdigest()}})
    assert "manifest.json: lists no file of its folder" in rejected(store)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), os.mkdir])
def test_what_is_no_regular_file_is_refused_without_waiting_for_it(store, make):
    forge(store.path(2), pipe={"bytes": 7, "sha256": "0" * 64})
    make(store.path(2) / "pipe")
    assert "pipe: " in rejected(store)


def test_a_terabyte_that_the_manifest_lists_is_not_read(store):
    with (store.path(2) / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    entry = {"bytes": 1 << 40, "sha256": "0" * 64}
    shutil.move(store.path(2) / "sparse", store.folder / "sparse")
    forge(store.path(2), sparse=entry)
    shutil.move(store.folder / "sparse", store.path(2) / "sparse")
    # 84,004 bytes of arrays twice, 64 KiB for each of the two, and 16 MiB
    assert f"too large; expected at most {2 * 84_004 + 2 * 65_536 + 16_777_216:,} bytes" in rejected(store)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[]", "expected an object, found a list"),
        ('{"files": []}', "damaged at files; expected an object, found a list"),
        ('{"files": {"a": {"bytes": "1", "sha256": ""}}}', "damaged at files.a.bytes; expected a whole number"),
        ('{"files": {"a": {"bytes": -1, "sha256": ""}}}', "lists no file"),
        ('{"files": ' + '{"a":' * 1000 + "1" + "}" * 1001, "nested"),
        ('{"files": {' + ",".join(f'"{n}": {{"bytes": 0, "sha256": ""}}' for n in range(90_000)) + "}}", "too large"),
        ('{"files": {}}', "file not in the manifest; expected metadata.json"),
    ],
)
def test_a_manifest_of_another_form_rejects_the_checkpoint(store, content, told):
    (store.path(2) / "manifest.json").write_text(content)
    assert told in rejected(store)


def test_a_file_that_the_manifest_does_not_list_changes_nothing(store):
    (store.path(2) / STATE / "manifest.__lock").write_text("{}")
    os.mkfifo(store.path(2) / ".DS_Store")
    restored = store.restore_newest(tree())
    assert (restored.metadata.step, restored.rejected) == (2, ())


# Metadata


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"arrays": ["kernel"]}, "damaged at arrays; expected an object, found a list"),
        ({"arrays": {"kernel": 1}}, "damaged at arrays.kernel; expected text, found 1"),
        ({"rows": "3"}, "damaged at rows; expected a whole number, found '3'"),
        ({"data_digests": {"train": None}}, "damaged at data_digests.train; expected text, found null"),
        ({"versions": []}, "damaged at versions; expected an object, found a list"),
        ({"train_seconds": -1}, "damaged at train_seconds; expected no negative number"),
        ({"metric": "best"}, "damaged at metric; expected a number or null, found 'best'"),
    ],
)
def test_metadata_of_other_types_reject_the_checkpoint(store, change, told):
    path = store.path(2) / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    forge(store.path(2))
    assert told in rejected(store)


def test_arrays_that_are_said_to_be_huge_are_another_models(store):
    path = store.path(2) / "metadata.json"
    fields = json.loads(path.read_text())
    fields["arrays"]["kernel"] = "float32 (1000000000, 1000000000)"
    path.write_text(json.dumps(fields))
    forge(store.path(2))
    with pytest.raises(ContractError, match=r"at kernel; expected float32 \(300, 70\), found float32 \(1000000000, 10"):
        store.restore_newest(tree())


# Arrays, changed with TensorStore or byte by byte


def overwrite(store, key, value):
    path = store.path(2) / STATE
    database = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{path}/"}).result()
    database.write(key, value).result()
    forge(store.path(2))


def description_of(store, key="kernel/zarr.json"):
    path = store.path(2) / STATE
    database = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{path}/"}).result()
    return json.loads(database.read(key).result().value)


def test_arrays_are_read_where_another_version_of_the_index_was_added(store):
    """So that the tests below reject what they change, and not how."""
    overwrite(store, "another", b"key")
    assert store.restore_newest(tree()).rejected == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"name": "crc32c"', '"name": "gzip"'),
        lambda text: text.replace('[{"configuration": {"endian": "little"}, "name": "bytes"}]', '[{"name": "zstd"}]'),
        lambda text: text.replace("[300, 70]", "[300000000, 70]"),
        lambda text: text.replace('"chunk_shape": [300, 70]', '"chunk_shape": [1, 1]'),
        lambda text: text.replace('"chunk_shape": [300, 70]', '"chunk_shape": [true, 70]'),
        lambda text: text.replace('"chunk_shape": [300, 70]', '"chunk_shape": []'),
        lambda text: text.replace("float32", "float64"),
        lambda text: text.replace('"regular"', '"rectangular"'),
        lambda text: "[" * 1000,
        lambda text: "[]",
        lambda text: '{"chunk_grid": 1}',
        lambda text: "\0" * 70_000,
    ],
)
def test_an_array_that_is_described_otherwise_rejects_the_checkpoint(store, change):
    changed = change(json.dumps(description_of(store)))
    assert changed != json.dumps(description_of(store))
    overwrite(store, "kernel/zarr.json", changed.encode())
    line = rejected(store)
    assert f"{store.path(2)}/state" in line
    assert "damaged" in line


def test_a_chunk_that_inflates_to_gigabytes_is_refused_in_little_memory(store):
    """2 GB of zeros under a compressor that the library never uses, as TensorStore would read them."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sharding = description_of(store)
    sharding["codecs"][0]["configuration"]["codecs"].append({"name": "zstd", "configuration": {"level": 1}})
    overwrite(store, "kernel/zarr.json", json.dumps(sharding).encode())
    with pyarrow.BufferOutputStream() as sink, pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        for _ in range(2048):
            stream.write(bytes(1 << 20))
        stream.close()
        bomb = sink.getvalue().to_pybytes()
    assert len(bomb) < 1 << 20
    overwrite(store, "kernel/c/0/0", bomb + struct.pack("<QQI", 0, len(bomb), 0))
    assert "damaged" in rejected(store)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 256


@pytest.mark.parametrize("value", [b"", b"\0" * 84_019, b"\0" * 84_021])
def test_a_chunk_of_another_length_rejects_the_checkpoint(store, value):
    overwrite(store, "kernel/c/0/0", value)
    assert f"{len(value)} bytes of 84" in rejected(store)


def test_a_chunk_whose_own_index_points_elsewhere_is_one_line(store):
    overwrite(store, "kernel/c/0/0", bytes(84_000) + struct.pack("<QQI", 1 << 60, 84_000, 0))
    with pytest.raises(DamagedCheckpointError, match="a chunk whose parts are elsewhere"):
        store.restore_newest(tree())


def test_an_array_without_a_chunk_rejects_the_checkpoint(store):
    overwrite(store, "step/c", None)
    assert "damaged: no step/c" in rejected(store)


# The index, byte by byte


def many_long_keys():
    """A million keys of 64 kB each, each but for a byte the one before: 64 GB, written in 6 MB or 640 bytes."""
    count = 1 << 20
    shared, added = number(65_000) * (count - 2) + number(0), number(65_000) + number(1) * (count - 1)
    return bytes([0]) + number(0) + number(count) + shared + added + bytes(8 * count)


@pytest.mark.parametrize(
    ("node", "height"),
    [
        (framed(NODE, many_long_keys()), 0),
        (framed(NODE, many_long_keys(), compress=True), 0),
        (framed(NODE, bytes(1 << 28), compress=True), 0),
        (framed(NODE, b"\0\0" + number(2**63) + bytes(100)), 0),
        (framed(NODE, b"\0" + number(2**63) + bytes(100)), 0),
        (framed(NODE, b"\0\0" + b"\xff" * 20), 0),
        (framed(NODE, b"\0\0\0"), 0),
        (framed(NODE, b"\0\0", compress=True)[:-8], 0),
        (framed(NODE, b"\0\0\1")[:-1], 0),
        (NODE, 0),
        (b"", 0),
        (NODE + struct.pack("<Q", 22) + bytes([0, 1]) + b"none" + bytes(4), 0),
    ],
    ids=[
        *("long keys", "long keys, compressed", "inflates", "entries", "files", "a long number", "no entry"),
        *("cut off, compressed", "cut off", "magic only", "empty", "not zstd"),
    ],
)
def test_an_index_that_asks_for_memory_or_ends_early_rejects_the_checkpoint(store, node, height):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write_index(store.path(2), node, height)
    assert "damaged: " in rejected(store)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 400


@pytest.mark.parametrize("path", ["../../../x", "/dev/zero", "d/none", "d/../../metadata.json", "pipe"])
def test_an_index_reads_only_files_that_the_manifest_lists(store, path):
    os.mkfifo(store.path(2) / STATE / "pipe")
    (store.folder / "x").write_bytes(framed(NODE, b"\0\0\0"))
    write_index(store.path(2), b"", path=path, length=21)
    assert "manifest.json: file not in the manifest" in rejected(store)


def test_a_node_that_is_its_own_child_ends(store):
    """A thousand children each, 255 levels: whoever believed it would never be done."""
    count = 1000
    keys = number(0) * (count - 1) + number(2) * count + number(0) * count
    names = b"".join(struct.pack(">H", each) for each in range(count))

    def node(length):
        byte_ranges = number(0) * count + number(0) * count + number(length) * count + bytes(3 * count)
        return framed(NODE, b"\xff" + one_file("d/node") + number(count) + keys + names + byte_ranges)

    length = len(node(10_000))
    assert len(node(length)) == length
    write_index(store.path(2), node(length), height=255)
    assert "a node of another height than its parent says" in rejected(store)
