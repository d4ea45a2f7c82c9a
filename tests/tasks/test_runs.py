"""A run of each task leaves what it measured, and repeats it from its weights; its metrics choose and compare."""

import dataclasses
import json
import shutil
import time
import types

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as scikit_learn

import flaxcnn.data
from flaxcnn import config, tasks
from flaxcnn.cli.runs import compare
from flaxcnn.data import Dataset, Split
from flaxcnn.errors import ConfigError
from flaxcnn.evaluation.predictions import load_predictions, save_predictions
from flaxcnn.evaluation.reproduction import reported
from flaxcnn.runs.evaluate import evaluate_run
from flaxcnn.runs.folder.run_folder import open_run_folder
from flaxcnn.runs.setup import set_up
from flaxcnn.runs.train import train
from flaxcnn.tasks import Classification
from tests.error_fields import fields

LABELS = ("top", "bright", "both")


def split_of(examples, seed, make):
    """Images of 16×16, each with a row of a brightness; `make` makes targets of which row, and how bright."""
    generator = np.random.default_rng(seed)
    row, bright = generator.integers(0, 3, examples).astype(np.int32), generator.random(examples)
    images = generator.integers(0, 60, (examples, 16, 16, 1))
    for image, number, much in zip(images, row, bright, strict=True):
        image[5 * number : 5 * number + 5] += int(60 + 130 * much)
    return Split(
        images.astype(np.uint8), make(row, bright), groups=(1000 * seed + np.arange(examples) // 4).astype(np.int32)
    )


def labels(row, bright):
    return np.stack([row == 0, bright > 0.5, (row == 0) & (bright > 0.5)], axis=1)


def grams(row, bright):
    return (50 + 20 * bright).astype(np.float32)


def both(row, bright):
    row, amount = row.copy(), grams(row, bright)
    row[::5], amount[1::4] = -1, np.nan
    return {"amount": amount, "kind": row}


def dataset_of(make, names):
    return Dataset("drawn", split_of(200, 0, make), split_of(80, 1, make), names, {"train": "0", "test": "1"})


DATASETS = {
    "labels": dataset_of(labels, LABELS),
    "grams": dataset_of(grams, ("grams",)),
    "both": dataset_of(both, {"amount": ("grams",), "kind": ("a", "b", "c")}),
    "classes": dataset_of(lambda row, bright: row, ("a", "b", "c")),
}


def experiment_of(source, task, **more):
    return config.Experiment(
        task=task,
        data=config.Data(source=source, validation=0.2),
        **{
            "training": config.Training(epochs=4, batch_size=20),
            "optimizer": config.Optimizer(learning_rate=3e-3),
            "logging": config.Logging(every=8, test_examples=50),
            **more,
        },
    )


@pytest.fixture(scope="module", autouse=True)
def drawn_data():
    """Sources that are drawn here, by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flaxcnn.data, "load", lambda source, options=None, **more: DATASETS[source])
        yield


@pytest.fixture(scope="module")
def trained(light_programs, drawn_data, tmp_path_factory):
    """What trains an experiment: a function that returns its run's folder."""

    def run(experiment):
        folder = tmp_path_factory.mktemp("runs") / "run"
        file = config.ExperimentFile("drawn", experiment, ())
        assert train(file, experiment, str(folder), started=time.perf_counter()) == 0
        return folder

    return run


@pytest.fixture(scope="module")
def labels_run(trained):
    return trained(experiment_of("labels", config.Task(name="multilabel")))


@pytest.fixture(scope="module")
def grams_run(trained):
    mixed = config.Augmentation(mixup=0.1)
    return trained(experiment_of("grams", config.Task(name="regression", loss="huber"), augmentation=mixed))


@pytest.fixture(scope="module")
def both_run(trained):
    task = config.Task(name="several", heads=("amount=regression:0.5", "kind=classification"))
    checkpoint = config.Checkpoint(keep_best="validation_kind_accuracy", final="best")
    logging = config.Logging(every=8, test_examples=1)  # it has no kind, and one image no spread of amounts
    return trained(experiment_of("both", task, checkpoint=checkpoint, logging=logging))


def read(folder, name="summary.json"):
    text = (folder / name).read_text(encoding="utf-8")
    assert "NaN" not in text
    return json.loads(text)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def drawn_pictures(folder):
    pictures = {path.name: np.asarray(Image.open(path).convert("L")) for path in folder.glob("*.png")}
    assert all(pixels.std() > 10 for pixels in pictures.values())
    return set(pictures)


def test_labels_are_measured_with_thresholds_that_travel_with_the_weights(labels_run):
    weights, saved = np.load(labels_run / "weights.npz"), np.load(labels_run / "predictions.npz")
    thresholds = weights["constants/thresholds"]
    np.testing.assert_array_equal(saved["constant/thresholds"], thresholds)
    assert (thresholds != 0).any()
    truth, predicted = DATASETS["labels"].test.targets, saved["logits"] > thresholds
    summary = read(labels_run)
    for average in ("micro", "macro", "samples"):
        expected = scikit_learn.f1_score(truth, predicted, average=average, zero_division=np.nan)
        assert summary[f"test_{average}_f1"] == pytest.approx(expected, rel=1e-6)
    precision = scikit_learn.average_precision_score(truth, saved["logits"])
    assert summary["test_mean_average_precision"] == pytest.approx(precision)
    low, high = summary["test_mean_average_precision_interval_95"]
    assert low < precision < high
    assert summary["test_groups"] == 20
    report = read(labels_run, "test_metrics.json")
    assert (report["labels"], report["support"]) == (list(LABELS), truth.sum(0).tolist())
    assert drawn_pictures(labels_run) == {"curves.png", "labels.png"}


def test_numbers_are_measured_in_their_own_units(grams_run):
    weights, saved = np.load(grams_run / "weights.npz"), np.load(grams_run / "predictions.npz")
    assert 50 < weights["constants/target_mean"][0] < 70
    truth, predicted = DATASETS["grams"].test.targets.astype(float), saved["numbers"][:, 0].astype(float)
    summary = read(grams_run)
    assert summary["test_r2"] == pytest.approx(scikit_learn.r2_score(truth, predicted), abs=1e-5)
    assert summary["test_rmse"] == pytest.approx(scikit_learn.root_mean_squared_error(truth, predicted), rel=1e-5)
    few = scikit_learn.mean_absolute_error(truth[:50], predicted[:50])
    assert summary["test_mae_first_50"] == pytest.approx(few, rel=1e-5)
    assert summary["test_rmse"] < 0.9 * truth.std()  # it has learned something
    assert drawn_pictures(grams_run) == {"augmented.png", "curves.png", "predicted.png", "residuals.png"}


def test_several_heads_are_measured_each_on_the_images_with_its_target(both_run):
    saved, targets = np.load(both_run / "predictions.npz"), DATASETS["both"].test.targets
    has_amount, has_kind = ~np.isnan(targets["amount"]), targets["kind"] >= 0
    summary, report = read(both_run), read(both_run, "test_metrics.json")
    kinds = saved["kind.logits"][has_kind].argmax(1)
    assert summary["test_kind_accuracy"] == scikit_learn.accuracy_score(targets["kind"][has_kind], kinds)
    amounts = targets["amount"][has_amount].astype(float), saved["amount.numbers"][has_amount, 0].astype(float)
    r2 = scikit_learn.r2_score(*amounts)
    assert summary["test_amount_r2"] == pytest.approx(r2, abs=1e-5)
    assert report["amount"]["r2"] == pytest.approx(r2)
    assert (report["amount"]["examples"], report["kind"]["examples"]) == (has_amount.sum(), has_kind.sum())
    assert drawn_pictures(both_run) == {
        *("curves.png", "amount_predicted.png", "amount_residuals.png"),
        *("kind_confusion.png", "kind_mistakes.png"),
    }


def test_what_the_first_test_images_do_not_define_is_null_and_in_the_log_a_finite_number(both_run):
    summary = read(both_run)
    assert (summary["test_kind_accuracy_first_1"], summary["test_amount_r2_first_1"]) == (None, None)
    assert summary["test_amount_mae_first_1"] > 0
    assert all(np.isfinite([value for value in row.values() if value is not None]).all() for row in rows_of(both_run))


def test_a_run_ends_with_the_weights_that_are_best_by_a_heads_metric(both_run):
    found = [row["validation_kind_accuracy"] for row in rows_of(both_run)]
    assert len(set(found)) > 1
    summary = read(both_run)
    assert summary["weights_step"] == 8 * found.index(max(found)) + 1
    assert summary["validation_kind_accuracy"] == pytest.approx(max(found))


@pytest.mark.parametrize("name", ["labels_run", "grams_run", "both_run"])
def test_the_final_numbers_are_repeated_from_the_saved_weights(name, request):
    found = evaluate_run(open_run_folder(str(request.getfixturevalue(name))))
    assert found.numbers == found.recorded
    for measured, (low, high) in found.metrics.values():
        assert low <= high or np.isnan(measured)


def test_a_number_that_some_seeds_do_not_define_has_no_mean_over_them(both_run):
    summary = read(both_run)
    names = [each.metric for each in reported([summary, {**summary, "test_amount_r2": None}], ())]
    assert "test_amount_mae" in names
    assert "test_amount_r2" not in names


def test_two_runs_of_numbers_are_compared_by_their_errors(grams_run, tmp_path, capsys):
    other = shutil.copytree(grams_run, tmp_path / "other")
    predictions = load_predictions(other / "predictions.npz")
    numbers = predictions.predictions["numbers"] + np.float32(20)
    save_predictions(other / "predictions.npz", predictions._replace(predictions={"numbers": numbers}))
    assert compare([str(grams_run), str(other)]) == 0
    *_, difference, verdict = capsys.readouterr().out.splitlines()
    worse = scikit_learn.root_mean_squared_error(DATASETS["grams"].test.targets, numbers[:, 0])
    assert f"rmse {worse - read(grams_run)['test_rmse']:+.3f}" in difference
    assert verdict.startswith(f"{grams_run} is better than {other} by rmse")


def test_mixup_is_refused_by_a_task_that_cannot_mix(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Still(Classification):
        name = "still"
        uses = frozenset()

    monkeypatch.setattr(tasks, "TASKS", types.MappingProxyType({"still": lambda chosen: Still()}))
    experiment = experiment_of("classes", config.Task(name="still"), augmentation=config.Augmentation(mixup=0.2))
    with pytest.raises(ConfigError) as refused:
        set_up(experiment)
    assert fields(refused.value)[0] == "augmentation.mixup"
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("source", "task", "where"),
    [
        ("labels", config.Task(), "drawn training targets"),
        ("classes", config.Task(name="multilabel"), "drawn training targets"),
        ("classes", config.Task(name="regression"), "drawn training targets"),
        ("grams", config.Task(name="several", heads=("a=regression",)), "drawn training targets"),
        ("both", config.Task(name="several", heads=("amount=classification", "kind=regression")),
         "drawn training amount targets"),
    ],
)  # fmt: skip
def test_data_of_another_task_are_refused_before_anything_is_written(source, task, where):
    with pytest.raises(flaxcnn.errors.DataError) as refused:
        set_up(experiment_of(source, task))
    assert refused.value.where == where


def test_what_a_task_does_not_log_is_no_metric_to_choose_by():
    checkpoint = config.Checkpoint(keep_best="validation_accuracy")
    with pytest.raises(ConfigError) as refused:
        set_up(experiment_of("grams", config.Task(name="regression"), checkpoint=checkpoint))
    known = "train_loss, validation_loss, validation_r2, validation_rmse, validation_mae"
    assert fields(refused.value) == ("checkpoint.keep_best", known, "validation_accuracy")
