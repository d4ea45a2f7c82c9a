"""A run in two and in four real processes on this machine, which talk to each other over its loopback."""

import contextlib
import json
import signal
import subprocess
import sys
import time

import pytest

from tests.many_processes import held_port, without_gloo

pytestmark = pytest.mark.devices

RATE = "1e-4"  # at which losses stay within rounding for a hundred steps: tests/training/on_eight_devices.py
SECONDS = 60  # within which all end when one is lost


@pytest.fixture
def start(command_environment, small_mnist, tmp_path):
    """Start a run in several processes: `start(2, "train", "--out", "run")`; whatever is left of it is killed."""
    started, ports = [], contextlib.ExitStack()

    def start_all(count, *words, epochs=4, rate=RATE):
        address = f"127.0.0.1:{ports.enter_context(held_port())}"
        if words[0] == "train":
            words = (
                *words,
                *("--data.source", f"idx:{small_mnist}", "--optimizer.learning_rate", rate),
                *("--training.epochs", str(epochs), "--training.batch_size", "40", "--logging.every", "10"),
            )
        processes = []
        for index in range(count):
            where = (
                "--processes.coordinator",
                address,
                "--processes.count",
                str(count),
                "--processes.index",
                str(index),
            )
            # Files in place of pipes: nobody reads while the processes run.
            out, err = (tmp_path / f"{len(started)}-{index}.{name}" for name in ("out", "err"))
            command = [sys.executable, "-m", "flaxcnn", *words, *(where if count > 1 else ())]
            with out.open("w") as stdout, err.open("w") as stderr:
                process = subprocess.Popen(command, cwd=tmp_path, env=command_environment, stdout=stdout, stderr=stderr)
            process.out, process.err = out, err
            processes.append(process)
        started.extend(processes)
        return processes

    with ports:
        yield start_all
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def ended(processes, seconds=240):
    """Wait for all, and return their exit codes, what they printed and what they complained of."""
    codes = [process.wait(timeout=seconds) for process in processes]
    printed = [without_gloo(each.out.read_text()) for each in processes]
    return codes, printed, [without_gloo(each.err.read_text()) for each in processes]


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def numbers(folder, name):
    return [row[name] for row in rows(folder)]


def wait_for_row(folder, count, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (folder / "metrics.jsonl").exists() and len(rows(folder)) >= count:
            return
        time.sleep(0.05)
    raise AssertionError("no such row in time")


@pytest.fixture(scope="module")
def alone(command_environment, small_mnist, tmp_path_factory):
    """The same run in one process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    words = [
        *(sys.executable, "-m", "flaxcnn", "train", "--out", str(folder), "--data.source", f"idx:{small_mnist}"),
        *("--optimizer.learning_rate", RATE, "--training.epochs", "4", "--training.batch_size", "40"),
        *("--logging.every", "10"),
    ]
    subprocess.run(words, env=command_environment, check=True, capture_output=True, timeout=240)
    return folder


@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_give_the_losses_of_one_and_the_first_one_writes(
    start, alone, command_environment, tmp_path, count
):
    codes, printed, complaints = ended(start(count, "train", "--out", "run"))
    assert codes == [0] * count, complaints
    assert numbers(tmp_path / "run", "train_loss") == pytest.approx(numbers(alone, "train_loss"), abs=1e-5)
    assert numbers(tmp_path / "run", "test_accuracy") == pytest.approx(numbers(alone, "test_accuracy"), abs=0.004)
    assert "test accuracy" in printed[0]
    assert f"{count} processes" in printed[0]
    assert printed[1:] == [""] * (count - 1)
    assert complaints == [""] * count
    names = {each.name for each in (tmp_path / "run").iterdir()}
    assert names == {each.name for each in alone.iterdir()}
    evaluated = subprocess.run(
        [sys.executable, "-m", "flaxcnn", "evaluate", str(tmp_path / "run")],
        env=command_environment,
        capture_output=True,
        text=True,
    )
    assert "test_accuracy " in evaluated.stdout, evaluated.stderr


def test_each_process_streams_its_share_to_the_same_bits(start, tmp_path):
    resident = ended(start(2, "train", "--out", "resident", epochs=2))
    streamed = ended(start(2, "train", "--out", "streamed", "--data.device_memory", "0", epochs=2))
    assert resident[0] == streamed[0] == [0, 0], (resident[2], streamed[2])
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("resident", "streamed")]
    for name in ("weights_sha256", "state_sha256", "metrics_sha256", "test_loss"):
        assert summaries[0][name] == summaries[1][name]


@pytest.mark.parametrize("lost", [0, 3])
def test_one_of_four_is_killed_and_the_others_end_and_the_run_goes_on_with_fewer(start, alone, tmp_path, lost):
    folder = tmp_path / "run"
    words = ("train", "--out", "run", "--checkpoint.every", "15")
    processes = start(4, *words)
    wait_for_row(folder, 3)
    processes[lost].send_signal(signal.SIGKILL)
    codes, _, complaints = ended(processes, SECONDS)
    assert codes.pop(lost) == -signal.SIGKILL
    assert 0 not in codes
    complaints.pop(lost)
    for complaint in complaints:
        assert len(complaint.splitlines()) == 1, complaint
        assert complaint.startswith("flaxcnn: ")
        assert f"process {lost}" in complaint
    codes, printed, complaints = ended(start(2, *words))
    assert codes == [0, 0], complaints
    assert "resumes after step" in printed[0]
    assert "results may differ" in complaints[0]  # another number of processes
    whole = ended(start(1, *words[:2], "whole", *words[3:]))
    assert whole[0] == [0], whole[2]
    assert numbers(folder, "train_loss") == pytest.approx(numbers(tmp_path / "whole", "train_loss"), abs=1e-5)


def test_a_signal_to_one_stops_all_and_one_alone_goes_on(start, tmp_path):
    processes = start(2, "train", "--out", "run", epochs=400)
    wait_for_row(tmp_path / "run", 3)
    processes[1].send_signal(signal.SIGTERM)
    codes, printed, _ = ended(processes, SECONDS)
    assert codes == [143, 143]
    assert "resume with" in printed[0]
    done = len(rows(tmp_path / "run"))
    steps = str(10 * done + 20)
    codes, printed, complaints = ended(start(1, "train", "--out", "run", "--training.steps", steps, epochs=400))
    assert codes == [0], complaints
    assert "resumes after step" in printed[0]
    assert numbers(tmp_path / "run", "step") == list(range(0, int(steps), 10))


def test_a_mistake_ends_all_with_its_line(start, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    codes, printed, complaints = ended(start(2, "train", "--out", "taken"), SECONDS)
    assert codes == [2, 2]
    assert printed == ["", ""]
    assert all("holds files but no run" in complaint for complaint in complaints)
    assert [each.name for each in (tmp_path / "taken").iterdir()] == ["thesis.txt"]


def test_a_training_that_diverges_ends_all_and_leaves_its_crash(start, command_environment, tmp_path):
    codes, _, complaints = ended(start(2, "train", "--out", "run", rate="1e12"))
    assert codes == [1, 1]
    assert all("training diverged" in complaint for complaint in complaints)
    replay = [sys.executable, "-m", "flaxcnn", "replay", str(tmp_path / "run" / "crash")]
    found = subprocess.run(replay, env=command_environment, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    assert "is the first that is not finite" in found.stdout
