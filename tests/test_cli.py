"""A user's mistake through the real command: one line on stderr, exit code 2, nothing overwritten, no traceback."""

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from flaxcnn import __version__
from tests.many_commands import answers


def refused(done, *parts):
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("flaxcnn: ")
    for part in parts:
        assert str(part) in lines[0]


def test_help_imports_nothing_that_takes_long(command_environment):
    program = """
import json, sys
from flaxcnn.__main__ import main
code = main(["--help"])
print(json.dumps([code, *{name.partition(".")[0] for name in sys.modules}]), file=sys.stderr)
"""
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, env=command_environment, capture_output=True, text=True, timeout=60)
    code, *imported = json.loads(done.stderr)
    assert code == 0
    assert {"train", "evaluate", "data", "contract"} <= set(done.stdout.split())
    heavy = {"jax", "flax", "optax", "orbax", "scipy", "matplotlib", "PIL", "optuna", "tensorflow_datasets", "rich"}
    assert not heavy & set(imported)
    (same,) = answers(command_environment, None, [["help"]])
    assert same["printed"] == done.stdout


def test_an_interrupt_that_the_garbage_collector_swallows_ends_the_command(command_environment, tmp_path):
    """As JAX's hook does, whatever Ctrl-C raises within a callback of the collector is printed and ignored."""
    program = """
import gc, signal, sys
from flaxcnn.__main__ import main

def interrupted(phase, info):
    if "jax" in sys.modules:
        gc.callbacks.remove(interrupted)
        signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in what runs in the background
gc.callbacks.append(interrupted)
sys.exit(main(["train", "--training.epochs", "1000", "--out", "run"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=command_environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr == "flaxcnn: interrupted; saved files are kept\n"


def test_the_version_is_printed(flaxcnn):
    assert flaxcnn("--version").stdout == f"flaxcnn {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["trian"], ["trian: unknown command", "Did you mean 'train'?"]),
        (["train", "paper_minst"], ["paper_minst: unknown config", "Did you mean 'paper_mnist'?"]),
        (["train", "gone.py"], ["gone.py: no such config file", "paper_mnist"]),
        (["train", "--training.batchsize", "5"], ["--training.batchsize: unknown option", "'--training.batch_size'"]),
        (["train", "--training.batch_size", "0"], ["training.batch_size: out of range", "at least 1", "found 0"]),
        (["train", "--training.batch_size", "many"], ["--training.batch_size: wrong type", "whole number", "'many'"]),
        (["train", "--model.name", "paper_cn"], ["unknown model 'paper_cn'", "Did you mean 'paper_cnn'?"]),
        (["train", "--data.source", "mnits"], ["mnits", "mnist"]),
        (["train", "--data.source", "idx:nowhere"], ["nowhere"]),
        (["train", "--training.batch_size", "60001"], ["batch larger than the data", "60,000", "found 60001"]),
        (["train", "--training.steps", "2", "paper_minst"], ["paper_minst: unknown config"]),
        (["train", "-o", "x"], ["-o: unknown option", "two dashes"]),
        (["--verison"], ["--verison: unknown option", "Did you mean '--version'?"]),
        (
            ["train", "--batch-size", "auto", "--training.accumulate", "0"],
            ["training.accumulate: out of range", "found 0"],
        ),
        (
            ["sweep", "--batch-size", "auto", "--executor", "vmap"],
            ["--batch_size auto: ", "--executor map"],
        ),
        (["sweep", "--batch-size", "auto", "--executor", "processes"], ["--batch_size auto: "]),
        (["resume"], ["RUN is missing", "flaxcnn resume --help"]),
        (["evaluate", "nowhere"], ["nowhere: no such run folder"]),
        (["contract", "my_models.py"], ["my_models.py: not the place of a module", "FILE.py:NAME"]),
        (["data", "idx:nowhere"], ["nowhere"]),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(flaxcnn, tmp_path, arguments, parts):
    refused(flaxcnn(*arguments), *parts)
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(flaxcnn):
    done = flaxcnn("train", "--data.source", "mnits", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_a_damaged_data_file_is_named(flaxcnn, small_mnist, tmp_path):
    shutil.copytree(small_mnist, tmp_path / "data")
    labels = tmp_path / "data" / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1])
    refused(
        flaxcnn("train", "--data.source", "idx:data", "--out", "run"), "t10k-labels-idx1-ubyte", "expected", "found"
    )
    assert not (tmp_path / "run").exists()


def test_a_missing_data_file_is_named(flaxcnn, small_mnist, tmp_path):
    shutil.copytree(small_mnist, tmp_path / "data")
    (tmp_path / "data" / "train-images-idx3-ubyte").unlink()
    refused(flaxcnn("train", "--data.source", "idx:data"), "train-images-idx3-ubyte")


def test_images_too_small_for_the_model_are_refused_before_anything_is_written(flaxcnn, tmp_path):
    (tmp_path / "data").mkdir()
    for split in ("train", "t10k"):
        images = struct.pack(">4I", 0x803, 60, 3, 3) + bytes(60 * 9)
        (tmp_path / "data" / f"{split}-images-idx3-ubyte").write_bytes(images)
        (tmp_path / "data" / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 60) + bytes(60))
    refused(
        flaxcnn("train", "--data.source", "idx:data", "--out", "run"), "images too small", "at least 4", "found 3×3"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_closed_pipe_ends_the_output_and_not_the_run(command_environment, small_mnist, tmp_path):
    words = [sys.executable, "-m", "flaxcnn", "train", "--data.source", f"idx:{small_mnist}", "--training.steps", "20"]
    with subprocess.Popen(
        [*words, "--logging.every", "5", "--out", str(tmp_path / "run")],
        env=command_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=120) == 0
    assert errors == ""
    assert (tmp_path / "run" / "summary.json").is_file()


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.slow
def test_a_folder_that_holds_another_run_is_refused_and_kept(flaxcnn, small_mnist, tmp_path):
    words = ("train", "--data.source", f"idx:{small_mnist}", "--training.steps", "2", "--out", "run")
    assert flaxcnn(*words).returncode == 0
    before = files_of(tmp_path / "run")
    done = flaxcnn(*words, "--training.seed", "1", "--optimizer.learning_rate", "0.1")
    refused(done, "run: holds a run with another config", "training.seed 0", "optimizer.learning_rate 0.001")
    assert files_of(tmp_path / "run") == before
    done = flaxcnn(*words)
    assert (done.returncode, done.stdout) == (0, "run is complete: 2 steps; nothing to do\n")
    assert files_of(tmp_path / "run") == before


def test_a_folder_that_holds_something_else_is_refused_and_kept(flaxcnn, small_mnist, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("precious")
    refused(flaxcnn("train", "--data.source", f"idx:{small_mnist}", "--out", "run"), "run: holds files but no run")
    assert [(each.name, each.read_text()) for each in (tmp_path / "run").iterdir()] == [("thesis.tex", "precious")]


# Root may write where permissions forbid it; other users don't have the right that is given up here.
WITHOUT_ROOT_RIGHTS = """
import ctypes
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
"""

SMALL_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # bytes; the state needs 350,000
"""


def test_a_folder_without_permission_is_named(flaxcnn, small_mnist, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    done = flaxcnn("train", "--data.source", f"idx:{small_mnist}", "--out", "locked/run", first=WITHOUT_ROOT_RIGHTS)
    refused(done, "locked/run: cannot write: Permission denied", "--out")


@pytest.mark.slow
def test_a_complete_run_where_nothing_may_be_written_is_advised_to_be_copied(flaxcnn, small_mnist, tmp_path):
    words = ("train", "--data.source", f"idx:{small_mnist}", "--training.steps", "2", "--out", "run")
    assert flaxcnn(*words).returncode == 0
    (tmp_path / "run" / ".lock").chmod(0o400)
    (tmp_path / "run").chmod(0o500)
    done = flaxcnn("resume", "run", first=WITHOUT_ROOT_RIGHTS)
    refused(done, "run/.lock: cannot write", "Copy the run to a folder that you may write to and resume the copy")
    assert "--out" not in done.stderr


def test_a_folder_that_may_not_be_entered_is_named(command_environment, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o000)
    commands = [
        ["train", "--out", "closed/run"],
        ["train", "--batch-size", "auto", "--out", "closed/run"],
        ["train", "closed/mine.py"],
        ["lr-find", "closed/mine.py"],
        ["evaluate", "closed/run"],
        ["resume", "closed/run"],
    ]
    for each in answers(command_environment, tmp_path, commands, first=WITHOUT_ROOT_RIGHTS):
        assert each["code"] == 2, each
        (line,) = each["said"].splitlines()
        assert line.startswith("flaxcnn: closed/"), line
        assert "ermission denied" in line


@pytest.mark.slow
def test_no_room_for_a_file_is_named(flaxcnn, small_mnist, tmp_path):
    words = ("train", "--data.source", f"idx:{small_mnist}", "--out", "run", "--training.steps", "2")
    refused(flaxcnn(*words, first=SMALL_FILES), "step-00000002: cannot write: File too large")
    assert (tmp_path / "run" / "metrics.jsonl").is_file()
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    assert not (tmp_path / "run" / "summary.json").exists()


def test_train_py_is_the_same_command_from_any_folder(command_environment, tmp_path):
    door = Path(__file__).parents[1] / "train.py"
    environment = {name: value for name, value in command_environment.items() if name != "PYTHONPATH"}
    words = [sys.executable, str(door), "--training.batch_size", "0"]
    refused(
        subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60),
        "training.batch_size: out of range",
    )


@pytest.mark.slow
def test_data_and_train_warn_of_classes_without_an_example_in_one_line(flaxcnn, tmp_path):
    for split in ("train", "t10k"):
        labels = bytes(1 + number % 26 for number in range(52))  # as EMNIST's letters have them
        (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 52, 8, 8) + bytes(52 * 64))
        (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 52) + labels)
    told = "flaxcnn: no training image of 1 of 27 classes (0), no test image of 1 (0)"
    shown = flaxcnn("data", "idx:.", "--no_duplicates")
    assert (shown.returncode, shown.stderr.splitlines()) == (0, [told])
    trained = flaxcnn("train", "--data.source", "idx:.", "--out", "run")
    assert trained.returncode == 0
    assert trained.stderr.splitlines() == [f"{told}: a class without examples is neither learnt nor measured"]


def test_no_learning_rate_is_looked_for_where_there_is_one_class(flaxcnn, tmp_path):
    for split in ("train", "t10k"):
        (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 60, 8, 8) + bytes(60 * 64))
        (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 60) + bytes(60))
    found = flaxcnn("lr-find", "--data.source", "idx:.")
    assert found.returncode == 2
    (line,) = found.stderr.splitlines()
    assert "no learning rate to find: all training images are of one class; expected images of two classes" in line
