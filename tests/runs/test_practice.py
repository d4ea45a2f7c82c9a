"""A recipe through the real command: validation chooses, test images never do, and what is chosen is what is kept."""

import json
import shutil

import numpy as np
import pytest

from flaxcnn.cli.experiment import load_trained, parse_experiment
from flaxcnn.cli.training import TrainOptions
from flaxcnn.data import load, split_validation
from flaxcnn.runs.folder.changes import changes

RECIPE = (
    *("--training.batch_size", 50, "--training.epochs", 6, "--logging.every", 4, "--data.validation", 0.2),
    *("--checkpoint.keep_best", "validation_accuracy", "--checkpoint.final", "best", "--training.patience", 3),
    *("--optimizer.name", "adamw", "--optimizer.learning_rate", 0.01, "--augmentation.rotate", 10),
    *("--training.ema_decay", 0.9, "--training.label_smoothing", 0.05),
)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def recipe_run(small_mnist, commands, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe") / "run"
    words = (*("train", "--data.source", f"idx:{small_mnist}", "--out", folder), *RECIPE)
    done = commands.run(words, folder.parent)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_run_ends_with_the_weights_of_the_row_that_is_best_on_validation(recipe_run):
    folder, printed = recipe_run
    rows, summary = rows_of(folder), summary_of(folder)
    best = max(rows, key=lambda row: row["validation_accuracy"])  # the first of equal ones
    assert summary["weights_step"] == best["step"] + 1
    assert summary["validation_accuracy"] == best["validation_accuracy"]
    assert summary["validation_loss"] == pytest.approx(best["validation_loss"], rel=1e-6)
    since = [row["validation_accuracy"] for row in rows[rows.index(best) + 1 :]]
    assert len(since) <= 3
    assert summary["stopped_early"] == (len(since) == 3)
    assert f"weights        of step {best['step'] + 1}, the best one" in printed


@pytest.mark.slow
def test_the_test_images_influence_no_weight_and_no_choice(recipe_run, small_mnist, flaxcnn, tmp_path):
    other = tmp_path / "other-test-images"
    shutil.copytree(small_mnist, other)
    images = np.fromfile(other / "t10k-images-idx3-ubyte", np.uint8)
    images[16:] = 255 - images[16:]
    images.tofile(other / "t10k-images-idx3-ubyte")
    labels = np.fromfile(other / "t10k-labels-idx1-ubyte", np.uint8)
    labels[8:] = (labels[8:] + 3) % 10
    labels.tofile(other / "t10k-labels-idx1-ubyte")
    done = flaxcnn("train", "--data.source", f"idx:{other}", "--out", "run", *RECIPE)
    assert done.returncode == 0, done.stderr
    folder, _ = recipe_run
    ours, theirs = summary_of(folder), summary_of(tmp_path / "run")
    assert ours["test_accuracy"] > 0.8 > 0.3 > theirs["test_accuracy"]  # it was another test set
    for name in ("weights_sha256", "state_sha256", "weights_step", "steps", "stopped_early", "validation_accuracy"):
        assert ours[name] == theirs[name], name
    for one, another in zip(rows_of(folder), rows_of(tmp_path / "run"), strict=True):
        for row in (one, another):
            del row["test_accuracy"], row["images_per_second"]
        assert one == another


def test_the_gap_is_training_accuracy_less_test_accuracy(recipe_run, small_mnist):
    summary = summary_of(recipe_run[0])
    train, validation = split_validation(load(f"idx:{small_mnist}").train, 0.2)
    assert summary["train_examples"] == 300  # as many as there are test images
    assert summary["validation_examples"] == len(validation)
    assert summary["generalization_gap"] == summary["train_accuracy"] - summary["test_accuracy"]
    assert len(train) + len(validation) == 1000


def test_predictions_are_kept_so_that_any_metric_can_be_made_later(recipe_run, small_mnist):
    folder, _ = recipe_run
    predictions = np.load(folder / "predictions.npz")
    labels = load(f"idx:{small_mnist}").test.targets
    np.testing.assert_array_equal(predictions["index"], np.arange(300))
    np.testing.assert_array_equal(predictions["target"], labels)
    accuracy = (predictions["logits"].argmax(1) == labels).mean()
    assert summary_of(folder)["test_accuracy"] == pytest.approx(accuracy)
    assert json.loads((folder / "test_metrics.json").read_text())["accuracy"] == pytest.approx(accuracy)


def test_evaluate_repeats_the_numbers_and_gives_intervals(recipe_run, flaxcnn):
    done = flaxcnn("evaluate", recipe_run[0])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "validation_accuracy" in done.stdout
    assert "summary.json says" not in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("macro_f1")]
    value, low, high = (float(word) for word in line.split() if word[0].isdigit())
    assert low < value < high


def test_the_first_batch_is_drawn_as_it_is_and_as_it_is_seen(recipe_run):
    from PIL import Image

    assert np.asarray(Image.open(recipe_run[0] / "augmented.png")).std() > 10


def test_a_run_that_stopped_early_is_complete(recipe_run, flaxcnn, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(recipe_run[0], copy)
    done = flaxcnn("resume", copy)
    assert done.returncode == 0
    assert "complete" in done.stdout
    assert summary_of(copy) == summary_of(recipe_run[0])


def test_what_would_change_the_schedule_or_a_choice_is_refused(recipe_run, small_mnist, flaxcnn, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(recipe_run[0], copy)
    changed = [4 if word == 6 else 8 if word == 4 else word for word in RECIPE]
    done = flaxcnn("train", "--data.source", f"idx:{small_mnist}", "--out", copy, *changed)
    assert done.returncode == 2
    assert "logging.every 4" in done.stderr


@pytest.mark.slow
def test_in_bfloat16_and_without_a_look_at_any_test_image_until_the_end(small_mnist, flaxcnn, tmp_path):
    done = flaxcnn(
        *("train", "--data.source", f"idx:{small_mnist}", "--out", "run"),
        *("--logging.test_examples", 0, "--logging.every", 10, "--schedule.name", "one_cycle"),
        *("--model.dtype", "bfloat16"),
    )
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "run")
    assert [row["test_accuracy"] for row in rows] == [None, None]
    assert rows[0]["learning_rate"] < rows[1]["learning_rate"] <= 0.001
    assert summary_of(tmp_path / "run")["test_accuracy"] > 0.1
    assert "test accuracy" not in done.stdout.splitlines()[6]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("optimizer=Optimizer('adamw')", ("--optimizer.weight_decay", 0.02)),
        ("data=Data(validation=0.1)", ("--training.patience", 3, "--logging.every", 1)),
        ("training=Training(batch_size=100)", ("--training.accumulate", 20)),
        ("training=Training(epochs=3)", ("--schedule.name", "cosine", "--schedule.warmup_epochs", 2)),
    ],
)
def test_an_option_is_judged_beside_the_values_of_the_config_file(config, words, tmp_path):
    (tmp_path / "mine.py").write_text(f"from flaxcnn.config import *\nexperiment = Experiment({config})\n")
    arguments = [*map(str, words), str(tmp_path / "mine.py")]
    file, options = parse_experiment(TrainOptions, arguments, "flaxcnn train", load_trained)
    assert {path: now for path, _, now in changes(file.experiment, options.experiment)} == {
        name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--checkpoint.keep_best", "validation_loss", "--logging.every", 50), "nothing to choose from"),
        (("--model.dtype", "bfloat16", "--model.name", "wide_resnet10_1"), "cannot be trained in bfloat16 on a CPU"),
        (
            ("--schedule.name", "cosine", "--schedule.warmup_epochs", 0.99, "--training.batch_size", 500),
            "the warm-up takes the whole run",
        ),
        (("--training.class_weights", 1, 2), "expected 10 numbers, found 2"),
    ],
)
def test_what_does_not_go_with_the_data_is_one_line_before_anything_is_written(
    words, told, small_mnist, flaxcnn, tmp_path
):
    done = flaxcnn("train", "--data.source", f"idx:{small_mnist}", "--data.validation", 0.1, "--out", "run", *words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert told in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["1e14", "1e20"])
def test_numbers_that_overflow_end_the_run_with_one_line(rate, small_mnist, flaxcnn):
    done = flaxcnn(
        *("train", "--data.source", f"idx:{small_mnist}", "--data.validation", 0.1, "--out", "run"),
        *("--optimizer.learning_rate", rate),
    )
    assert done.returncode == 1
    assert "not finite" in done.stderr or "diverged" in done.stderr
    assert "Traceback" not in done.stderr
