"""Runs that begin with the weights of a file: `--model.init`; and files that the commands write."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

import flaxcnn
from flaxcnn import config
from flaxcnn.cli import main
from flaxcnn.errors import ConfigError, ContractError, DataError
from flaxcnn.models import MODELS
from flaxcnn.models.weights.convert import to_theirs
from flaxcnn.models.weights.initial import read_converted
from flaxcnn.models.weights.reading import read_weights
from flaxcnn.models.weights.writing import write_pytorch
from tests.models.test_initial import LAYOUTS


@pytest.fixture(autouse=True)
def layouts(monkeypatch):
    monkeypatch.setitem(MODELS, "small_cnn", dataclasses.replace(MODELS["small_cnn"], layouts=LAYOUTS))


@pytest.fixture(scope="module")
def experiment(small_mnist):
    return config.Experiment(
        data=config.Data(source=f"idx:{small_mnist}"),
        model=config.Model("small_cnn", normalization="dataset"),
        training=config.Training(steps=2),
        logging=config.Logging(every=1, test_examples=0),
        checkpoint=config.Checkpoint(every=1),
    )


@pytest.fixture(scope="module")
def first(experiment, tmp_path_factory):
    return flaxcnn.train(experiment, out=tmp_path_factory.mktemp("first") / "run", quiet=True)


def begun_with(experiment, place, **model):
    chosen = dataclasses.replace(experiment.model, init=str(place), **model)
    return dataclasses.replace(experiment, model=chosen)


def first_weights(experiment, out, **options):
    """The parameters that a run has after its first step at a rate of almost nothing."""
    still = dataclasses.replace(
        experiment,
        training=config.Training(steps=1, seed=3),
        optimizer=config.Optimizer("sgd", learning_rate=1e-30),
        logging=config.Logging(every=1, test_examples=0),
    )
    return flaxcnn.train(still, out=out, **options), still


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_another_run_or_of_a_file(first, experiment, tmp_path, capsys):
    places = {"run": first.folder, "file": first.folder / "weights.npz", "theirs": tmp_path / "theirs.pth"}
    write_pytorch(places["theirs"], to_theirs(without_constants(first.variables), LAYOUTS["torchvision"]))
    for name, place in places.items():
        run, _ = first_weights(begun_with(experiment, place), tmp_path / name)
        jax.tree.map(np.testing.assert_array_equal, run.variables["params"], first.variables["params"])
        said = capsys.readouterr().out
        assert f"with the names of {'torchvision' if name == 'theirs' else 'flaxcnn'}" in said
        assert "head is new" not in said
        recorded = json.loads((run.folder / "environment.json").read_text())["initial"]
        assert recorded["file"] == str(place)
        assert len(recorded["sha256"]) == 64


def without_constants(variables):
    return {name: tree for name, tree in variables.items() if name != "constants"}


@pytest.mark.slow
def test_where_the_outputs_differ_the_head_is_new_and_a_line_says_so(first, experiment, tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (120, 28, 28, 1), np.uint8)
    dataset = flaxcnn.data.from_arrays(images, np.arange(120, dtype=np.int32) % 3, test_fraction=0.2)
    run, _ = first_weights(begun_with(experiment, first.folder), tmp_path / "run", dataset=dataset)
    assert "the head is new: it has 10 outputs there, and 3 here" in capsys.readouterr().out
    trunk, head = run.variables["params"]["conv1"]["kernel"], run.variables["params"]["head"]["kernel"]
    np.testing.assert_array_equal(trunk, first.variables["params"]["conv1"]["kernel"])
    assert np.abs(head).max() < 1e-29  # zero, and a step at a rate of almost nothing


@pytest.mark.slow
def test_a_run_goes_on_and_is_evaluated_without_the_file(first, experiment, tmp_path):
    weights = tmp_path / "weights.npz"
    shutil.copy(first.folder / "weights.npz", weights)
    asked = begun_with(experiment, weights)
    whole = flaxcnn.train(asked, out=tmp_path / "whole", quiet=True)
    once = dataclasses.replace(asked, training=config.Training(steps=1))
    flaxcnn.train(once, out=tmp_path / "run", quiet=True)
    weights.unlink()
    run = flaxcnn.train(asked, out=tmp_path / "run", quiet=True)
    for name in ("weights_sha256", "state_sha256"):
        assert run.summary[name] == whole.summary[name]
    assert main(["evaluate", str(run.folder)]) == 0


@pytest.mark.slow
def test_before_the_first_checkpoint_the_file_has_to_be_the_same(first, experiment, tmp_path):
    weights = tmp_path / "weights.npz"
    shutil.copy(first.folder / "weights.npz", weights)
    asked = begun_with(experiment, weights)
    run = flaxcnn.train(asked, out=tmp_path / "run", quiet=True)
    shutil.rmtree(run.folder / "checkpoints")
    (run.folder / "summary.json").unlink()
    again = flaxcnn.train(asked, out=tmp_path / "run", quiet=True)
    jax.tree.map(np.testing.assert_array_equal, again.variables, run.variables)
    shutil.rmtree(run.folder / "checkpoints")
    (run.folder / "summary.json").unlink()
    other = dict(np.load(first.folder / "weights.npz"))
    np.savez(weights, **{**other, "params/head/bias": other["params/head/bias"] + 1})
    with pytest.raises(DataError, match="weights changed since this run"):
        flaxcnn.train(asked, out=tmp_path / "run", quiet=True)


def test_what_does_not_fit_is_said_before_anything_is_written(first, experiment, tmp_path):
    for asked, error, match in [
        (begun_with(experiment, tmp_path / "none.pth"), DataError, "no such file"),
        (begun_with(experiment, tmp_path), DataError, r"weights\.npz: no such file"),
        (begun_with(experiment, first.folder, name="paper_cnn"), ContractError, ""),
        (begun_with(experiment, first.folder / "config.json"), DataError, "no known format"),
    ]:
        with pytest.raises(error, match=match or None):
            flaxcnn.train(asked, out=tmp_path / "run", quiet=True)
        assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="given twice"):
        flaxcnn.train(begun_with(experiment, first.folder), variables=first.variables, out=tmp_path / "run")


def test_the_commands_import_and_export(first, tmp_path, capsys):
    theirs, ours = tmp_path / "theirs.pth", tmp_path / "ours.npz"
    assert main(["export-weights", str(first.folder), "--to", str(theirs)]) == 0
    assert "17 tensors of small_cnn, with the names of torchvision" in capsys.readouterr().out
    assert "classifier.weight" in read_weights(theirs)
    assert main(["import-weights", "small_cnn", str(theirs), "--to", str(ours)]) == 0
    assert "162,874 parameters, 10 outputs, from the names of torchvision" in capsys.readouterr().out
    again = read_converted(ours, "small_cnn").variables
    jax.tree.map(np.testing.assert_array_equal, again, without_constants(first.variables))
    for words, match in [
        (["import-weights", "small_cnn", str(theirs), "--to", str(ours)], "exists already"),
        (["import-weights", "small_cnn", str(theirs)], "--to is missing"),
        (["import-weights", "small_cn", str(theirs), "--to", str(tmp_path / "x")], "Did you mean 'small_cnn'"),
        (["import-weights", "small_cnn", str(theirs), "--to", str(tmp_path / "no" / "x")], "no such folder"),
        (["import-weights", "small_cnn", str(theirs), "--layout", "keras", "--to", str(tmp_path / "x")], "no such"),
        (["import-weights", "small_cnn", str(theirs), "--layout", "timm", "--to", str(tmp_path / "x")], "missing:"),
        (["export-weights", str(first.folder), "--to", str(tmp_path / "x.bin")], "ends in .safetensors"),
        (["export-weights", str(tmp_path), "--to", str(tmp_path / "x.pth")], "not a run folder"),
    ]:
        assert main(words) == 2
        assert match in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
