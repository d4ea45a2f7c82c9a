"""Whatever ends a run, it goes on to the same bits: real processes, real signals, real damage.

FLAXCNN_KILLS is the number of random kill points for each model: few of one model in `make test`, 30 of each in
`make test-faults`.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from flaxcnn.data import epoch_order

KILLS = int(os.environ.get("FLAXCNN_KILLS", "3"))
BITS = ("weights_sha256", "state_sha256", "metrics_sha256", "test_accuracy", "test_loss")

# Saving as often as this, a run spends about half of its time in saving.
OFTEN = ("--checkpoint.every", "7", "--logging.every", "10", "--logging.test_examples", "100")
MODELS = {
    "paper_cnn": ("--training.batch_size", "20"),
    # batch normalisation, dropout, random crops, and everything else that a recipe can hold
    "wide_resnet10_1": (
        *("--model.name", "wide_resnet10_1", "--model.dropout", "0.2", "--data.validation", "0.1"),
        *("--augmentation.crop_padding", "2", "--augmentation.rotate", "15", "--augmentation.elastic", "1"),
        *("--augmentation.cutout", "4", "--augmentation.mixup", "0.3"),
        *("--optimizer.name", "adamw", "--optimizer.weight_decay", "0.01", "--optimizer.clip_norm", "1"),
        *("--schedule.name", "cosine", "--schedule.warmup_epochs", "1", "--training.label_smoothing", "0.1"),
        *("--training.ema_decay", "0.99", "--training.class_weights", "balanced"),
        *("--training.batch_size", "4", "--training.accumulate", "2", "--checkpoint.keep_best", "validation_loss"),
    ),
}


class Started:
    """The command, as a process that runs."""

    def __init__(self, words, environment):
        self.process = subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
        )

    def wait_for(self, pattern):
        """Read what it prints up to a line that matches."""
        for line in self.process.stdout:
            if re.search(pattern, line):
                return
        raise AssertionError(f"ended without {pattern!r}: {self.process.stderr.read()}")

    def kill(self):
        self.process.kill()
        return self.end()

    def end(self):
        printed, errors = self.process.communicate(timeout=300)
        return self.process.returncode, printed, errors


@pytest.fixture
def start(small_mnist, command_environment, tmp_path):
    """Start a training in a folder below the test's own: `start("run", "--training.steps", 20)`."""

    def run(out, *options, command="train", first=""):
        words = [sys.executable, "-m", "flaxcnn", command]
        if command == "train":
            words += ["--data.source", f"idx:{small_mnist}", "--out"]
        words += [str(tmp_path / out), *map(str, options)]
        if first:
            words = [sys.executable, "-c", f"{first}\nimport os, sys\nos.execv(sys.executable, {words!r})"]
        return Started(words, command_environment)

    return run


@pytest.fixture
def ends(small_mnist, commands, tmp_path):
    """As `start`, where nothing happens to the process: run it, and return its exit code and what it printed."""

    def run(out, *options, command="train", data=small_mnist):
        words = ["train", "--data.source", f"idx:{data}", "--out"] if command == "train" else [command]
        done = commands.run([*words, tmp_path / out, *options], tmp_path)
        return done.returncode, done.stdout, done.stderr

    return run


def ended_well(started):
    return well(started.end())


def well(ended):
    code, printed, errors = ended
    assert code == 0, errors
    return printed, errors


def last_step(saved):
    """The step of the newest checkpoint in a folder; 0 before the first."""
    return max((int(each.name[5:]) for each in saved.glob("step-*")), default=0)


def wait_for_a_checkpoint(saved, after, process):
    """Return once a run has a checkpoint after a step, or has ended."""
    end = time.monotonic() + 300
    while last_step(saved) <= after and process.poll() is None:
        assert time.monotonic() < end, "no checkpoint in 300 s"
        time.sleep(0.001)


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def rows(folder):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in found]


def same_bits(folder, reference):
    for name in BITS:
        assert summary(folder)[name] == summary(reference)[name], name
    assert rows(folder) == rows(reference)


@pytest.fixture(scope="module")
def uninterrupted(small_mnist, commands, tmp_path_factory):
    """The folder of a run that nothing interrupted, for given options; made once for all tests."""
    made = {}

    def run(*options):
        if options not in made:
            folder = tmp_path_factory.mktemp("whole") / "run"
            words = ("train", "--data.source", f"idx:{small_mnist}", "--out", folder, *options)
            done = commands.run(words, folder.parent)
            assert done.returncode == 0, done.stderr
            made[options] = folder
        return made[options]

    return run


@pytest.mark.faults
@pytest.mark.parametrize("model", ["paper_cnn", "wide_resnet10_1"])
def test_killed_at_random_instants_it_ends_with_the_same_bits(model, start, uninterrupted, tmp_path):
    options = (*MODELS[model], *OFTEN, "--training.epochs", 100, "--training.steps", 60 + 15 * KILLS)
    reference = uninterrupted(*options)
    seed = int(os.environ.get("FLAXCNN_KILL_SEED", time.time_ns() % 10**9))
    print(f"FLAXCNN_KILL_SEED={seed}")
    whole = summary(reference)
    window = 20 * (whole["train_seconds"] + whole["save_seconds"]) / whole["steps"]  # of 20 steps and 3 saves
    instants, saved = random.Random(seed), tmp_path / "run" / "checkpoints"
    reached, while_saving = [0], 0
    for _ in range(KILLS):
        if (tmp_path / "run" / "summary.json").exists():
            break
        started = start("run", *options)
        if instants.random() < 0.8:
            started.wait_for("train loss")  # the table's head: the steps begin
            wait_for_a_checkpoint(saved, reached[-1], started.process)
            time.sleep(instants.uniform(0, window))
        else:
            time.sleep(instants.uniform(0, 4))
        code, _, errors = started.kill()
        assert code in (-signal.SIGKILL, 0), errors
        reached.append(last_step(saved))
        while_saving += any(saved.glob(".partial-*"))
    print(f"checkpoint after each kill: {reached[1:]}; killed while saving: {while_saving}")
    if KILLS >= 30:
        assert len(set(reached)) > KILLS / 3, "most kills came before a new checkpoint"
        assert while_saving > 0
    ended_well(start("run", *options))
    same_bits(tmp_path / "run", reference)
    assert not list(saved.glob(".partial*"))


STEPS = ("--training.epochs", 50, "--training.steps", 400, "--checkpoint.every", 50, "--logging.every", 50)


CUT = (
    *("--training.epochs", 200, "--training.steps", 1200, "--training.batch_size", 20, "--checkpoint.every", 1200),
    *("--logging.every", 20, "--logging.test_examples", 50),  # a block ends at each row
)


@pytest.mark.faults
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_soon_with_a_checkpoint_and_the_command_that_goes_on(
    number, exit_code, start, uninterrupted, tmp_path
):
    started = start("run", *STEPS)
    started.wait_for(r"^ +1 +50 ")
    started.process.send_signal(number)
    code, printed, errors = started.end()
    assert (code, errors) == (
        exit_code,
        "flaxcnn: stopping after this block of steps; a second signal ends it at once\n",
    )
    step = int(re.search(r"stopped after step (\d+) of 400; saved the checkpoint of step \1", printed)[1])
    assert step <= 350  # a block of a quarter of a second, and what was trained before the signal was heard
    assert (tmp_path / "run" / "checkpoints" / f"step-{step:08d}").is_dir()
    assert re.search(rf"resume with: .*flaxcnn resume {re.escape(str(tmp_path / 'run'))}\n", printed)
    ended_well(start("run", command="resume"))
    same_bits(tmp_path / "run", uninterrupted(*STEPS))


@pytest.mark.faults
def test_a_second_signal_ends_the_run_at_once_and_loses_nothing_saved(start, uninterrupted, tmp_path):
    started = start("run", *STEPS)
    started.wait_for(r"^ +2 +100 ")
    started.process.send_signal(signal.SIGTERM)
    started.process.send_signal(signal.SIGINT)
    code, printed, _ = started.end()
    assert code in (130, 143)  # by which of the two came second
    assert "stopped after step" not in printed
    assert (tmp_path / "run" / "checkpoints" / "step-00000100").is_dir()
    ended_well(start("run", *STEPS))
    same_bits(tmp_path / "run", uninterrupted(*STEPS))


def cut(started, number):
    """Send a signal once a row of these steps is printed; return the exit code, and what was said."""
    started.wait_for(r"^ +\d+ +\d+ +\d+\.\d+ ")
    started.process.send_signal(number)
    code, printed, errors = started.end()
    assert "saved the checkpoint of step" in printed, errors
    return code, errors


@pytest.mark.faults
def test_a_run_cut_by_warnings_of_a_batch_system_and_a_terminal_has_the_same_bits(start, uninterrupted, tmp_path):
    codes = {"SIGUSR1": 138, "SIGHUP": 129}  # 128 and the number, on Linux
    for name, expected in codes.items():
        code, errors = cut(start("run", *CUT), signal.Signals[name])
        assert code == expected
        assert errors == f"flaxcnn: stopping after this block of steps, as {name} asks\n"
    code, errors = cut(start("run", *CUT), signal.SIGQUIT)
    assert code == 131
    assert errors == "flaxcnn: stopping after this block of steps; a second signal ends it at once\n"
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"  # as nohup does
    started = start("run", *CUT, first=ignoring)
    started.wait_for("train loss")
    started.process.send_signal(signal.SIGHUP)
    ended_well(started)
    same_bits(tmp_path / "run", uninterrupted(*CUT))


@pytest.mark.faults
def test_a_warning_that_comes_again_and_again_does_not_end_the_run_before_it_is_saved(start, tmp_path):
    """As Linux sends SIGXCPU each second from the limit on, and SLURM SIGTERM after SIGUSR1."""
    started = start("run", *STEPS)
    started.wait_for(r"^ +1 +50 ")
    started.process.send_signal(signal.SIGXCPU)
    for line in started.process.stderr:
        assert line == "flaxcnn: stopping after this block of steps, as SIGXCPU asks\n"
        break
    for number in (signal.SIGXCPU, signal.SIGUSR2, signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM):
        started.process.send_signal(number)
    code, printed, _ = started.end()
    assert code == 152
    step = int(re.search(r"saved the checkpoint of step (\d+)", printed)[1])
    assert (tmp_path / "run" / "checkpoints" / f"step-{step:08d}").is_dir()


def flip(path):
    largest = max(
        (each for each in (path / "state").rglob("*") if each.is_file()), key=lambda each: each.stat().st_size
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 4
    largest.write_bytes(content)
    return largest.name


def truncate(path):
    (path / "metadata.json").write_text((path / "metadata.json").read_text()[:-30])
    return "metadata.json"


def remove(path):
    next(path.rglob("manifest.ocdbt")).unlink()
    return "manifest.ocdbt"


def other_schema(path):
    metadata = path / "metadata.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "schema": 99}))
    return "schema"


@pytest.fixture(scope="module")
def half(small_mnist, commands, tmp_path_factory):
    """A run stopped after 200 of its 400 steps, with two checkpoints."""
    folder = tmp_path_factory.mktemp("half") / "run"
    shorter = [each if each != 400 else 200 for each in STEPS]
    done = commands.run(["train", "--data.source", f"idx:{small_mnist}", "--out", folder, *shorter], folder.parent)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.faults
@pytest.mark.parametrize("damage", [flip, truncate, remove, other_schema])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(damage, half, ends, uninterrupted, tmp_path):
    shutil.copytree(half, tmp_path / "run")
    named = damage(tmp_path / "run" / "checkpoints" / "step-00000200")
    printed, errors = well(ends("run", *STEPS))
    assert "resumes after step 150" in printed
    (line,) = errors.splitlines()
    assert "warning: checkpoint not used" in line
    assert "step-00000200" in line
    assert named in line
    same_bits(tmp_path / "run", uninterrupted(*STEPS))


@pytest.mark.faults
def test_no_intact_checkpoint_is_an_error_that_says_why_for_each(half, ends, tmp_path):
    shutil.copytree(half, tmp_path / "run")
    flip(tmp_path / "run" / "checkpoints" / "step-00000200")
    truncate(tmp_path / "run" / "checkpoints" / "step-00000150")
    code, _, errors = ends("run", *STEPS)
    assert code == 2
    (line,) = errors.splitlines()
    for part in ("no intact checkpoint", "step-00000200", "SHA-256", "step-00000150", "metadata.json"):
        assert part in line


@pytest.mark.faults
def test_without_room_the_run_ends_and_says_so_and_goes_on_later(half, start, uninterrupted, tmp_path):
    shutil.copytree(half, tmp_path / "run")
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    code, _, errors = start("run", *STEPS, first=limit).end()
    assert code == 2
    assert "step-00000250: cannot write: File too large" in errors
    saved = sorted(each.name for each in (tmp_path / "run" / "checkpoints").iterdir())
    assert saved == ["step-00000150", "step-00000200"]
    ended_well(start("run", *STEPS))
    same_bits(tmp_path / "run", uninterrupted(*STEPS))


@pytest.mark.faults
def test_without_permission_the_run_ends_and_says_so_and_goes_on_later(half, start, uninterrupted, tmp_path):
    shutil.copytree(half, tmp_path / "run")
    without_root_rights = "import ctypes\nfor right in (1, 2):\n    ctypes.CDLL(None).prctl(24, right, 0, 0, 0)"
    started = start("run", *STEPS, first=without_root_rights)
    started.wait_for("train loss")
    (tmp_path / "run" / "checkpoints").chmod(0o500)
    code, _, errors = started.end()
    assert code == 2
    assert "cannot write: Permission denied" in errors
    (tmp_path / "run" / "checkpoints").chmod(0o700)
    ended_well(start("run", *STEPS))
    same_bits(tmp_path / "run", uninterrupted(*STEPS))


@pytest.mark.faults
def test_a_second_process_is_refused_while_the_first_lives_and_not_after_it_died(start, uninterrupted, tmp_path):
    started = start("run", *STEPS)
    started.wait_for("train loss")
    started.process.send_signal(signal.SIGSTOP)  # it lives, and does not end before the second one looks
    code, _, errors = start("run", *STEPS).end()
    assert code == 2
    assert f"another process is training in this folder; found process {started.process.pid}" in errors
    started.kill()
    ended_well(start("run", *STEPS))
    same_bits(tmp_path / "run", uninterrupted(*STEPS))


@pytest.mark.faults
def test_numbers_that_are_not_finite_stop_the_run_and_are_explained(ends, command_environment, tmp_path):
    options = (*STEPS, "--optimizer.learning_rate", "1e12")
    for _ in range(2):  # going on comes to the same end
        code, printed, errors = ends("run", *options)
        assert code == 1
        found = re.search(r"step (\d+), epoch 0: training diverged; expected finite numbers", errors)
        assert found, errors
        assert errors.endswith(f"flaxcnn replay {tmp_path / 'run' / 'crash'}\n")
    step = json.loads((tmp_path / "run" / "crash" / "step.json").read_text())
    assert step["step"] == int(found[1])
    order = epoch_order(0, 0, 1000)
    assert step["examples"] == order[50 * step["step"] : 50 * (step["step"] + 1)].tolist()
    assert not (tmp_path / "run" / "summary.json").exists()
    code, printed, errors = ends("run/crash", command="replay")
    assert code == 0, errors
    assert f"step         {step['step']}, epoch 0: loss {float(step['loss'])}" in printed
    assert re.search(r"^(activation|gradient) +(conv1|conv2|head)\S* is the first that is not finite", printed, re.M)
    (tmp_path / "run" / "crash" / "step.json").write_text(json.dumps({**step, "examples": [1000] * 50}))
    code, _, errors = ends("run/crash", command="replay")
    assert code == 2
    assert "crash/step.json: damaged at examples; expected 50 indices of 1,000 examples" in errors


@pytest.mark.faults
def test_more_epochs_go_on_from_the_end_and_are_recorded(half, ends, uninterrupted, tmp_path):
    shutil.copytree(half, tmp_path / "run")
    well(ends("run", *STEPS))
    same_bits(tmp_path / "run", uninterrupted(*STEPS))
    changes = json.loads((tmp_path / "run" / "config.json").read_text())["changes"]
    assert changes == [{"step": 200, "field": "training.steps", "before": 200, "now": 400}]
    assert json.loads((tmp_path / "run" / "summary-step-200.json").read_text())["steps"] == 200


@pytest.mark.faults
def test_a_last_update_after_which_nothing_is_finite_ends_in_one_line(ends, tmp_path):
    options = ("--training.steps", 1, "--optimizer.learning_rate", "1e12")
    for _ in range(2):
        code, _, errors = ends("run", *options)
        assert code == 1
        (line,) = errors.splitlines()
        assert "test loss" in line
    assert not (tmp_path / "run" / "summary.json").exists()


def test_fewer_steps_than_were_made_are_refused(half, ends, tmp_path):
    shutil.copytree(half, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    code, _, errors = ends("run", *STEPS, "--training.steps", 120)
    assert code == 2
    assert "this run has made more steps; expected at least 200, found 120" in errors


@pytest.mark.faults
def test_a_complete_run_without_its_checkpoints_is_left_as_it_is(half, ends, tmp_path):
    shutil.copytree(half, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    before = (tmp_path / "run" / "summary.json").read_text()
    printed, _ = well(ends("run", *STEPS, "--training.steps", 200))
    assert "is complete" in printed
    code, _, errors = ends("run", *STEPS)
    assert code == 2
    assert "no checkpoint to resume from" in errors
    assert (tmp_path / "run" / "summary.json").read_text() == before


def test_changed_data_are_refused(half, small_mnist, ends, tmp_path):
    shutil.copytree(half, tmp_path / "run")
    data = shutil.copytree(small_mnist, tmp_path / "data")
    images = bytearray((data / "train-images-idx3-ubyte").read_bytes())
    images[5000] ^= 1
    (data / "train-images-idx3-ubyte").write_bytes(images)
    code, _, errors = ends("run", *STEPS, data=data)
    assert code == 2
    assert "train-images-idx3-ubyte: the data changed since this run" in errors
