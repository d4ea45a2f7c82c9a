"""A run with a user's own model: trained by its file, killed and resumed, evaluated; never imported for its folder."""

import json
import shutil

import pytest

from flaxcnn.adapters import adapt
from flaxcnn.cli import main
from flaxcnn.config import Data, Experiment, ExperimentFile, Model, load_experiment
from flaxcnn.contracts import derive_contract
from flaxcnn.contracts.commands import show, write
from flaxcnn.errors import ConfigError, ContractError
from flaxcnn.files.user_code import load_outside
from flaxcnn.models import create, create_checked
from flaxcnn.runs.folder.record import read_config, write_config
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.setup import set_up
from tests.own_models import write_own_models
from tests.runs.test_faults import ended_well, same_bits, start, summary, uninterrupted  # noqa: F401

IMAGE = (28, 28, 1)
SHORT = ("--training.steps", "6", "--training.batch_size", "20", "--logging.test_examples", "0")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(write_own_models(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def trained(small_mnist, command_environment, tmp_path_factory):
    """A folder with the models' files, and a run of the NNX one that ended."""
    folder = write_own_models(tmp_path_factory.mktemp("own"))
    words = ["train", "--model.name", f"{folder}/own_nnx.py:Net", "--data.source", f"idx:{small_mnist}", *SHORT]
    assert main([*words, "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def copied(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(trained, tmp_path / "own"))
    return tmp_path / "own"


def refused(*words):
    """Return the ConfigError that the recorded config of `run` raises for a named model."""
    with pytest.raises(ConfigError) as caught:
        read_config(RunFolder(words[0]), {"model.name": words[1] if len(words) > 1 else None})
    return caught.value


# --- training, interrupted


@pytest.mark.faults
@pytest.mark.parametrize("file", ["own_linen", "own_nnx"])
def test_killed_and_resumed_it_ends_with_the_same_bits(file, start, uninterrupted, small_mnist, tmp_path, capsys):  # noqa: F811
    name = f"{write_own_models(tmp_path)}/{file}.py:Net"
    options = (
        "--model.name",
        name,
        "--training.epochs",
        "20",
        "--training.steps",
        "300",
        "--training.batch_size",
        "20",
    )
    options += ("--checkpoint.every", "7", "--logging.every", "10", "--logging.test_examples", "100")
    reference = uninterrupted(*options)
    for row in (2, 9):
        started = start("run", *options)
        started.wait_for(rf"^ +{row} +{row}0 ")
        started.kill()
    assert not (tmp_path / "run" / "summary.json").exists()
    printed, _ = ended_well(start("run", "--model.name", name, command="resume"))
    assert int(printed.split("resumes after step ")[1].split()[0]) >= 84
    same_bits(tmp_path / "run", reference)
    assert main(["evaluate", str(tmp_path / "run"), "--model.name", name]) == 0
    assert "summary.json says" not in capsys.readouterr().out


@pytest.mark.slow
def test_train_into_the_same_folder_goes_on_with_the_same_code_alone(copied, small_mnist, capsys):
    words = ["train", "--model.name", "own_nnx.py:Net", "--data.source", f"idx:{small_mnist}", *SHORT, "--out", "run"]
    assert main(words) == 0
    assert "complete" in capsys.readouterr().out
    (copied / "own_parts.py").write_text((copied / "own_parts.py").read_text() + "# another\n")
    assert main(words) == 2
    assert "the code changed since this run" in capsys.readouterr().err


# --- what a run's folder may and may not do


@pytest.mark.parametrize("command", ["resume", "evaluate"])
def test_no_command_imports_code_because_a_run_says_so(command, copied, capsys):
    (copied / "own_nnx.py").write_text("open('marker', 'w').close()\n")
    assert main([command, "run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--model.name" in line
    assert not (copied / "marker").exists()
    assert main([command, "run", "--model.name", "own_linen.py:Net"]) == 2
    assert main([command, "run", "--model.name", "paper_cnn"]) == 2
    assert not (copied / "marker").exists()


def test_the_file_named_again_is_compared_with_the_recorded_digest(copied):
    recorded = json.loads((copied / "run" / "config.json").read_text())
    digest = load_outside("own_nnx.py:Net", "x").digest
    assert recorded["code"] == {"model.name": digest}
    experiment = read_config(RunFolder(copied / "run"), {"model.name": "own_nnx.py:Net"}).file.experiment
    assert experiment.model.name == "own_nnx.py:Net"  # moved with its folder
    assert refused(copied / "run", "own_nnx.py:Block").found == "own_nnx.py:Block"
    (copied / "own_nnx.py").write_text((copied / "own_nnx.py").read_text() + "\n")
    changed = refused(copied / "run", "own_nnx.py:Net")
    assert changed.expected == f"SHA-256 {digest}"
    assert changed.found == load_outside("own_nnx.py:Net", "x").digest


def test_a_run_of_the_librarys_model_takes_no_other(folder):
    write_config(RunFolder(folder), ExperimentFile("paper_mnist", Experiment(), ()), {})
    error = refused(folder, "own_nnx.py:Net")
    assert (error.where, error.expected, error.found) == ("--model.name", "paper_cnn", "own_nnx.py:Net")
    assert read_config(RunFolder(folder), {"model.name": "paper_cnn"}).file.experiment.model.name == "paper_cnn"


# --- contracts


@pytest.mark.parametrize("file", ["own_linen", "own_nnx"])
def test_its_contract_is_derived_and_recorded_with_the_run(file, folder):
    checked = create_checked(f"{file}.py:Net", 10, image_shape=IMAGE)
    assert checked.contract == derive_contract(create(f"{file}.py:Net", 10), IMAGE)
    assert checked.contract_place == folder / f"{file}.py"
    layers = [layer.path for layer in checked.contract.layers]
    assert layers[-2:] == ["head", "output"]
    assert {"conv", "norm", "drop"} <= {path.rpartition("/")[2] for path in layers}


def test_the_run_keeps_the_contract(trained):
    assert (trained / "run" / "layers.contract").read_text() == show(
        create(f"{trained}/own_nnx.py:Net", 10), IMAGE
    ) + "\n"


def test_a_contract_beside_the_file_has_to_be_kept(folder):
    write(adapt(load_outside("own_linen.py:Net", "x").object), IMAGE, folder / "own_linen.contract")
    assert create_checked("own_linen.py:Net", 10, image_shape=IMAGE).contract_place == folder / "own_linen.contract"
    derived = create_checked("own_linen.py:Plain", 10, image_shape=IMAGE)  # the contract is of another model
    assert derived.contract_place == folder / "own_linen.py"
    (folder / "own_linen.py").write_text((folder / "own_linen.py").read_text().replace("nn.Conv(4,", "nn.Conv(6,"))
    with pytest.raises(ContractError) as caught:
        create_checked("own_linen.py:Net", 10, image_shape=IMAGE)
    assert caught.value.where == f"{folder / 'own_linen.contract'}: conv"


# --- what a model may be


def test_a_module_that_takes_no_train_and_returns_its_logits_alone_trains(folder, small_mnist):
    words = ["train", "--model.name", "own_linen.py:Plain", "--data.source", f"idx:{small_mnist}", *SHORT]
    assert main([*words, "--out", "run"]) == 0
    assert summary(folder / "run")["parameters"] == 784 * 10 + 10


def test_a_config_names_a_model_beside_it(folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    source = 'from flaxcnn.config import *\nexperiment = Experiment(model=Model(name="own_nnx.py:Net"))\n'
    (folder / "with_own.py").write_text(source)
    monkeypatch.chdir(folder / "elsewhere")
    name = load_experiment("../with_own.py").experiment.model.name
    assert create(name, 3) == create(f"{folder}/own_nnx.py:Net", 3)


BROKEN = """
import flax.linen as nn
class Wide(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(7)(x.reshape(len(x), -1))
class Nothing(nn.Module):
    classes: int = 10
    def __call__(self, x):
        return x.reshape(len(x), -1)[:, : self.classes]
class Fails(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(x.reshape(3, -1))
"""


@pytest.mark.parametrize(
    ("name", "expected", "found"),
    [
        ("Wide", "one array (B, 10)", "(B, 7)"),
        ("Nothing", "parameters, the collection params, and optionally batch_stats", "nothing"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused(name, expected, found, folder):
    (folder / "broken.py").write_text(BROKEN)
    with pytest.raises(ConfigError) as caught:
        create_checked(f"broken.py:{name}", 10, image_shape=IMAGE)
    assert caught.value.where == f"{folder / 'broken.py'}: {name}"
    assert (caught.value.expected, caught.value.found) == (expected, found)


def test_a_model_that_fails_names_the_line_of_its_file(folder):
    (folder / "broken.py").write_text(BROKEN)
    with pytest.raises(ConfigError) as caught:
        create_checked("broken.py:Fails", 10, image_shape=IMAGE)
    assert caught.value.where == folder / "broken.py"
    assert caught.value.what.startswith("line 14: TypeError: ")


def test_a_dtype_and_a_dropout_that_it_does_not_take_are_refused(folder, small_mnist):
    for options, where in (({"dtype": "bfloat16"}, "model.dtype"), ({"dropout": 0.1}, "model.dropout")):
        with pytest.raises(ConfigError) as caught:
            set_up(Experiment(data=Data(f"idx:{small_mnist}"), model=Model("own_nnx.py:Net", **options)))
        assert caught.value.where == where
