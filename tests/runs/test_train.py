"""The real command trains, leaves a folder that explains itself, and does the same again bit for bit."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, log_loss

from tests.forged_checkpoints import forge

QUICK = ("--training.batch_size", "50", "--logging.every", "5", "--logging.test_examples", "100")


@pytest.fixture(scope="module")
def quick_run(small_mnist, command_environment, tmp_path_factory):
    """A finished run of one epoch, 20 steps, on the small data, and what it printed."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("runs") / "quick"
    words = [
        sys.executable,
        "-m",
        "flaxcnn",
        "train",
        "--data.source",
        f"idx:{small_mnist}",
        "--out",
        str(folder),
        *QUICK,
    ]
    environment = {**command_environment, "JAX_LOG_COMPILES": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder, done


def forward(weights, x):
    """The paper's network written out in NumPy, in float64: its logits."""
    weights = {name: array.astype(np.float64) for name, array in weights.items()}
    for layer in ("conv1", "conv2"):
        padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2))  # (B, H, W, C, 5, 5)
        x = np.einsum("bhwcij,ijcf->bhwf", windows, weights[f"params/{layer}/kernel"], optimize=True)
        x = np.maximum(x + weights[f"params/{layer}/bias"], 0)
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
    return x.reshape(len(x), -1) @ weights["params/head/kernel"] + weights["params/head/bias"]


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_folder_holds_what_a_run_is_explained_by(quick_run):
    folder, _ = quick_run
    assert {each.name for each in folder.iterdir()} == {
        "config.json",
        "environment.json",
        "form.json",
        "metrics.jsonl",
        "summary.json",
        "table1.md",
        "curves.png",
        "confusion.png",
        "mistakes.png",
        "predictions.npz",
        "test_metrics.json",
        "weights.npz",
        "checkpoints",
        ".lock",
    }


def test_rows_are_logged_at_the_first_step_and_every_fifth(quick_run):
    rows = rows_of(quick_run[0])
    assert [row["step"] for row in rows] == [0, 5, 10, 15]
    assert list(rows[0]) == [
        *("step", "epoch", "train_loss", "test_accuracy", "validation_accuracy", "validation_loss"),
        *("learning_rate", "gradient_norm", "update_ratio", "images_per_second"),
    ]
    assert all(row["validation_accuracy"] is row["validation_loss"] is None for row in rows)
    assert all(row["learning_rate"] == pytest.approx(0.001) for row in rows)
    assert all(0 < row["update_ratio"] < 0.1 < row["gradient_norm"] < 10 for row in rows)
    assert rows[0]["train_loss"] == pytest.approx(np.log(10), abs=0.05)
    assert rows[-1]["train_loss"] < 2.0
    assert all(row["images_per_second"] > 0 for row in rows)


def test_the_summary_says_what_was_done(quick_run, small_mnist):
    summary = json.loads((quick_run[0] / "summary.json").read_text())
    assert summary["parameters"] == 28_938
    assert (summary["steps"], summary["seed"], summary["test_examples"]) == (20, 0, 300)
    assert summary["test_accuracy"] > 0.5
    for part in ("train_seconds", "eval_seconds", "compile_seconds"):
        assert 0 < summary[part] < summary["total_seconds"]
    assert re.fullmatch(r"[0-9a-f]{64}", summary["weights_sha256"])
    assert summary["device"].startswith("cpu (")


def test_the_final_numbers_are_scikit_learns_on_an_independent_forward_pass(quick_run, small_mnist):
    """The network written out in NumPy, from the weights that were saved."""
    with np.load(quick_run[0] / "weights.npz") as file:
        weights = dict(file)
    raw = np.frombuffer((small_mnist / "t10k-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
    labels = np.frombuffer((small_mnist / "t10k-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    logits = forward(weights, raw.reshape(-1, 28, 28, 1) / 255)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    summary = json.loads((quick_run[0] / "summary.json").read_text())
    assert summary["test_accuracy"] == accuracy_score(labels, logits.argmax(1))
    assert summary["test_accuracy_first_100"] == accuracy_score(labels[:100], logits[:100].argmax(1))
    assert summary["test_loss"] == pytest.approx(log_loss(labels, probabilities, labels=range(10)), rel=1e-5)


def test_the_config_and_the_environment_are_recorded(quick_run, small_mnist):
    config = json.loads((quick_run[0] / "config.json").read_text())
    assert config["data"]["source"] == f"idx:{small_mnist}"
    others = {"tensorboard": False, "csv": False, "mlflow": None}
    assert config["logging"] == {"every": 5, "test_examples": 100, **others}
    environment = json.loads((quick_run[0] / "environment.json").read_text())
    assert {"flaxcnn", "jax", "flax", "optax"} <= set(environment["packages"])
    assert len(environment["data_sha256"]) == 4


def test_the_step_and_the_evaluation_compile_once(quick_run):
    log = quick_run[1].stderr
    for program in ("run_block", "evaluate"):
        assert len(re.findall(rf"Finished XLA compilation of jit\({program}\)", log)) == 1


@pytest.mark.parametrize("name", ["curves.png", "confusion.png", "mistakes.png"])
def test_pictures_are_pictures(quick_run, name):
    with Image.open(quick_run[0] / name) as picture:
        assert min(picture.size) > 500
        assert len(picture.convert("RGB").getcolors(maxcolors=1_000_000)) > 20


def test_what_goes_to_a_pipe_are_plain_lines(quick_run):
    printed = quick_run[1].stdout
    assert "\x1b" not in printed
    assert "\r" not in printed
    assert printed.count("28,938 parameters") == 1
    assert len([line for line in printed.splitlines() if re.match(r"\s+\d\s+\d+\s+\d\.\d{4}", line)]) == 4


def test_published_values_are_not_set_beside_other_data(quick_run):
    assert "paper's" not in (quick_run[0] / "table1.md").read_text()


@pytest.mark.slow
def test_the_same_command_in_another_process_gives_the_same_bits(quick_run, small_mnist, flaxcnn, tmp_path):
    done = flaxcnn("train", "--data.source", f"idx:{small_mnist}", "--out", tmp_path / "again", *QUICK)
    assert done.returncode == 0, done.stderr
    first, again = (json.loads((folder / "summary.json").read_text()) for folder in (quick_run[0], tmp_path / "again"))
    for name in ("weights_sha256", "test_accuracy", "test_loss"):
        assert first[name] == again[name]
    losses = [[row["train_loss"] for row in rows_of(folder)] for folder in (quick_run[0], tmp_path / "again")]
    assert losses[0] == losses[1]


def test_evaluate_repeats_the_final_numbers_exactly(quick_run, flaxcnn):
    done = flaxcnn("evaluate", quick_run[0])
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((quick_run[0] / "summary.json").read_text())
    for name in ("test_accuracy", "test_accuracy_first_100", "test_loss", "weights_sha256"):
        assert re.search(rf"^{name} +{re.escape(str(summary[name]))}  \(as in summary.json\)$", done.stdout, re.M)


def test_evaluate_tells_a_changed_summary(quick_run, flaxcnn, tmp_path):
    copy = shutil.copytree(quick_run[0], tmp_path / "copy")
    summary = json.loads((copy / "summary.json").read_text())
    (copy / "summary.json").write_text(json.dumps({**summary, "test_accuracy": 0.9999}))
    done = flaxcnn("evaluate", copy)
    assert done.returncode == 1
    assert "summary.json says 0.9999" in done.stdout


def test_tensorboard_files_hold_the_rows(small_mnist, flaxcnn, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = flaxcnn(
        "train", "--data.source", f"idx:{small_mnist}", "--out", tmp_path / "run", "--logging.tensorboard", *QUICK
    )
    assert done.returncode == 0, done.stderr
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    for name in ("train_loss", "test_accuracy"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(row["step"], pytest.approx(row[name])) for row in rows_of(tmp_path / "run")]


def test_a_users_config_file_and_the_command_line_both_count(small_mnist, flaxcnn, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from flaxcnn.config import Data, Experiment, Training\n"
        f"experiment = Experiment(data=Data({f'idx:{small_mnist}'!r}), training=Training(batch_size=100, steps=3))\n"
    )
    done = flaxcnn("train", "mine.py", "--training.steps", "2")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "runs" / "mine-001" / "summary.json").read_text())
    assert summary["steps"] == 2
    config = json.loads((tmp_path / "runs" / "mine-001" / "config.json").read_text())
    assert (config["training"]["batch_size"], config["training"]["steps"]) == (100, 2)


@pytest.mark.slow
def test_a_run_is_evaluated_from_another_folder_and_with_its_data_elsewhere(small_mnist, flaxcnn, tmp_path):
    shutil.copytree(small_mnist, tmp_path / "data")
    done = flaxcnn("train", "--data.source", "idx:data", "--training.steps", "2", "--out", "run", *QUICK)
    assert done.returncode == 0, done.stderr
    (tmp_path / "elsewhere").mkdir()
    assert flaxcnn("evaluate", tmp_path / "run", cwd=tmp_path / "elsewhere").returncode == 0
    (tmp_path / "data").rename(tmp_path / "moved")
    done = flaxcnn("evaluate", "run")
    assert done.returncode == 2
    assert str(tmp_path / "data") in done.stderr
    assert flaxcnn("evaluate", "run", "--data.source", "idx:moved").returncode == 0
    assert flaxcnn("resume", "run", "--data.source", "idx:moved").returncode == 0


@pytest.mark.slow
def test_the_newest_checkpoints_and_the_best_one_are_kept(small_mnist, flaxcnn, tmp_path):
    done = flaxcnn(
        *("train", "--data.source", f"idx:{small_mnist}", "--out", "run", "--training.epochs", 4, *QUICK),
        *("--checkpoint.every", 10, "--checkpoint.keep", 2, "--checkpoint.keep_best", "train_loss"),
        *("--checkpoint.final", "best"),
    )
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "run")
    losses = [row["train_loss"] for row in rows]
    improved = [
        row["step"] + 1 for number, row in enumerate(rows) if row["train_loss"] < min(losses[:number], default=9)
    ]
    saved = sorted({*improved, *range(10, 81, 10)})
    kept = {int(each.name[5:]) for each in (tmp_path / "run" / "checkpoints").iterdir()}
    assert kept == {improved[-1], *saved[-2:]}
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["weights_step"] == improved[-1]


def test_linked_checkpoints_are_refused_before_anything_is_trained_or_deleted(quick_run, flaxcnn, tmp_path):
    theirs = shutil.copytree(quick_run[0], tmp_path / "theirs")
    mine = shutil.copytree(theirs, tmp_path / "mine", ignore=shutil.ignore_patterns("checkpoints"))
    (mine / "checkpoints").symlink_to(theirs / "checkpoints")
    before = sorted(theirs.rglob("*"))
    done = flaxcnn("resume", "mine")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "flaxcnn: mine/checkpoints: a link to elsewhere, where another run's files may be; expected a"
    )
    assert sorted(theirs.rglob("*")) == before


def test_what_a_run_kept_with_its_checkpoint_is_checked_before_it_is_used(quick_run, flaxcnn, tmp_path):
    shutil.copytree(quick_run[0], tmp_path / "run")
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    path = checkpoint / "metadata.json"
    fields = json.loads(path.read_text())
    fields["extra"]["save_seconds"] = "soon"
    path.write_text(json.dumps(fields))
    forge(checkpoint)
    done = flaxcnn("resume", "run")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("flaxcnn: run/checkpoints/step-00000020: damaged at extra.save_seconds; expected a number, ")
