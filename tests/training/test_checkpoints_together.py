"""Checkpoints that several processes write together: whole or absent, and the same bits for any number of processes."""

import random
import shutil
import time

import numpy as np
import pytest

from flaxcnn.training.checkpoints import CheckpointStore

pytestmark = pytest.mark.devices

PROGRAM = """
import itertools
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from flaxcnn.training.checkpoints import CheckpointStore, Metadata

def metadata_of(step):
    return Metadata(step, 0, {"index": index}, "", {}, {}, 0, 0.0, 0.0)

def values_of(step):
    return {
        "sharded": np.random.default_rng(step).random((16, 5), np.float32),
        "halves": np.random.default_rng(step).integers(0, 2**16, (8, 16), np.uint16).view(jnp.bfloat16),
        "replicated": np.random.default_rng(step).random((300, 7), np.float32),
        "step": np.int32(step),
    }

def shardings():
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    specs = {"sharded": PartitionSpec("data"), "halves": PartitionSpec(None, "data")}
    return {name: NamedSharding(mesh, specs.get(name, PartitionSpec())) for name in values_of(0)}

def state_of(step):
    return {
        name: jax.make_array_from_callback(value.shape, shardings()[name], lambda part, value=value: value[part])
        for name, value in values_of(step).items()
    }

def target():
    return {
        name: jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=shardings()[name])
        for name, value in values_of(0).items()
    }

def check(state, step):
    for name, value in values_of(step).items():
        assert state[name].sharding == shardings()[name]
        for shard in state[name].addressable_shards:
            assert np.asarray(shard.data).tobytes() == np.asarray(value[shard.index]).tobytes()
    assert len(state["sharded"].addressable_shards) == jax.local_device_count()

def work():
    store = CheckpointStore(Path(folder), keep=2)
    WORK

run(work)
"""


def program(*lines):
    return PROGRAM.replace("WORK", "\n    ".join(lines))


SAVE_TWO = ("store.save(state_of(1), metadata_of(1))", "store.save(state_of(2), metadata_of(2))")


@pytest.fixture(scope="module")
def two_checkpoints(fork, tmp_path_factory):
    """A folder with the checkpoints of steps 1 and 2, saved by four processes; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("two")
    fork.run(program(*SAVE_TWO), 4, folder / "out", folder=str(folder / "checkpoints"))
    return folder / "checkpoints"


@pytest.fixture
def copied(two_checkpoints, tmp_path):
    return shutil.copytree(two_checkpoints, tmp_path / "checkpoints")


def test_a_checkpoint_of_four_processes_is_like_one_of_a_single_process(two_checkpoints):
    store = CheckpointStore(two_checkpoints)
    assert sorted(each.name for each in two_checkpoints.iterdir()) == ["step-00000001", "step-00000002"]
    restored = store.restore_newest(
        {
            "sharded": np.zeros((16, 5), np.float32),
            "halves": np.zeros((8, 16), "bfloat16"),
            "replicated": np.zeros((300, 7), np.float32),
            "step": np.int32(0),
        }
    )
    assert restored.metadata.config == {"index": 0}
    assert restored.rejected == ()
    expected = np.random.default_rng(2).random((16, 5), np.float32)
    assert np.asarray(restored.state["sharded"]).tobytes() == expected.tobytes()


@pytest.mark.parametrize(("count", "devices"), [(4, 1), (2, 1), (2, 4), (1, 1), (1, 8)])
def test_four_processes_checkpoint_restores_bit_for_bit_on_others(fork, copied, tmp_path, count, devices):
    lines = ("restored = store.restore_newest(target())", "check(restored.state, 2)", "print(restored.metadata.step)")
    printed = fork.run(program(*lines), count, tmp_path / "out", devices=devices, folder=str(copied))
    assert printed == ["2\n"] * count


def test_a_checkpoint_of_one_process_restores_on_two_and_is_saved_again_by_them(fork, tmp_path):
    where = {"folder": str(tmp_path / "checkpoints")}
    fork.run(program("store.save(state_of(7), metadata_of(7))"), 1, tmp_path / "out", devices=2, **where)
    on_two = ("state = store.restore_newest(target()).state", "check(state, 7)", "store.save(state, metadata_of(8))")
    fork.run(program(*on_two), 2, tmp_path / "out", **where)
    fork.run(program("check(store.restore(8, target()).state, 7)"), 1, tmp_path / "out", **where)


def test_which_checkpoint_is_intact_is_decided_once_for_all(fork, copied, tmp_path):
    path = max(
        (each for each in (copied / "step-00000002" / "state").rglob("*") if each.is_file()),
        key=lambda each: each.stat().st_size,
    )
    path.write_bytes(path.read_bytes()[:-1])
    lines = ("restored = store.restore_newest(target())", "check(restored.state, 1)", "print(*restored.rejected)")
    first, second = fork.run(program(*lines), 2, tmp_path / "out", folder=str(copied))
    assert first.startswith(f"{path}: truncated")
    assert second == first


@pytest.mark.parametrize("limited", [0, 1])
def test_one_process_that_cannot_write_is_the_same_error_in_all(fork, copied, tmp_path, limited):
    """What another process was still writing is removed by the next save; the limit spares what the processes print."""
    folder = str(copied)
    lines = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)",
        "import resource",
        "_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)",
        "state, failed = state_of(3), None",
        "if index == limited: resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))",
        "try:",
        "    store.save(state, metadata_of(3))",
        "except RunFolderError as error:",
        "    failed = error",
        "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))",
        "raise failed",
    )
    started = fork.start("import signal\n" + program(*lines), 2, tmp_path / "out", folder=folder, limited=limited)
    fork.wait(started)
    assert [each.code for each in started] == [2, 2], [each.err for each in started]
    for each in started:
        (line,) = each.err.splitlines()
        assert line.startswith(f"flaxcnn: {folder}/step-00000003: cannot write: File too large. ")
    assert CheckpointStore(copied).steps() == [1, 2]
    goes_on = ("check(store.restore_newest(target()).state, 2)", "store.save(state_of(3), metadata_of(3))")
    fork.run(program(*goes_on), 1, tmp_path / "out", folder=folder)
    assert sorted(each.name for each in copied.iterdir()) == ["step-00000002", "step-00000003"]


def test_a_folder_that_only_the_first_process_sees_is_told(fork, tmp_path):
    lines = ("own = CheckpointStore(Path(folder) / str(index))", "own.save(state_of(1), metadata_of(1))")
    started = fork.start(program(*lines), 2, tmp_path / "out", folder=str(tmp_path))
    fork.wait(started)
    for each in started:
        assert each.code == 2
        assert "process 1 does not see this folder of process 0. Use a folder on a disk that all" in each.err


SAVE_ON = ("for step in itertools.count(3):", "    store.save(state_of(step), metadata_of(step))", "    at(step)")


@pytest.mark.parametrize(("lost", "seed"), [(0, 0), (1, 1), (0, 2), (1, 3)])
def test_a_process_killed_at_any_instant_of_a_save_leaves_the_earlier_checkpoints(fork, copied, tmp_path, lost, seed):
    folder = str(copied)
    started = fork.start("connections.GRACE_SECONDS = 1.0\n" + program(*SAVE_ON), 2, tmp_path / "out", folder=folder)
    fork.wait_until_at("3", started)
    delay = random.Random(seed).uniform(0, 0.4)
    print(f"seed {seed}: killed after {delay:.3f} s")
    time.sleep(delay)
    started[lost].kill()
    fork.wait(started)
    other = started[1 - lost]
    assert other.code == 1
    (line,) = other.err.splitlines()
    assert line.startswith(f"flaxcnn: process {lost} of 2 was lost")
    said = max(int(line.split()[1]) for each in started for line in each.out.splitlines())
    steps = CheckpointStore(copied).steps()
    assert steps[-1] in (said, said + 1)
    lines = (
        "found = store.restore_newest(target())",
        "check(found.state, found.metadata.step)",
        "print(found.metadata.step, found.rejected)",
    )
    assert fork.run(program(*lines), 1, tmp_path / "out", folder=folder) == [f"{steps[-1]} ()\n"]
