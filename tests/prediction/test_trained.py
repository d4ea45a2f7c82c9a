"""A finished run answers without its data, as it was trained."""

import json
import shutil

import numpy as np
import PIL.Image
import pytest

import flaxcnn
from flaxcnn import config, data
from flaxcnn.errors import DataError, RunFolderError
from flaxcnn.evaluation.predictions import load_predictions
from flaxcnn.prediction.loading import load
from flaxcnn.prediction.trained import BATCH


def test_it_prepares_and_predicts_as_the_run_did(shapes_run):
    """Bit for bit the pixels of the source, and the run's own predictions of its test images to rounding."""
    folder, paths = shapes_run
    trained = load(folder)
    source = data.load(f"folder:{folder.parent / 'elsewhere'}", data.Options(size=(20, 24)))
    images = np.stack([trained.decode(path.read_bytes(), path.name) for path in paths])
    np.testing.assert_array_equal(images, np.asarray(source.test.images))
    kept = load_predictions(folder / "predictions.npz")
    np.testing.assert_allclose(trained.predictions(images)["logits"], kept.predictions["logits"], atol=1e-5)
    named = [each["class"] for each in trained.predict(paths)]
    assert named == [source.target_names[place] for place in kept.predictions["logits"].argmax(1)]
    assert len(set(named)) > 1


def test_an_image_has_the_same_answer_alone_and_among_others(shapes_run):
    folder, paths = shapes_run
    trained = load(folder)
    many = (paths * 3)[: BATCH + 5]
    together = trained.predict(many)
    for place in (0, BATCH - 1, BATCH, BATCH + 4):
        (alone,) = trained.predict([many[place].read_bytes()])
        assert alone["class"] == together[place]["class"]
        assert alone["probability"] == pytest.approx(together[place]["probability"], abs=1e-5)


def test_it_is_calibrated_by_the_runs_validation_images(shapes_run):
    folder, _ = shapes_run
    validation = load_predictions(folder / "validation_predictions.npz")
    assert len(validation.targets) == 32
    logits, temperature = validation.predictions["logits"], load(folder).calibration["temperature"]

    def loss(temperature):
        scaled = logits.astype(np.float64) / temperature
        return (np.log(np.exp(scaled).sum(1)) - scaled[np.arange(32), validation.targets]).mean()

    assert loss(temperature) <= min(loss(temperature * 1.01), loss(temperature / 1.01))


def test_a_run_of_an_older_version_is_read_with_its_data(tiny_run, tmp_path):
    older = shutil.copytree(tiny_run, tmp_path / "older")
    (older / "form.json").unlink()
    (older / "validation_predictions.npz").unlink()
    (older / "familiar.npz").unlink()
    here, there = load(tiny_run), load(older)
    assert there.form.target_names == here.form.target_names == tuple("0123456789")
    assert there.form.image_shape == (28, 28, 1)
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
    np.testing.assert_array_equal(there.predictions(images)["logits"], here.predictions(images)["logits"])
    assert there.calibration == {}


@pytest.mark.parametrize(
    "images",
    [np.zeros((1, 20, 24, 1), np.float32), np.zeros((1, 24, 20, 1), np.uint8), np.zeros((0, 20, 24, 1), np.uint8)],
)
def test_images_that_do_not_fit_are_said(shapes_run, images):
    with pytest.raises(DataError, match=r"images do not fit this model; expected uint8 \(N, 20, 24, 1\)"):
        load(shapes_run[0]).predict(images)


def test_a_run_that_did_not_end_says_how_to_end_it(tiny_run, tmp_path):
    stopped = shutil.copytree(tiny_run, tmp_path / "stopped")
    (stopped / "weights.npz").unlink()
    with pytest.raises(RunFolderError, match=r"no weights yet.*resume"):
        load(stopped)


def test_an_image_is_as_familiar_as_the_stranger_of_two_signs_says(tiny_run):
    """Twice the smaller of two p values; each is how many of the validation images are as strange, and one more."""
    trained = load(tiny_run)
    images = flaxcnn.data.load("mnist").test.images[300:340]
    found = trained.predictions(images)
    logits, kept = found["logits"].astype(np.float64), load_predictions(tiny_run / "validation_predictions.npz")
    with np.load(tiny_run / "familiar.npz") as file:
        distances = file["distances"]
    ours, theirs = (np.log(np.exp(each).sum(1)) for each in (logits, kept.predictions["logits"].astype(np.float64)))
    for place, answer in enumerate(trained.answers(found)):
        evidence = (1 + np.sum(theirs <= ours[place])) / (1 + len(theirs))
        features = (1 + np.sum(distances >= found["distance"][place])) / (1 + len(distances))
        assert answer["familiar_by"] == pytest.approx({"evidence": evidence, "features": features}, abs=1e-12)
        assert answer["familiar"] == pytest.approx(min(1, 2 * min(evidence, features)))
    noise = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), np.uint8)
    assert max(each["familiar_by"]["features"] for each in trained.predict(noise)) < 0.02


def test_damaged_statistics_of_features_are_one_line(tiny_run, tmp_path):
    damaged = shutil.copytree(tiny_run, tmp_path / "damaged")
    (damaged / "familiar.npz").write_bytes((tiny_run / "familiar.npz").read_bytes()[:500])
    with pytest.raises(RunFolderError, match="familiar") as raised:
        load(damaged)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_shape": [28, 28]}, "damaged at image_shape"),
        ({"image_shape": [1 << 30, 1 << 30, 1]}, "damaged at image_shape"),
        ({"image_shape": [28, 28, 3]}, "kernel"),
        ({"target_names": 3}, "damaged at target_names"),
        ({"target_names": ["a", "b"]}, "head"),
        ({"targets": {}}, "damaged at targets"),
        ({"targets": {"": {"dtype": "object", "shape": []}}}, "damaged at targets"),
        ({"targets": {"": {"dtype": "float32", "shape": [1 << 40]}}}, "damaged at targets"),
        ({"targets": {"a": {"dtype": "int32", "shape": []}}}, "targets"),
    ],
)
def test_a_damaged_form_is_one_line(tiny_run, tmp_path, change, said):
    damaged = shutil.copytree(tiny_run, tmp_path / "damaged")
    form = json.loads((damaged / "form.json").read_text())
    (damaged / "form.json").write_text(json.dumps({**form, **change}))
    with pytest.raises(flaxcnn.errors.FlaxcnnError, match=said) as raised:
        load(damaged)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_several_targets_are_named_by_their_heads(tmp_path, light_programs):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 12, 12, 1), np.uint8)
    targets = {"kind": (images.mean((1, 2, 3)) > 127).astype(np.int32), "shade": images.mean((1, 2, 3)).astype("f4")}
    names = {"kind": ("dark", "light"), "shade": ("shade",)}
    own = data.from_arrays(images, targets, test_fraction=0.25, target_names=names)
    experiment = config.Experiment(
        task=config.Task("several", heads=("kind=classification", "shade=regression")),
        model=config.Model("small_cnn"),
        training=config.Training(epochs=1, batch_size=10),
    )
    run = flaxcnn.train(experiment, dataset=own, out=tmp_path / "run", quiet=True)
    (answer,) = load(run.folder).predict(images[:1])  # its data were objects, and are needed no more
    assert answer["kind"]["class"] in ("dark", "light")
    assert set(answer["shade"]["numbers"]) == {"shade"}
    picture = PIL.Image.fromarray(images[0, :, :, 0])
    picture.save(tmp_path / "one.png")
    (again,) = load(run.folder).predict([tmp_path / "one.png"])
    assert again["shade"] == answer["shade"]
