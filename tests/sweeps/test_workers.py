"""Several processes of this machine that share a sweep: who is killed takes nothing with it, and none outlives it."""

import os
import signal
import struct
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxcnn.config import Data, Experiment, Logging, Mesh, Training
from flaxcnn.errors import ProcessError
from flaxcnn.sweeps import Float, Random, Sweep
from flaxcnn.sweeps.execution.search import Search
from flaxcnn.sweeps.execution.workers import WorkerError, cores_of, work_in_processes
from tests.sweeps.metrics import ACCURACY
from tests.sweeps.sweep_command import events, kept, start, training

RATES = '{"optimizer.learning_rate": Float(1e-4, 1e-2, log=True)}'
PATIENCE = 240  # seconds


@given(count=st.integers(1, 40), cores=st.sets(st.integers(0, 300), min_size=1, max_size=40).map(sorted))
def test_workers_share_the_cores_evenly_and_leave_none_idle(count, cores):
    parts = [cores_of(index, count, cores) for index in range(count)]
    assert all(parts)
    assert sorted({core for part in parts for core in part}) == cores
    sizes = {len(part) for part in parts}
    assert max(sizes) - min(sizes) <= 1
    shared = Counter(core for part in parts for core in part)
    if count <= len(cores):
        assert set(shared.values()) == {1}
    else:
        assert max(shared.values()) - min(shared.values()) <= 1


@pytest.fixture
def search(small_mnist, tmp_path, command_environment, monkeypatch):
    """Make a search of some trials over the small set, trained one at a time by each of its workers: `search(4)`."""
    monkeypatch.setenv("XDG_CACHE_HOME", command_environment["XDG_CACHE_HOME"])

    def search(trials, steps=100):
        experiment = Experiment(
            data=Data(f"idx:{small_mnist}", validation=0.1),
            training=Training(epochs=99, steps=steps),
            logging=Logging(every=10, test_examples=0),
            mesh=Mesh(data=1),
        )
        sweep = Sweep({"optimizer.learning_rate": Float(1e-4, 1e-2, log=True)}, Random(), trials=trials)
        made = Search("search", sweep, experiment, ACCURACY, tmp_path, f"sqlite:///{tmp_path}/study.db", "map", 1)
        made.open().close()
        return made

    return search


def reporting(folder):
    """The processes that have reported something, the first one first."""
    return list(dict.fromkeys(line["pid"] for line in events(folder) if line["event"] == "reported"))


def never():
    return False


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(holds, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.sweeps
def test_when_one_of_two_is_killed_the_other_trains_its_trial_and_all_others(search, tmp_path):
    killed = []

    def look(compilations):
        if not killed and len(found := reporting(tmp_path)) == 2 and training(tmp_path, found[0], until=150):
            os.kill(found[0], signal.SIGKILL)
            killed.append(found[0])

    worked = work_in_processes(search(4, steps=250), 2, wants_stop=never, look=look)
    assert worked == (True, 1)  # a program of the one that could say so
    trials = kept(tmp_path)
    assert [(number, state) for number, state, *_ in trials] == [(number, "COMPLETE") for number in range(4)]
    complete = [line for line in events(tmp_path) if line["event"] == "complete"]
    assert Counter(line["trial"] for line in complete) == dict.fromkeys(range(4), 1)
    (adopted,) = [line for line in events(tmp_path) if line["event"] == "adopted"]
    assert adopted["pid"] != killed[0]
    assert f"/{killed[0]}/" in adopted["owner"]


@pytest.mark.sweeps
def test_when_all_are_killed_it_is_said_and_the_next_ones_go_on(search, tmp_path):
    made = search(2, steps=1000)
    killed = set()

    def look(compilations):
        if not killed and len(found := reporting(tmp_path)) == 2:
            for pid in found:
                os.kill(pid, signal.SIGKILL)
            killed.update(found)

    with pytest.raises(ProcessError, match="all workers ended before the sweep was done; found exit codes -9, -9"):
        work_in_processes(made, 2, wants_stop=never, look=look)
    work_in_processes(made, 2, wants_stop=never, look=lambda compilations: None)
    assert [(number, state) for number, state, *_ in kept(tmp_path)] == [(0, "COMPLETE"), (1, "COMPLETE")]
    complete = [line["trial"] for line in events(tmp_path) if line["event"] == "complete"]
    assert sorted(complete) == [0, 1]


@pytest.mark.sweeps
def test_asked_to_stop_they_leave_their_trials_to_whoever_comes_next(search, tmp_path):
    made = search(2, steps=1500)

    def both_report():
        return len(reporting(tmp_path)) == 2

    worked = work_in_processes(made, 2, wants_stop=both_report, look=lambda compilations: None)
    assert not worked.done
    assert sorted(line["trial"] for line in events(tmp_path) if line["event"] == "released") == [0, 1]
    assert not any(is_alive(pid) for pid in reporting(tmp_path))
    assert sorted(each.name for each in (tmp_path / "trials").iterdir()) == ["00000", "00001"]


@pytest.mark.slow
def test_an_error_of_a_worker_is_that_of_all_in_one_line_and_no_worker_is_left(search, tmp_path):
    made = search(2)
    (tmp_path / "environment.json").write_text('{"data_sha256": {}}')  # of a sweep on other data
    with pytest.raises(WorkerError, match=r"digest|data") as caught:
        work_in_processes(made, 2, wants_stop=never, look=lambda compilations: None)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert kept(tmp_path) == []


@pytest.mark.sweeps
def test_the_command_shows_a_workers_error_once(flaxcnn, sweep_file, small_mnist, tmp_path):
    """The labels of the training images change between two sessions, which only the workers see."""
    data = tmp_path / "data"
    data.mkdir()
    for file in small_mnist.iterdir():
        (data / file.name).write_bytes(file.read_bytes())
    path = sweep_file(f"sweep = Sweep(space={RATES}, trials=1)")
    path.write_text(path.read_text().replace(str(small_mnist), str(data)))
    words = ("sweep", path, "--out", "out", "--executor", "processes", "--workers", 2)
    first = flaxcnn(*words)
    assert first.returncode == 0, first.stderr
    labels = (data / "train-labels-idx1-ubyte").read_bytes()
    (data / "train-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 1000) + labels[8:][::-1])
    refused = flaxcnn(*words, "--trials", 3)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "Traceback" not in refused.stderr
    assert refused.stderr.count("train-labels") == 1
    assert len(kept(tmp_path / "out")) == 1


@pytest.fixture
def orphans(command_environment, sweep_file, tmp_path):
    """Start the command with two workers, kill it alone once both are amid a trial, and wait for the workers to end.

    Returns:
        Its words, and what was written to its standard error.
    """

    def orphans():
        path = sweep_file(f"sweep = Sweep(space={RATES}, trials=2)", epochs=20)
        words = (path, "--out", "out", "--executor", "processes", "--workers", 2)
        process = start(command_environment, tmp_path, *words)
        workers = []
        try:
            wait_until(lambda: len(reporting(tmp_path / "out")) == 2)
            workers = reporting(tmp_path / "out")
            assert process.pid not in workers
            os.kill(process.pid, signal.SIGKILL)
            wait_until(lambda: not any(map(is_alive, workers)), seconds=30)
        finally:
            for pid in filter(is_alive, [process.pid, *workers]):
                os.kill(pid, signal.SIGKILL)
        return words, process.communicate(timeout=60)[1]

    return orphans


@pytest.mark.sweeps
def test_when_the_command_itself_is_killed_its_workers_save_and_end(orphans, flaxcnn, tmp_path):
    words, _ = orphans()
    released = [line["trial"] for line in events(tmp_path / "out") if line["event"] == "released"]
    assert sorted(released) == [0, 1]
    again = flaxcnn("sweep", *words)
    assert again.returncode == 0, again.stderr
    assert [state for _, state, *_ in kept(tmp_path / "out")] == ["COMPLETE"] * 2


@pytest.mark.sweeps
def test_workers_whose_command_was_killed_end_without_a_traceback(orphans):
    _, errors = orphans()
    assert "Traceback" not in errors
