"""A run says and records which kernels it computes with, and whoever goes on with others is told."""

import json
import shutil
import subprocess
import sys

import pytest

from flaxcnn.kernels import library

needs_onednn = pytest.mark.skipif(not library.available(), reason=f"convolutions run on XLA here: {library.why_not()}")


@pytest.fixture(scope="module")
def xla_run(small_mnist, command_environment, tmp_path_factory):
    """The folder of a run of 8 steps on XLA, and what its command printed."""
    folder = tmp_path_factory.mktemp("on-xla") / "run"
    done = subprocess.run(
        [sys.executable, "-m", "flaxcnn", "train", "--out", str(folder), *words(small_mnist, 8)],
        env={**command_environment, "FLAXCNN_KERNELS": "xla"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder, done.stdout


def words(small_mnist, steps):
    options = ("--training.batch_size", "20", "--logging.every", "4", "--logging.test_examples", "100")
    return ("--data.source", f"idx:{small_mnist}", "--training.steps", str(steps), *options)


@pytest.fixture
def copied(xla_run, tmp_path):
    return shutil.copytree(xla_run[0], tmp_path / "run")


def recorded(folder):
    return json.loads((folder / "environment.json").read_text())


def test_a_run_on_xla_says_and_records_it(xla_run):
    folder, printed = xla_run
    first = printed.splitlines()[0]
    assert first.startswith("paper_mnist: paper_cnn, 28,938 parameters, on cpu (")
    assert first.endswith(", XLA)")
    assert "convolutions run on XLA" not in printed  # it was asked for
    assert recorded(folder)["hardware"]["kernels"] == "XLA"
    assert recorded(folder)["device"].endswith(", XLA)")


@pytest.mark.slow
@needs_onednn
def test_a_run_that_has_no_library_says_why_once(flaxcnn, small_mnist, tmp_path):
    done = flaxcnn("train", *words(small_mnist, 4), "--out", "run", env={"FLAXCNN_KERNELS_FOLDER": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")
    said = [line for line in done.stdout.splitlines() if "run on XLA" in line]
    why = "this installation has no compiled kernels; install a C++ compiler and install flaxcnn again"
    assert said == [f"  kernels convolutions run on XLA: {why}"]


@needs_onednn
def test_a_run_on_onednn_says_and_records_it_without_a_line_more(tiny_run, commands, small_mnist, tmp_path):
    version = library.describe().partition(",")[0]
    assert recorded(tiny_run)["hardware"]["kernels"] == library.describe()
    done = commands.run(["train", *words(small_mnist, 4), "--out", "run"], tmp_path)
    assert done.stdout.splitlines()[0].endswith(f", {version})")
    assert "run on XLA" not in done.stdout


@pytest.mark.slow
@needs_onednn
def test_a_run_on_xla_that_goes_on_with_onednn_warns_and_records_it(copied, commands, small_mnist):
    done = commands.run(["train", *words(small_mnist, 16), "--out", copied], copied.parent)
    assert done.returncode == 0, done.stderr
    assert "resumes after step 8" in done.stdout
    assert done.stderr == (
        f"flaxcnn: warning: this run was trained with kernels XLA, and continues with {library.describe()}: "
        "results may differ in the last bits from an uninterrupted run\n"
    )
    now = recorded(copied)
    assert now["hardware"]["kernels"] == "XLA"
    assert [each["hardware"]["kernels"] for each in now["resumed"]] == [library.describe()]
    assert commands.run(["evaluate", copied], copied.parent).returncode == 0  # the last session's kernels


@pytest.mark.slow
def test_evaluate_names_the_kernels_where_a_number_is_not_the_recorded_one(copied, commands, flaxcnn):
    summary = json.loads((copied / "summary.json").read_text())
    before = summary["test_loss"]
    (copied / "summary.json").write_text(json.dumps({**summary, "test_loss": 2 * before}))
    alike = flaxcnn("evaluate", copied, env={"FLAXCNN_KERNELS": "xla"})
    assert (alike.returncode, alike.stderr) == (1, "")
    assert f"(summary.json says {2 * before})" in alike.stdout
    other = commands.run(["evaluate", copied], copied.parent)
    assert other.returncode == 1
    said = (
        f"flaxcnn: this run was trained with kernels XLA, and evaluated with {library.describe()}: "
        "numbers may differ in the last bits\n"
    )
    assert other.stderr == (said if library.available() else "")
    assert f"(summary.json says {2 * before})" in other.stdout


@pytest.mark.parametrize(
    ("kernels", "said"),
    [
        ("nonsense", 'FLAXCNN_KERNELS: unknown kernels; expected "xla" or "onednn", found nonsense'),
        (
            "onednn",
            "FLAXCNN_KERNELS: no native kernels; expected what onednn needs, found this installation has no compiled "
            "kernels; install a C++ compiler and install flaxcnn again",
        ),
    ],
)
def test_kernels_that_there_are_not_are_refused_in_a_line(kernels, said, flaxcnn, tmp_path):
    environment = {"FLAXCNN_KERNELS": kernels, "FLAXCNN_KERNELS_FOLDER": str(tmp_path)}
    done = flaxcnn("train", "--training.steps", "4", "--out", "run", env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"flaxcnn: {said}\n")
    assert not (tmp_path / "run").exists()
