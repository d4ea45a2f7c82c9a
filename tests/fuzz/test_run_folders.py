"""Every file of a run's folder, mutated, as the commands read it."""

import json
import shutil

import jax
import numpy as np
import pytest

from flaxcnn.contracts import derive_contract
from flaxcnn.evaluation.comparison import compare
from flaxcnn.evaluation.predictions import load_predictions
from flaxcnn.models import create
from flaxcnn.runs.familiar import load_familiarity
from flaxcnn.runs.folder.record import read_config, read_environment, read_rows, read_summary
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.folder.weights import load_weights
from flaxcnn.tasks import Classification
from tests.fuzz.mutations import count, hold, mutated_bytes, mutated_json


@pytest.fixture
def copy(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "*.png"))


READERS = {"config.json": read_config, "environment.json": read_environment, "summary.json": read_summary}


@pytest.mark.parametrize("name", READERS)
def test_no_json_file_of_a_run_is_answered_with_anything_but_a_line(copy, name):
    path, folder = copy / name, RunFolder(copy)

    def run(data):
        path.write_bytes(data)
        READERS[name](folder)

    hold(run, mutated_json([json.loads(path.read_text())], count()))


@pytest.mark.parametrize("mutated", ["a line", "the file"])
def test_no_logged_row_is_answered_with_anything_but_a_line(copy, mutated):
    path, folder = copy / "metrics.jsonl", RunFolder(copy)
    whole = path.read_bytes()
    first, rest = whole.split(b"\n", 1)

    def run(data):
        path.write_bytes(data if mutated == "the file" else data + b"\n" + rest)
        read_rows(folder, 3)

    hold(
        run, mutated_bytes([whole], count(2)) if mutated == "the file" else mutated_json([json.loads(first)], count(2))
    )


def test_no_weights_are_answered_with_anything_but_a_line(copy):
    path, model = copy / "weights.npz", create("paper_cnn", 10)
    contract = derive_contract(model, (28, 28, 1))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 28, 28, 1), np.float32))

    def run(data):
        path.write_bytes(data)
        load_weights(path, contract, 10, shapes)

    hold(run, mutated_bytes([path.read_bytes()], count()))


def test_no_statistics_of_features_are_answered_with_anything_but_a_line(copy):
    path = copy / "familiar.npz"

    def run(data):
        path.write_bytes(data)
        load_familiarity(RunFolder(copy))

    hold(run, mutated_bytes([path.read_bytes()], count()))


def test_no_predictions_are_answered_with_anything_but_a_line(copy):
    path = copy / "predictions.npz"
    whole = load_predictions(path)

    def run(data):
        path.write_bytes(data)
        compare(Classification(), whole, load_predictions(path), resamples=10)

    hold(run, mutated_bytes([path.read_bytes()], count()))
