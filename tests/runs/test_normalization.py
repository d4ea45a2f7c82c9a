"""What is done to the pixels travels with the weights, so that whoever evaluates them does the same."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from flaxcnn.cli import main
from flaxcnn.data import Options, split_validation
from flaxcnn.data import load as load_data
from flaxcnn.errors import RunFolderError
from flaxcnn.runs.evaluate import evaluate_run
from flaxcnn.runs.folder.run_folder import RunFolder
from tests.data.prepared_sets import as_examples, drawings, features, prepare
from tests.runs.test_train import forward


@pytest.fixture(scope="module")
def train(command_environment, tmp_path_factory):
    """Train by the real command for four steps; return the folder."""

    def run(*options):
        folder = tmp_path_factory.mktemp("normalised") / "run"
        options += ("--training.steps", "4", "--training.batch_size", "10", "--logging.every", "2")
        words = [sys.executable, "-m", "flaxcnn", "train", *options, "--out", str(folder)]
        done = subprocess.run(words, env=command_environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return folder

    return run


@pytest.fixture(scope="module")
def by_its_data(small_mnist, train):
    """A run whose batch normalisation folds away, whose rows have validation, and whose pixels lose their own mean."""
    return train(
        *("--data.source", f"idx:{small_mnist}", "--data.validation", "0.2"),
        *("--model.name", "paper_cnn_bn", "--model.normalization", "dataset", "--training.ema_decay", "0.9"),
    )


@pytest.fixture(scope="module")
def by_imagenet(train, tmp_path_factory):
    """A run on colour images."""
    data = tmp_path_factory.mktemp("prepared")
    images = [drawings(count, (8, 8, 3), seed) for seed, count in enumerate((40, 12))]
    prepare(data, dict(zip(("train", "test"), map(as_examples, images), strict=True)), features(channels=3))
    folder = train("--data.source", "tfds:drawn", "--data.dir", str(data), "--model.normalization", "imagenet")
    return folder, np.asarray(load_data("tfds:drawn", Options(dir=data)).test.images)


def arrays_of(path):
    with np.load(path) as file:
        return dict(file)


def evaluated_as_recorded(folder, capsys):
    assert main(["evaluate", str(folder)]) == 0
    said = capsys.readouterr().out
    summary = json.loads((folder / "summary.json").read_text())
    for name in ("test_accuracy", "test_loss", "weights_sha256"):
        assert f"{summary[name]}  (as in summary.json)" in said


@pytest.mark.slow
def test_the_mean_and_the_deviation_are_those_of_the_training_images_alone(by_its_data, small_mnist, capsys):
    weights = arrays_of(by_its_data / "weights.npz")
    dataset = load_data(f"idx:{small_mnist}")
    pixels = np.asarray(split_validation(dataset.train, 0.2)[0].images) / 255
    np.testing.assert_allclose(weights["constants/pixel_mean"], [pixels.mean()], rtol=1e-6)
    np.testing.assert_allclose(weights["constants/pixel_deviation"], [pixels.std()], rtol=1e-6)
    test = (np.asarray(dataset.test.images) / 255 - pixels.mean()) / pixels.std()
    found = arrays_of(by_its_data / "predictions.npz")["logits"]
    np.testing.assert_allclose(found, forward(weights, test), atol=1e-4)
    evaluated_as_recorded(by_its_data, capsys)


@pytest.mark.slow
def test_imagenets_are_torchvisions(by_imagenet, capsys):
    folder, images = by_imagenet
    weights = arrays_of(folder / "weights.npz")
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # as torchvision's weights say
    np.testing.assert_array_equal(weights["constants/pixel_mean"], np.float32(mean))
    np.testing.assert_array_equal(weights["constants/pixel_deviation"], np.float32(deviation))
    found = arrays_of(folder / "predictions.npz")["logits"]
    np.testing.assert_allclose(found, forward(weights, (images / 255 - mean) / deviation), atol=1e-4)
    evaluated_as_recorded(folder, capsys)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"constants/pixel_mean": None}, "none"),
        ({"constants/pixel_mean": np.zeros(3, np.float32)}, (3,)),
        ({"constants/pixel_mean": np.zeros(1)}, np.dtype(np.float64)),
    ],
)
def test_weights_without_their_constants_or_with_those_of_others_are_refused(by_its_data, tmp_path, changes, found):
    folder = shutil.copytree(by_its_data, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoints"))
    path = folder / "weights.npz"
    np.savez(path, **{name: array for name, array in {**arrays_of(path), **changes}.items() if array is not None})
    with pytest.raises(RunFolderError) as refused:
        evaluate_run(RunFolder(folder))
    assert str(refused.value.where) == f"{path}: constants/pixel_mean"
    assert refused.value.found == found
