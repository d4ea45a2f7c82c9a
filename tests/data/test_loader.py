"""The loader gives the batches that the seed and the step say, from any step on, and its processes never outlive it."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaxcnn.data import Loader, epoch_order
from flaxcnn.data.images import Rows
from flaxcnn.data.sources.idx import read_idx_images
from flaxcnn.errors import ConfigError, DataError
from tests.children import children, gone
from tests.error_fields import fields

COUNT, BATCH, SEED = 103, 10, 7  # 10 steps an epoch; 3 images of each epoch are in none
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 5, 4, 1), np.uint8)
LABELS = np.arange(COUNT, dtype=np.int32)


def write_idx(path, pixels):
    with path.open("wb") as file:
        file.write(b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in pixels.shape[:3]))
        file.write(pixels.data)


def on_disk(path, pixels=PIXELS):
    write_idx(path, pixels)
    return read_idx_images(path, in_memory=0)[0]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return on_disk(tmp_path_factory.mktemp("idx") / "images")


def visited(total_steps):
    """Which images each step sees: the whole batches of each epoch's order, one after the other."""
    epochs = -(-total_steps // (COUNT // BATCH))
    orders = [epoch_order(SEED, epoch, COUNT)[: COUNT // BATCH * BATCH] for epoch in range(epochs)]
    return np.concatenate([np.zeros(0, np.int32), *orders]).reshape(-1, BATCH)[:total_steps]


def load(images, first_step=0, total_steps=25, chunk_steps=4, **options):
    span = {"first_step": first_step, "total_steps": total_steps, "chunk_steps": chunk_steps}
    return Loader(images, LABELS, seed=SEED, batch_size=BATCH, **span, **options)


def chunks_of(loader, first_step, total_steps, chunk_steps):
    with loader:
        chunks = [loader.next() for _ in range(first_step, total_steps, chunk_steps)]
        with pytest.raises(ValueError, match="steps were given"):
            loader.next()
    return chunks


@st.composite
def spans(draw):
    total = draw(st.integers(0, 35))
    first = draw(st.integers(0, total))
    chunk = draw(st.integers(1, 12))
    low = draw(st.integers(0, BATCH - 1))
    return (first, total, chunk), (low, draw(st.integers(low + 1, BATCH)))


def gives_what_the_seed_and_the_steps_say(images, span, part, **options):
    first, total, chunk_steps = span
    expected = visited(total)[:, part[0] : part[1]]
    chunks = chunks_of(load(images, *span, part=part, **options), *span)
    assert [chunk.first for chunk in chunks] == list(range(first, total, chunk_steps))
    for chunk in chunks:
        steps = expected[chunk.first : chunk.first + chunk_steps]
        assert chunk.steps == len(steps)
        assert (chunk.images.dtype, chunk.targets.dtype) == (np.uint8, np.int32)
        assert chunk.images.shape == (chunk_steps, part[1] - part[0], 5, 4, 1)
        assert chunk.targets.shape == chunk.images.shape[:2]
        np.testing.assert_array_equal(chunk.targets[: chunk.steps], steps)  # an image's label is its place
        np.testing.assert_array_equal(chunk.images[: chunk.steps], PIXELS[steps])
        assert not chunk.targets[chunk.steps :].any()
        assert not chunk.images[chunk.steps :].any()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spans())
def test_any_start_chunk_and_part_give_what_the_seed_and_the_steps_say(stored, span):
    gives_what_the_seed_and_the_steps_say(stored, *span, workers=0)
    gives_what_the_seed_and_the_steps_say(PIXELS, *span)


@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spans(), st.integers(1, 3), st.integers(1, 5))
def test_any_number_of_workers_and_of_chunks_ahead_gives_the_same(stored, span, workers, ahead):
    gives_what_the_seed_and_the_steps_say(stored, *span, workers=workers, ahead=ahead)


def test_a_part_smaller_than_the_workers_are_many_is_read(stored):
    gives_what_the_seed_and_the_steps_say(stored, (3, 9, 1), (4, 5), workers=2)


def test_the_batches_are_those_that_training_takes_from_a_data_set_on_the_device(stored):
    from flaxcnn.training.calendar import StepCalendar

    calendar = StepCalendar(examples=COUNT, batch_size=BATCH, total_steps=25, log_every=5, save_every=5)
    with load(stored, first_step=8, total_steps=14, chunk_steps=6, workers=1) as loader:
        chunk = loader.next()
    for step, labels in zip(range(8, 14), chunk.targets, strict=True):
        np.testing.assert_array_equal(labels, calendar.batch(SEED, step))


def test_rows_of_images_on_disk_are_loaded(stored):
    chosen = np.arange(COUNT)[::-1]
    with load(Rows(stored, chosen), workers=1) as loader:
        chunk = loader.next()
    np.testing.assert_array_equal(chunk.images, PIXELS[chosen][chunk.targets])


def test_chunks_are_the_callers_own(stored):
    with load(stored, ahead=1, workers=1) as loader:
        chunks = [loader.next() for _ in range(5)]
        for chunk in chunks:
            np.testing.assert_array_equal(chunk.images, PIXELS[chunk.targets])
            chunk.images[:] = 1
            chunk.targets[:] = 1
        later = loader.next()
    np.testing.assert_array_equal(later.images, PIXELS[later.targets])


def test_nothing_is_left_behind(stored):
    def held():
        gc.collect()  # what earlier tests left open
        maps = Path("/proc/self/maps").read_text().count("flaxcnn-")
        return children(os.getpid()), shared(), os.listdir("/proc/self/fd"), maps

    def shared():  # by names of ours, since the folder is the whole machine's
        return sorted(name for name in os.listdir("/dev/shm") if name.startswith(("flaxcnn", "psm_")))

    before, threads = held(), threading.active_count()
    loader = load(stored, workers=2)
    assert len(children(os.getpid())) == len(before[0]) + 2
    assert threading.active_count() == threads
    assert shared() == before[1]  # nothing to leave there when this process is killed
    loader.next()
    loader.close()
    loader.close()
    assert held() == before
    with pytest.raises(ValueError, match="the loader is closed"):
        loader.next()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_is_killed_is_one_error_within_ten_chunks(stored, number):
    others = children(os.getpid())
    with load(stored, total_steps=1000, workers=2) as loader:
        loader.next()
        victim = max(set(children(os.getpid())) - set(others))
        os.kill(victim, number)
        with pytest.raises(DataError) as refused:  # noqa: PT012
            for _ in range(10):
                loader.next()
        assert fields(refused.value) == (f"loading worker 2 of 2 (process {victim})", None, f"killed by {number.name}")
        assert "memory" in refused.value.fix
        assert children(os.getpid()) == others
        with pytest.raises(ValueError, match="the loader is closed"):
            loader.next()


def test_a_worker_that_is_killed_before_its_first_image_is_an_error(stored):
    others = children(os.getpid())
    with load(stored, workers=2) as loader:
        os.kill(min(set(children(os.getpid())) - set(others)), signal.SIGKILL)
        with pytest.raises(DataError, match=r"loading worker 1 of 2 .* found killed by SIGKILL"):
            loader.next()


@pytest.mark.parametrize("wait", [False, True])
def test_workers_do_not_answer_the_signals_that_stop_a_run(stored, wait):
    # From the first instant on: a terminal and a batch system send them to all processes of a run.
    others = children(os.getpid())
    with load(stored, workers=2) as loader:
        if wait:
            loader.next()
        for worker in set(children(os.getpid())) - set(others):
            os.kill(worker, signal.SIGINT)
            os.kill(worker, signal.SIGTERM)
        for _ in range(5):
            chunk = loader.next()
            np.testing.assert_array_equal(chunk.images, PIXELS[chunk.targets])


def test_this_process_answers_them_as_before(stored):
    with load(stored, workers=1):
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM}


def test_the_error_of_an_image_is_the_workers_own(tmp_path):
    path = tmp_path / "images"
    images = on_disk(path)
    os.truncate(path, 16 + 20 * 50)
    with load(images, workers=2) as loader, pytest.raises(DataError) as refused:
        loader.next()
    assert fields(refused.value) == (str(path), "the same file until the end", "another size or time of change")


IDLE = "(pathlib.Path(__file__).parent / 'reads').touch()"
BUSY = f"{IDLE}; time.sleep(10**6)"


def wait_for(path, seconds=60):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """Images of a module of the user's whose reading runs this code."""

    def make(code):
        source = f"""
            import os, pathlib, sys, time
            from flaxcnn.data import StoredImages

            class Faulty(StoredImages):
                def read(self, positions_K, out_KHWC):
                    {code}
            """
        (tmp_path / "faulty_images.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "faulty_images", raising=False)
        from faulty_images import Faulty

        return Faulty((COUNT, 5, 4, 1))

    return make


@pytest.mark.parametrize(
    ("code", "found", "fix"),
    [
        ("raise ZeroDivisionError('by zero')", "ZeroDivisionError: by zero", "--debug"),
        ("raise MemoryError", "MemoryError", "fewer workers"),
        ("print('all is lost', file=sys.stderr); os._exit(3)", "exit code 3: all is lost", "once that is fixed"),
        ("os._exit(0)", "exit code 0: it printed nothing", "once that is fixed"),
    ],
)
def test_a_worker_that_fails_says_which_what_and_what_to_do(faulty, code, found, fix):
    with load(faulty(code), workers=1) as loader, pytest.raises(DataError) as refused:
        loader.next()
    assert refused.value.where.startswith("loading worker 1 of 1 (process ")
    assert refused.value.found == found
    assert fix in refused.value.fix
    assert ("ZeroDivisionError: by zero\n" in "".join(getattr(refused.value, "__notes__", []))) == ("Zero" in code)


def test_what_a_decoder_prints_does_no_harm(faulty):
    code = "print('7' * 100_000, flush=True); os.write(1, b'7\\n'); out_KHWC[:] = 5"
    with load(faulty(code), workers=1) as loader:
        assert (loader.next().images == 5).all()


def test_a_worker_that_is_busy_ends_with_the_loader(faulty, tmp_path):
    others = children(os.getpid())
    with load(faulty(BUSY), workers=2):
        wait_for(tmp_path / "reads")
    assert children(os.getpid()) == others


PARENT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
import numpy as np
from flaxcnn.data import Loader
from faulty_images import Faulty
loader = Loader(
    Faulty((50, 2, 2, 1)), np.zeros(50, np.int32), seed=0, batch_size=5, first_step=0, total_steps=99, chunk_steps=9
)
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.parametrize("code", [IDLE, BUSY], ids=["idle", "busy"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent_however_it_dies_and_whatever_they_do(
    tmp_path, faulty, command_environment, number, code
):
    faulty(code)
    environment = {**command_environment, "PYTHONPATH": f"{tmp_path}{os.pathsep}{command_environment['PYTHONPATH']}"}
    words = [sys.executable, "-c", PARENT]
    parent = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with parent:
        assert parent.stdout.readline() == b"ready\n"
        wait_for(tmp_path / "reads")
        workers = children(parent.pid)
        assert len(workers) == 2
        parent.send_signal(number)
    assert gone(workers, seconds=60) == []


def test_a_worker_imports_no_jax(command_environment):
    code = "import sys, flaxcnn.data.workers.worker; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], env=command_environment, capture_output=True, text=True)
    assert not {"jax", "matplotlib", "tensorflow_datasets", "PIL"} & set(found.stdout.split())
    assert "numpy" in found.stdout.split()


LARGER = """
import resource, sys
import numpy as np
from flaxcnn.data import Loader, describe, load, split_validation
from flaxcnn.data.images import IN_MEMORY
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
dataset = load(f"idx:{sys.argv[1]}", in_memory=int(sys.argv[2]) or IN_MEMORY)
train, validation = split_validation(dataset.train, 0.1)
assert len(train) + len(validation) == len(dataset.train)
assert len(describe(dataset)) > 5
steps = len(train) // 50
span = {"seed": 0, "batch_size": 50, "first_step": 0, "total_steps": steps, "chunk_steps": 8}
seen = []
with Loader(train.images, train.targets, **span) as loader:
    while sum(map(len, seen)) < steps:
        chunk = loader.next()
        numbers = chunk.images[: chunk.steps, :, 0, :4, 0].copy().view(np.int32)[..., 0]
        assert (chunk.targets[: chunk.steps] == numbers % 256).all()
        seen.append(numbers)
numbers = np.concatenate(seen).ravel()
assert len(np.unique(numbers)) == len(numbers) == steps * 50
print(len(numbers), dataset.train.images.nbytes)
"""


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """A folder with 288 MiB of training images of 64×64; each begins with its number."""
    folder = tmp_path_factory.mktemp("larger")
    train = np.zeros((73_728, 64, 64, 1), np.uint8)
    train[:, 0, :4, 0] = np.arange(len(train), dtype=np.int32)[:, None].view(np.uint8)
    for name, pixels in (("train", train), ("t10k", train[:256])):
        write_idx(folder / f"{name}-images-idx3-ubyte", pixels)
        labels = (np.arange(len(pixels)) % 256).astype(np.uint8)
        header = b"\0\0\x08\x01" + len(pixels).to_bytes(4, "big")
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    del train
    yield folder
    (folder / "train-images-idx3-ubyte").unlink()  # pytest keeps folders


def test_a_data_set_larger_than_the_memory_it_may_use_is_trained_from(larger, command_environment):
    # All memory counts: the process may not even map the file. OpenBLAS takes some for each of its threads.
    environment = {**command_environment, "OPENBLAS_NUM_THREADS": "1"}
    limit = 224 << 20

    def run(in_memory):
        words = [sys.executable, "-c", LARGER, str(larger), str(in_memory), str(limit)]
        return subprocess.run(words, env=environment, capture_output=True, text=True)

    found = run(0)
    assert found.returncode == 0, found.stderr
    examples, size = map(int, found.stdout.split())
    assert examples > 65_000
    assert size > limit
    assert "too large for the memory" in run(1 << 30).stderr  # that it is a limit


def test_chunks_that_no_memory_holds_are_refused_before_anything_starts(stored):
    others = children(os.getpid())
    with pytest.raises(DataError) as refused:
        load(stored, total_steps=10**15, chunk_steps=10**14, workers=1)
    assert (refused.value.where, refused.value.found) == ("loader", "112,000,000,000,000,000")  # 4 × 10**15 × (20 + 8)
    assert children(os.getpid()) == others


def test_workers_that_cannot_be_started_leave_nothing_behind(stored, monkeypatch):
    gc.collect()  # what earlier tests left open
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(sys, "executable", "/nothing/python")
    with pytest.raises(DataError) as refused:
        load(stored, workers=2)
    assert fields(refused.value) == ("2 loading workers", None, "No such file or directory")
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"batch_size": 104}, ("loader batch_size", "1 to 103", "104")),
        ({"first_step": 26}, ("loader first_step", "0 to 25", "26")),
        ({"chunk_steps": 0}, ("loader chunk_steps", "at least 1", "0")),
        ({"part": (3, 3)}, ("loader part[1]", "4 to 10", "3")),
        ({"part": (0, 11)}, ("loader part[1]", "1 to 10", "11")),
        ({"workers": -1}, ("loader workers", "at least 0", "-1")),
        ({"ahead": 0}, ("loader ahead", "at least 1", "0")),
        ({"seed": -1}, ("seed", f"0 to {2**63 - 1}", "-1")),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_left(stored, option, told):
    others = children(os.getpid())
    span = {
        "seed": 0,
        "batch_size": BATCH,
        "first_step": 0,
        "total_steps": 25,
        "chunk_steps": 4,
        "workers": 1,
        **option,
    }
    with pytest.raises(ConfigError) as refused:
        Loader(stored, LABELS, **span)
    assert fields(refused.value) == told
    assert children(os.getpid()) == others


def test_labels_that_are_not_as_many_are_refused():
    with pytest.raises(DataError) as refused:
        Loader(PIXELS, LABELS[:-1], seed=0, batch_size=1, first_step=0, total_steps=1, chunk_steps=1)
    assert (refused.value.where, refused.value.found) == ("targets", 102)
