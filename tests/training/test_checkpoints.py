"""A checkpoint comes back bit for bit, or is rejected by name; what was saved before is never lost."""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaxcnn.errors import ConfigError, ContractError, RunFolderError
from flaxcnn.models.paper_cnn import PaperCNN
from flaxcnn.training import adam, create_state, train_step
from flaxcnn.training.checkpoints import CheckpointStore, DamagedCheckpointError, Metadata


def metadata_of(step, **changes):
    fields = {
        "epoch": step // 1200,
        "config": {"training": {"batch_size": 50}},
        "contract_digest": "c" * 64,
        "data_digests": {"train-images": "d" * 64},
        "versions": {"flaxcnn": "0.1.0", "jax": "0.12.0"},
        "rows": step // 50,
        "train_seconds": 1.5,
        "eval_seconds": 0.25,
    }
    return Metadata(step=step, **{**fields, **changes})


def small_tree(value):
    return {"kernel": jnp.full((3, 2), value, jnp.float32), "step": jnp.int32(value)}


def bits_of(tree):
    """Each leaf's path, dtype, shape and bytes."""
    return [
        (jax.tree_util.keystr(path), str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes())
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints")


@pytest.fixture(scope="module")
def three_checkpoints(tmp_path_factory):
    """A folder with intact checkpoints of steps 1, 2 and 3; to be copied, not changed."""
    store = CheckpointStore(tmp_path_factory.mktemp("three") / "checkpoints")
    for step in (1, 2, 3):
        store.save(small_tree(step), metadata_of(step))
    return store.folder


@pytest.fixture
def copied(three_checkpoints, tmp_path):
    return CheckpointStore(shutil.copytree(three_checkpoints, tmp_path / "checkpoints"))


# Child processes are forked from a server that has imported JAX and Orbax but started neither, so that a test of real
# processes, each with its own devices, rights and end, costs tenths of a second.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["flaxcnn.training.checkpoints.store", "orbax.checkpoint.v1", "jax.numpy"])
IN_CHILD = """
import os, sys
os.dup2(writer.fileno(), 1)
os.dup2(writer.fileno(), 2)
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
import jax, numpy as np
jax.config.update("jax_platforms", "cpu")
import jax.numpy as jnp
from pathlib import Path
from flaxcnn.errors import FlaxcnnError
from flaxcnn.training.checkpoints import CheckpointStore, Metadata

def metadata_of(step):
    return Metadata(step, 0, {}, "", {}, {}, 0, 0.0, 0.0)

assert len(jax.devices()) == devices
store = CheckpointStore(Path(folder))
"""


class Child:
    """A process that runs code on a store; what it writes to stdout and stderr goes to a pipe."""

    def __init__(self, code, folder, devices=1):
        self.reader, writer = PROCESSES.Pipe(duplex=False)
        names = {"__name__": "child", "writer": writer, "folder": str(folder), "devices": devices}
        self.process = PROCESSES.Process(target=exec, args=(IN_CHILD + code, names))
        self.process.start()
        writer.close()

    def read(self, until=None):
        """Return what it printed, up to its end or to a line."""
        printed = b""
        while part := os.read(self.reader.fileno(), 1 if until else 65536):
            printed += part
            if until and printed.endswith(until + b"\n"):
                break
        return printed.decode()

    def output(self):
        printed = self.read()
        self.process.join(60)
        assert self.process.exitcode == 0, printed
        return printed


# Saved and restored


def test_a_training_state_comes_back_bit_for_bit_and_trains_on_to_the_same_bits(store, small_split):
    images, labels = (array[:8] for array in small_split)
    state = create_state(PaperCNN(), adam(), (28, 28, 1), seed=5)
    step = train_step.lower(state, images, labels).compile()
    state, _ = step(state, images, labels)
    store.save(state, metadata_of(1))
    target = jax.eval_shape(lambda: create_state(PaperCNN(), adam(), (28, 28, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        restored = store.restore_newest(target)
        assert bits_of(restored.state) == bits_of(state)
        assert jax.tree.structure(restored.state) == jax.tree.structure(state)
        went_on = step(state, images, labels)
        resumed = step(restored.state, images, labels)
    assert bits_of(resumed) == bits_of(went_on)
    assert restored.rejected == ()


def test_every_dtype_comes_back_bit_for_bit(store):
    """Not-a-number with a payload, negative zero, infinities and denormals included; a typed key draws the same."""
    floats = np.array([0x7FC00123, 0x80000000, 0x7F800000, 0x00000001], np.uint32).view(np.float32)
    tree = {
        "float32": jnp.asarray(floats),
        "bfloat16": jnp.asarray(np.array([0x7FC1, 0x8000, 0x0001], np.uint16).view(ml_dtypes.bfloat16)),
        "float16": jnp.float16(0.1),
        "int32": jnp.int32(-(2**31)),
        "uint32": jnp.asarray(np.array([[2**32 - 1], [0]], np.uint32)),
        "uint8": jnp.arange(256, dtype=jnp.uint8),
        "bool": jnp.array([True, False]),
        "nothing": {},
    }
    key = jax.random.key(7)
    store.save({**tree, "key": key}, metadata_of(0))
    restored = store.restore_newest(jax.eval_shape(lambda: {**tree, "key": key})).state
    assert jnp.array_equal(jax.random.bits(restored.pop("key"), (9,)), jax.random.bits(jax.random.key(7), (9,)))
    assert bits_of(restored) == bits_of(tree)


def test_the_metadata_comes_back(store):
    metadata = metadata_of(2400, metric=0.875, extra={"stopped by": "SIGTERM", "epochs were": [1, 2]})
    store.save(small_tree(0), metadata)
    assert store.restore_newest(small_tree(0)).metadata == metadata
    assert store.read_metadata(2400) == metadata


def test_no_checkpoint_at_all_is_no_error(store):
    assert store.restore_newest(small_tree(0)) is None
    store.folder.mkdir()
    assert store.restore_newest(small_tree(0)) is None
    assert store.steps() == []


def test_the_newest_is_restored_by_number_and_not_by_name(store):
    for step in (99_999_999, 100_000_000):
        store.save(small_tree(1), metadata_of(step))
    assert store.steps() == [99_999_999, 100_000_000]
    assert store.restore_newest(small_tree(0)).metadata.step == 100_000_000


def test_a_checkpoint_is_laid_out_as_documented_with_the_digest_of_every_file(three_checkpoints):
    folder = three_checkpoints / "step-00000003"
    assert sorted(each.name for each in folder.iterdir()) == ["manifest.json", "metadata.json", "state"]
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert listed == {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in files
    }
    assert json.loads((folder / "metadata.json").read_text())["schema"] == 1


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs to see which file a descriptor is of")
def test_everything_is_flushed_to_the_disk_before_a_checkpoint_takes_its_name(store, monkeypatch):
    flushed, fsync = [], os.fsync

    def recorded(descriptor):
        fsync(descriptor)
        flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

    monkeypatch.setattr(os, "fsync", recorded)
    store.save(small_tree(1), metadata_of(1))
    partial = store.folder / ".partial-step-00000001"
    made = {partial, *(partial / path.relative_to(store.path(1)) for path in store.path(1).rglob("*"))}
    assert made <= set(flushed)
    assert flushed[0] == store.folder.parent  # which got a new folder
    assert flushed[-1] == store.folder  # in which the checkpoint got its name


def test_saving_leaves_no_thread_behind(store):
    store.save(small_tree(1), metadata_of(1))
    before = threading.active_count()
    store.save(small_tree(2), metadata_of(2))
    assert threading.active_count() <= before


# Damage


def damage_flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def largest_file(folder):
    return max((path for path in (folder / "state").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (damage_flip, "SHA-256 changed; expected "),
        (damage_truncate, "truncated; expected "),
        (lambda path: path.unlink(), "file missing"),
    ],
    ids=["flipped bit", "truncated", "missing"],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(copied, damage, told):
    path = largest_file(copied.path(3))
    damage(path)
    restored = copied.restore_newest(small_tree(0))
    assert bits_of(restored.state) == bits_of(small_tree(2))
    assert restored.metadata.step == 2
    (line,) = restored.rejected
    assert line.startswith(f"{path}: {told}")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bit_flipped_in_any_file_is_found(three_checkpoints, tmp_path, data):
    folder = tmp_path / "checkpoints" / "step-00000003"
    if not folder.exists():
        shutil.copytree(three_checkpoints / folder.name, folder)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    name = data.draw(st.sampled_from(files))
    content = (folder / name).read_bytes()
    flipped = bytearray(content)
    flipped[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / name).write_bytes(flipped)
    try:
        with pytest.raises(DamagedCheckpointError):
            CheckpointStore(folder.parent).restore(3, small_tree(0))
    finally:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda text: text.replace('"schema": 1', '"schema": 99'), "unknown schema version; expected 1, found 99"),
        (lambda text: text.replace('"schema"', '"scheme"'), "unknown schema version; expected 1"),
        (lambda text: text[:20], "damaged: "),
        (lambda text: "[" * 100_000, "nested too deep"),
        (lambda text: "[]", "expected an object, found a list"),
    ],
    ids=["another schema", "no schema", "cut off", "nested", "a list"],
)
def test_metadata_that_cannot_be_read_rejects_the_checkpoint(copied, write, told):
    path = copied.path(3) / "metadata.json"
    path.write_text(write(path.read_text()))
    (line,) = copied.restore_newest(small_tree(0)).rejected
    assert line.startswith(f"{path}: ")
    assert told in line


def test_a_checkpoint_that_was_renamed_to_another_step_is_rejected(copied):
    copied.path(3).rename(copied.path(7))
    restored = copied.restore_newest(small_tree(0))
    assert restored.metadata.step == 2
    assert "of another step than its name says; found 3" in restored.rejected[0]


def test_none_intact_is_an_error_that_says_why_for_each(copied):
    damage_flip(largest_file(copied.path(1)))
    (copied.path(2) / "manifest.json").unlink()
    damage_truncate(copied.path(3) / "metadata.json")
    with pytest.raises(RunFolderError) as caught:
        copied.restore_newest(small_tree(0))
    line = str(caught.value)
    assert "\n" not in line
    assert "no intact checkpoint among 3" in line
    for words in ("step-00000001", "SHA-256 changed", "step-00000002/manifest.json: file missing", "step-00000003"):
        assert words in line


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (
            {"kernel": jnp.zeros((3, 5)), "step": jnp.int32(0)},
            "at kernel; expected float32 (3, 5), found float32 (3, 2)",
        ),
        (
            {"kernel": jnp.zeros((3, 2), jnp.bfloat16), "step": jnp.int32(0)},
            "at kernel; expected bfloat16 (3, 2), found float32 (3, 2)",
        ),
        ({"kernel": jnp.zeros((3, 2))}, "at step; expected no such array, found int32 ()"),
        ({**small_tree(0), "bias": jnp.zeros(2)}, "at bias; expected float32 (2,), found no such array"),
    ],
    ids=["shape", "dtype", "one too many", "one missing"],
)
def test_a_checkpoint_of_another_model_is_refused_by_the_arrays_name(three_checkpoints, target, told):
    with pytest.raises(ContractError) as caught:
        CheckpointStore(three_checkpoints).restore_newest(target)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda fields: fields.pop("rows"), "value: expected a field 'rows', found none"),
        (lambda fields: fields.update(colour="red"), "value: expected the fields step, .*, found 'colour'"),
        (lambda fields: fields.update(epoch="2"), "epoch: expected a whole number, found '2'"),
        (lambda fields: fields.update(rows=True), "rows: expected a whole number, found True"),
        (lambda fields: fields.update(step=-1), "step: expected no negative number, found -1"),
    ],
    ids=["missing", "unknown", "text", "bool", "negative"],
)
def test_metadata_is_read_strictly(change, told):
    fields = metadata_of(100).to_json()
    assert Metadata.from_json(json.loads(json.dumps(fields))) == metadata_of(100)
    change(fields)
    with pytest.raises(ValueError, match=f"^{told}$"):
        Metadata.from_json(fields)


# What is kept


@pytest.mark.parametrize(
    ("kept", "steps"),
    [
        ({"keep": 1}, [6]),
        ({"keep": 3}, [4, 5, 6]),
        ({"keep": 1, "keep_best": 1}, [2, 6]),  # 0.9 at step 2 and again at step 4: the earlier one stays
        ({"keep": 1, "keep_best": 2}, [2, 4, 6]),
        ({"keep": 2, "keep_best": 1, "higher_is_better": False}, [3, 5, 6]),
    ],
    ids=["last", "last three", "best", "best two", "lowest"],
)
def test_the_last_and_the_best_are_kept(tmp_path, kept, steps):
    store = CheckpointStore(tmp_path, **kept)
    for step, metric in enumerate([0.8, 0.9, 0.1, 0.9, float("nan"), None], start=1):
        store.save(small_tree(step), metadata_of(step, metric=metric))
    assert store.steps() == steps
    assert sorted(each.name for each in tmp_path.iterdir()) == [f"step-{step:08d}" for step in steps]


def test_a_damaged_later_checkpoint_does_not_push_out_the_one_that_the_run_goes_on_from(copied):
    damage_flip(largest_file(copied.path(3)))
    going_on = dataclasses.replace(copied, keep=1)
    going_on.save(small_tree(2), metadata_of(2))
    assert going_on.restore_newest(small_tree(0)).metadata.step == 2
    going_on.save(small_tree(33), metadata_of(3))
    restored = going_on.restore_newest(small_tree(0))
    assert bits_of(restored.state) == bits_of(small_tree(33))
    assert restored.rejected == ()
    assert going_on.steps() == [3]


def test_an_intact_checkpoint_of_the_same_step_is_left_as_it_is(copied):
    before = {path: path.stat().st_mtime_ns for path in copied.path(3).rglob("*")}
    copied.save(small_tree(4), metadata_of(3))
    assert {path: path.stat().st_mtime_ns for path in copied.path(3).rglob("*")} == before


def test_what_a_killed_save_left_is_no_checkpoint_and_is_removed_by_the_next_save(copied):
    (copied.folder / "step-00000003").rename(copied.folder / ".partial-step-00000003")
    assert copied.restore_newest(small_tree(0)).metadata.step == 2
    copied.save(small_tree(4), metadata_of(4))
    assert sorted(each.name for each in copied.folder.iterdir()) == [f"step-{step:08d}" for step in (1, 2, 4)]


@pytest.mark.parametrize("wrong", [{"keep": 0}, {"keep_best": -1}])
def test_keeping_less_than_nothing_is_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match=f"checkpoint.{next(iter(wrong))}: out of range"):
        CheckpointStore(tmp_path, **wrong)


# Faults of the machine, each for real

# The first save, elsewhere, imports what is imported late: the code that follows may not be able to.
TRY_TO_SAVE = """
CheckpointStore(Path(elsewhere)).save({{"step": jnp.int32(0)}}, metadata_of(0))
{first}
try:
    store.save({{"weights": jax.random.normal(jax.random.key(0), (300, 300))}}, metadata_of(4))
except FlaxcnnError as error:
    print("REFUSED", error)
"""


def try_to_save(folder, elsewhere, first=""):
    return Child(f"elsewhere = {str(elsewhere)!r}" + TRY_TO_SAVE.format(first=first), folder).output()


def assert_refused_in_one_line(printed, store, reason):
    (line,) = printed.splitlines()
    assert line.startswith(f"REFUSED {store.path(4)}: cannot write: {reason}. ")
    assert sorted(each.name for each in store.folder.iterdir()) == [f"step-{step:08d}" for step in (1, 2, 3)]
    restored = store.restore_newest(small_tree(0))
    assert bits_of(restored.state) == bits_of(small_tree(3))
    assert restored.rejected == ()


@pytest.mark.parametrize("limit", [0, 50, 1000, 100_000])
def test_a_limit_on_the_size_of_files_is_told_and_earlier_checkpoints_stay(copied, tmp_path, limit):
    first = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    assert_refused_in_one_line(try_to_save(copied.folder, tmp_path / "elsewhere", first), copied, "File too large")


def test_a_full_disk_is_told_and_earlier_checkpoints_stay(three_checkpoints, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a small disk: {mounted.stderr}")
    try:
        store = CheckpointStore(shutil.copytree(three_checkpoints, disk / "checkpoints"))
        printed = try_to_save(store.folder, tmp_path / "elsewhere")
        assert_refused_in_one_line(printed, store, "No space left on device")
        assert "Make space" in printed
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_folder_that_lost_its_permission_is_told_and_earlier_checkpoints_stay(three_checkpoints):
    with tempfile.TemporaryDirectory() as folder:  # not below pytest's, which nobody else may enter
        os.chmod(folder, 0o755)
        store = CheckpointStore(shutil.copytree(three_checkpoints, Path(folder, "checkpoints")))
        store.folder.chmod(0o555)
        first = "if os.geteuid() == 0: os.setuid(65534)  # root may write anywhere"
        printed = try_to_save(store.folder, Path(folder, "elsewhere"), first)
        assert_refused_in_one_line(printed, store, "Permission denied")
        store.folder.chmod(0o755)


KILLED = """
print("ready", flush=True)
for step in range(1, 1000):
    store.save({"weights": jnp.asarray(np.random.default_rng(step).random((64, 64)))}, metadata_of(step))
    print(step, flush=True)
"""


@pytest.mark.parametrize("seed", range(10))
def test_killed_at_any_instant_a_save_is_whole_or_absent_and_the_earlier_ones_stay(store, seed):
    child = Child(KILLED, store.folder)
    child.read(until=b"ready")
    delay = random.Random(seed).uniform(0, 0.5)
    print(f"seed {seed}: killed after {delay:.3f} s")
    time.sleep(delay)
    os.kill(child.process.pid, signal.SIGKILL)
    child.process.join()
    said = [int(line) for line in child.read().splitlines(keepends=True) if line.endswith("\n")]
    last = said[-1] if said else 0
    steps = store.steps()
    assert (steps[-1] if steps else 0) in (last, last + 1)
    assert len(steps) >= min(last, 3)
    for step in steps:
        assert store.read_metadata(step).step == step
    restored = store.restore_newest({"weights": jnp.zeros((64, 64))})
    if restored:
        assert restored.rejected == ()
        expected = np.random.default_rng(restored.metadata.step).random((64, 64)).astype(np.float32)
        assert np.asarray(restored.state["weights"]).tobytes() == expected.tobytes()
    store.save(small_tree(last + 2), metadata_of(last + 2))
    assert not list(store.folder.glob(".partial-*"))


# Devices

ON_DEVICES = """
import hashlib
from jax.sharding import NamedSharding, PartitionSpec
mesh = jax.make_mesh((devices,), ("data",))
spread, same = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
target = {
    "spread": jax.ShapeDtypeStruct((16, 5), jnp.float32, sharding=spread),
    "same": jax.ShapeDtypeStruct((7,), jnp.bfloat16, sharding=same),
    "step": jax.ShapeDtypeStruct((), jnp.int32, sharding=same),
}
steps = store.steps()
if steps:
    state = store.restore_newest(target).state
else:
    values = np.arange(80, dtype=np.float32).reshape(16, 5) / 3, np.arange(7) / 3, np.int32(9)
    state = {
        name: jax.device_put(jnp.asarray(value, target[name].dtype), target[name].sharding)
        for name, value in zip(("spread", "same", "step"), values)
    }
for name, array in state.items():
    assert array.sharding == target[name].sharding
assert {shard.data.shape for shard in state["spread"].addressable_shards} == {(16 // devices, 5)}
print(*(hashlib.sha256(np.asarray(state[name]).tobytes()).hexdigest() for name in ("spread", "same", "step")))
store.save(state, metadata_of(len(steps) + 1))
"""


def test_a_checkpoint_made_on_8_devices_restores_on_1_and_2_and_on_8_again_without_a_word(store):
    arrays = [
        np.arange(80, dtype=np.float32).reshape(16, 5) / 3,
        (np.arange(7) / 3).astype(np.float32).astype(ml_dtypes.bfloat16),
        np.int32(9),
    ]
    digests = " ".join(hashlib.sha256(array.tobytes()).hexdigest() for array in arrays)
    for devices in (8, 1, 2, 8):
        assert Child(ON_DEVICES, store.folder, devices).output() == digests + "\n"
