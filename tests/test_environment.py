"""Whatever a user's shell, terminal and settings say, a healthy run has the same bits, or is refused in a line."""

import json
import os
import shutil
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from flaxcnn.files import sync
from flaxcnn.keys import Purpose, key_for
from flaxcnn.pictures import PictureError, drawn
from flaxcnn.runs.folder.environment import environment
from flaxcnn.tasks.classification.pictures import draw_confusion
from flaxcnn.terminal import _Output
from tests.conftest import CHECKOUT

pytestmark = pytest.mark.faults

BITS = ("weights_sha256", "state_sha256", "metrics_sha256")
PICTURES = ("curves.png", "confusion.png", "mistakes.png", "augmented.png")
NUMBERS = {
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_RANDOM_SEED_OFFSET": "5",
    "JAX_ENABLE_X64": "1",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
}
DEBUGGING = {
    "JAX_DEBUG_NANS": "1",
    "JAX_DEBUG_INFS": "1",
    "JAX_DISABLE_JIT": "1",
    "JAX_TRANSFER_GUARD": "disallow",
}
NO_FSYNC = """
#include <errno.h>
int fsync(int descriptor) { errno = EINVAL; return -1; }
int fdatasync(int descriptor) { errno = EINVAL; return -1; }
"""


@pytest.fixture(scope="module")
def train(small_mnist, command_environment, tmp_path_factory):
    """Train a few steps under an environment, by a shell that redirects what is printed; give the run and the end."""

    def run(redirected="", **more):
        folder = tmp_path_factory.mktemp("environment")
        words = [
            *(sys.executable, "-m", "flaxcnn", "train", "--data.source", f"idx:{small_mnist}", "--out", "run"),
            *("--training.steps", "8", "--training.batch_size", "20", "--logging.every", "4"),
            *("--augmentation.shift", "1"),
        ]
        shell = ["sh", "-c", f'exec "$@" {redirected}', "sh", *words]
        variables = {**command_environment, **more}
        done = subprocess.run(shell, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)
        return folder / "run", done

    return run


@pytest.fixture(scope="module")
def reference(train):
    folder, done = train()
    assert done.returncode == 0, done.stderr
    return folder


def same_run(folder, reference, done):
    assert done.returncode == 0, done.stderr
    ours, theirs = (json.loads((each / "summary.json").read_text()) for each in (folder, reference))
    assert {name: ours[name] for name in BITS} == {name: theirs[name] for name in BITS}


@pytest.mark.parametrize("redirected", [">/dev/full", ">/dev/full 2>/dev/full", ">&- 2>&- <&-"])
def test_a_run_is_trained_and_saved_whatever_happens_to_what_it_prints(train, reference, redirected):
    folder, done = train(redirected)
    same_run(folder, reference, done)
    warned = "flaxcnn: warning: standard output: cannot write: No space left on device; nothing else is lost\n"
    assert done.stderr == (warned if redirected == ">/dev/full" else "")
    for name in ("metrics.jsonl", "config.json", "environment.json"):  # none of them got the number 1, and the table
        assert "test accuracy " not in (folder / name).read_text()


def test_a_command_whose_answer_is_lost_says_so(flaxcnn, command_environment, tmp_path):
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "flaxcnn", "--help"]
        done = subprocess.run(words, env=command_environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("flaxcnn: standard output: cannot write: No space left on device.")
    assert done.stderr.count("\n") == 1


def test_a_pipe_that_does_not_wait_gets_every_byte():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    content = np.random.default_rng(0).bytes(1_000_000)  # more than a pipe holds

    def write():
        assert _Output(writer).write(content) == len(content)
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    with open(reader, "rb") as file:
        assert file.read() == content
    thread.join()


@pytest.mark.parametrize("columns", ["1", "0", "²", "-5", "99999999999", "wide"])
def test_the_help_fits_any_terminal(flaxcnn, columns):
    done = flaxcnn("compare", "--help", env={"COLUMNS": columns, "TERM": "dumb"})
    assert done.returncode == 0
    assert "RUN" in done.stdout.upper()


def test_with_ascii_and_without_docstrings_and_assertions_nothing_is_missing(train, reference, flaxcnn):
    variables = {"PYTHONIOENCODING": "ascii", "PYTHONOPTIMIZE": "2"}
    folder, done = train(**variables)
    same_run(folder, reference, done)
    assert "images of 28x28x1, 10 classes" in done.stdout
    helped = flaxcnn("--help", env=variables)
    assert helped.returncode == 0
    assert helped.stdout == flaxcnn("--help").stdout
    assert "Folder of a finished run." in " ".join(flaxcnn("evaluate", "--help", env=variables).stdout.split())


@pytest.mark.parametrize("variables", [NUMBERS, DEBUGGING], ids=["numbers", "debugging"])
def test_settings_of_jax_change_no_bit_of_a_run_and_that_is_said(train, reference, variables):
    folder, done = train(**variables, JAX_CHECK_TRACER_LEAKS="1", JAX_LOG_COMPILES="0")
    same_run(folder, reference, done)
    said = [line for line in done.stderr.splitlines() if line.startswith("flaxcnn: warning: ignored: ")]
    assert len(said) == 1
    assert all(name in said[0] for name in variables)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("JAX_PLATFORMS", "cuda", "JAX_PLATFORMS=cuda: JAX finds no device to compute on"),
        ("JAX_PLATFORMS", "CPU", "JAX_PLATFORMS=CPU: JAX finds no device to compute on"),
        ("JAX_PLATFORMS", "cpu,", "JAX_PLATFORMS=cpu,: JAX finds no device to compute on"),
        ("JAX_NUM_CPU_DEVICES", "many", 'Invalid value "many" for JAX flag jax_num_cpu_devices'),
        ("JAX_ENABLE_X64", "maybe", "invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'"),
        ("XLA_FLAGS", "--xla_nonsense=1", "Unknown flag in XLA_FLAGS: --xla_nonsense=1"),
        ("XLA_FLAGS", "--xla_cpu_enable_fast_math=banana", "banana for flag xla_cpu_enable_fast_math"),
    ],
)
def test_a_setting_that_jax_or_xla_cannot_read_is_refused_in_a_line(flaxcnn, name, value, found):
    done = flaxcnn("evaluate", "nowhere", env={name: value})
    assert done.returncode == 2
    assert found in done.stderr
    assert done.stderr.startswith("flaxcnn: ")
    assert done.stderr.count("\n") == 1


def test_a_setting_that_may_round_otherwise_is_recorded_and_compared(reference, flaxcnn):
    recorded = json.loads((reference / "environment.json").read_text())["hardware"]
    assert recorded["jax_default_matmul_precision"] == "None"
    config = json.loads((reference / "config.json").read_text())
    words = ("--out", reference, "--data.source", config["data"]["source"], "--augmentation.shift", "1")
    words += ("--training.batch_size", "20", "--logging.every", "4", "--training.steps", "9")
    shutil.copytree(reference, reference.with_name("longer"))
    longer = (*words[:1], reference.with_name("longer"), *words[2:])
    done = flaxcnn("train", *longer, env={"JAX_DEFAULT_MATMUL_PRECISION": "highest"})
    assert done.returncode == 0, done.stderr
    assert (
        "trained with jax_default_matmul_precision None, and continues with highest: results may differ" in done.stderr
    )


def test_a_key_has_the_same_bits_whatever_generator_is_jaxs_default():
    expected = jax.random.key_data(key_for(7, Purpose.DROPOUT, 3))
    with jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(jax.random.key_data(key_for(7, Purpose.DROPOUT, 3)), expected)


def test_settings_of_matplotlib_change_no_picture(train, reference, tmp_path):
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nimage.origin: lower\nfont.size: 30\nbackend: tkagg\n")
    backend = "module://matplotlib_inline.backend_inline"  # as a notebook says to `!flaxcnn train`
    folder, done = train(MPLBACKEND=backend, MATPLOTLIBRC=str(tmp_path))
    same_run(folder, reference, done)
    assert done.stderr == ""
    for name in PICTURES:
        assert (folder / name).read_bytes() == (reference / name).read_bytes(), name


def test_a_picture_that_cannot_be_drawn_costs_a_warning_and_no_result(train, reference, tmp_path, command_environment):
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ValueError('no fonts here')\n")
    path = os.pathsep.join([str(tmp_path), command_environment["PYTHONPATH"]])
    folder, done = train(PYTHONPATH=path)
    same_run(folder, reference, done)
    assert [line for line in done.stderr.splitlines() if "not drawn" in line] == [
        f"flaxcnn: warning: {name}: not drawn: ValueError: no fonts here"
        for name in ("augmented.png", "curves.png", "confusion.png", "mistakes.png")
    ]
    assert (folder / "test_metrics.json").is_file()


def test_the_name_of_a_class_is_text_and_no_formula():
    matrix = np.eye(2, dtype=int)

    def png(*names):
        return drawn("confusion.png", lambda file: draw_confusion(matrix, names, file))

    assert png(r"$\frac$ bill", "$5").startswith(b"\x89PNG")
    assert png("$a$", "b") != png("a", "b")


def test_what_is_wrong_with_matplotlib_is_an_error_of_ours():
    def draw(file):
        raise RuntimeError("Failed to process string with tex\nbecause latex could not be found")

    with pytest.raises(PictureError, match=r"^x\.png: not drawn: RuntimeError: Failed to process string with tex be"):
        drawn("x.png", draw)


def test_the_commit_is_the_checkouts_whatever_repository_the_environment_names(tmp_path, monkeypatch):
    if not (CHECKOUT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a checkout")
    commit = environment({}, devices=1)["git_commit"]
    assert commit is not None
    for words in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x", "--allow-empty"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(CHECKOUT.parent))
    assert environment({}, devices=1)["git_commit"] == commit


def test_a_file_system_without_fsync_is_asked_in_vain_and_that_is_no_error(tmp_path):
    assert sync(tmp_path)
    if sys.platform == "linux":  # both answer EINVAL
        assert not sync(type(tmp_path)("/proc/self"))
        assert not sync(type(tmp_path)("/dev/null"))


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs a C compiler on Linux")
def test_a_run_is_saved_where_the_file_system_knows_no_fsync(train, reference, tmp_path):
    (tmp_path / "no_fsync.c").write_text(NO_FSYNC)
    library = tmp_path / "no_fsync.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "no_fsync.c"], check=True)
    folder, done = train(LD_PRELOAD=str(library))
    same_run(folder, reference, done)
    assert (folder / "checkpoints" / "step-00000008").is_dir()
