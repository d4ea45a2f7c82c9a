"""Errors of predicted numbers are scikit-learn's; the losses are those of optax and of the textbooks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import metrics as scikit_learn
from sklearn.preprocessing import StandardScaler

from flaxcnn.errors import ConfigError, DataError
from flaxcnn.evaluation.sums import sums_of
from flaxcnn.tasks import Predicted, Regression
from flaxcnn.tasks.regression.scores import METRICS, RegressionScores
from flaxcnn.training import Hyperparameters
from tests.error_fields import fields


def drawn(numbers, seed=0, examples=50):
    """Targets, some of them equal, with a mean far from 0, and predictions, some of them right."""
    generator = np.random.default_rng(seed)
    targets = np.round(generator.normal(20, [3] + [0.5] * (numbers - 1), (examples, numbers)), 1).astype(np.float32)
    predicted = (targets + np.round(generator.normal(0, 0.4, targets.shape), 1)).astype(np.float32)
    return targets, predicted


def scikit_learns(targets, predicted):
    """The metrics by name; medians of relative errors are NumPy's."""
    targets, predicted = targets.astype(float), predicted.astype(float)
    return {
        "r2": scikit_learn.r2_score(targets, predicted),
        "rmse": scikit_learn.root_mean_squared_error(targets, predicted),
        "mae": scikit_learn.mean_absolute_error(targets, predicted),
        "median_absolute_error": scikit_learn.median_absolute_error(targets, predicted),
        "mean_relative_error": scikit_learn.mean_absolute_percentage_error(targets, predicted),
        "median_relative_error": np.median(np.abs(predicted - targets) / np.abs(targets), axis=0).mean(),
    }


@pytest.mark.parametrize("numbers", [1, 3])
def test_every_metric_is_scikit_learns(numbers):
    targets, predicted = drawn(numbers)
    found = RegressionScores(targets, predicted).measure(np.ones((1, len(targets)), np.int32))
    expected = scikit_learns(targets, predicted)
    assert expected.keys() == METRICS.keys()
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, rel=1e-10), name
    for number in range(numbers):
        for name, value in scikit_learns(targets[:, [number]], predicted[:, [number]]).items():
            assert found[f"{name}_of_each"][0, number] == pytest.approx(value, rel=1e-10), name


@pytest.mark.parametrize("numbers", [1, 3])
def test_resampled_examples_count_as_scikit_learn_counts_copies(numbers):
    targets, predicted = drawn(numbers)
    counts = np.random.default_rng(1).integers(0, 4, (8, len(targets))).astype(np.int32)
    found = RegressionScores(targets, predicted).measure(counts)
    for row, times in enumerate(counts):
        for name, value in scikit_learns(np.repeat(targets, times, 0), np.repeat(predicted, times, 0)).items():
            assert found[name][row] == pytest.approx(value, rel=1e-10), name


def test_only_the_wanted_metrics_find_medians():
    targets, predicted = drawn(1)
    found = RegressionScores(targets, predicted).measure(np.ones((1, len(targets)), np.int32), ["rmse"])
    assert set(METRICS) - set(found) == {"median_absolute_error", "median_relative_error"}


@pytest.mark.parametrize("targets", [[5.0], [5.0, 5.0, 5.0], [0.1, 0.1, 0.1]])
def test_r2_is_not_defined_where_all_targets_are_the_same(targets):
    found = RegressionScores(np.float32(targets), np.ones((len(targets), 1))).measure(np.ones((1, len(targets)), int))
    assert np.isnan(found["r2"][0])
    assert np.isfinite(found["rmse"][0])


def test_a_relative_error_of_a_target_of_zero_is_scikit_learns():
    found = RegressionScores(np.float32([0, 2]), np.float32([[1], [1]])).measure(np.ones((1, 2), int))
    assert found["mean_relative_error"][0] == scikit_learn.mean_absolute_percentage_error([0, 2], [1, 1])


@pytest.mark.parametrize("numbers", [1, 3])
def test_sums_of_parts_give_the_metrics_of_the_whole(numbers):
    task = Regression()
    targets, predicted = drawn(numbers)
    own = targets[:, 0] if numbers == 1 else targets
    constants = task.constants(own[:30])  # of other examples than those that are measured
    outputs = (predicted - constants["target_mean"]) / constants["target_deviation"]
    first = sums_of(task, constants, outputs[:20], own[:20], np.ones(20, bool))
    second = sums_of(task, constants, outputs[10:], own[10:], np.arange(10, 50) >= 20)
    sums = jax.tree.map(jnp.add, first, second)
    expected = scikit_learns(targets, predicted)
    assert sums.measures == pytest.approx({name: expected[name] for name in task.logged}, rel=2e-5)


def test_of_one_target_alone_the_logged_metrics_are_finite():
    task = Regression()
    statistics = task.statistics(task.constants(np.float32([1, 2])), jnp.ones((1, 1)), jnp.ones(1))
    measures = task.measures({name: array.sum(0) for name, array in statistics.items()}, 1)
    assert (float(measures["r2"]), np.isfinite(list(measures.values())).all()) == (0, True)


def test_targets_are_standardised_as_scikit_learn_does_and_decoded_back():
    task = Regression()
    targets, _ = drawn(3)
    constants = task.constants(targets)
    scaler = StandardScaler().fit(targets.astype(float))
    np.testing.assert_allclose(constants["target_mean"], scaler.mean_, rtol=1e-6)
    np.testing.assert_allclose(constants["target_deviation"], scaler.scale_, rtol=1e-6)
    outputs = scaler.transform(targets.astype(float)).astype(np.float32)
    np.testing.assert_allclose(task.decode(constants, outputs)["numbers"], targets, rtol=1e-5)
    np.testing.assert_allclose(task.losses(None, constants, outputs, targets), 0, atol=1e-9)


def test_a_number_that_is_always_the_same_is_not_divided_by_zero():
    constants = Regression().constants(np.float32([[1, 4], [3, 4]]))
    assert constants["target_deviation"].tolist() == [1, 1]
    assert constants["target_mean"].tolist() == [2, 4]


@pytest.mark.parametrize(
    ("task", "of_error"),
    [
        (Regression(), lambda error: error**2),
        (Regression("absolute"), abs),
        (Regression("huber", 0.5), lambda e: e**2 / 2 if abs(e) <= 0.5 else 0.5 * (abs(e) - 0.25)),
        (Regression("huber"), lambda error: float(optax.huber_loss(float(error)))),
    ],
)
def test_the_losses_are_the_textbooks(task, of_error):
    constants = {"target_mean": jnp.float32([1, 10]), "target_deviation": jnp.float32([2, 4])}
    outputs, targets = jnp.asarray([[0.5, -1.0], [2.0, 0.1]]), jnp.asarray([[1.0, 10.0], [3.0, 14.0]])
    errors = [[0.5 - 0, -1 - 0], [2 - 1, 0.1 - 1]]
    expected = [np.mean([of_error(error) for error in row]) for row in errors]
    for values in (None, Hyperparameters.of()):
        np.testing.assert_allclose(task.losses(values, constants, outputs, targets), expected, rtol=1e-6)


def test_a_deltas_use_is_the_huber_loss_alone():
    with pytest.raises(ConfigError) as refused:
        Regression("absolute", 2.0)
    assert fields(refused.value) == ("task.huber_delta", "task.loss huber, or the default 1", "2.0")


FORM = "float32 (N,) or (N, T) for the task regression"


@pytest.mark.parametrize(
    ("targets", "names", "expected"),
    [
        (np.zeros(4, np.int32), None, ("x targets", FORM, "int32 (4,)")),
        (np.zeros((4, 2), bool), None, ("x targets", FORM, "bool (4, 2)")),
        (np.zeros((4, 2, 2), np.float32), None, ("x targets", FORM, "float32 (4, 2, 2)")),
        ({"a": np.zeros(4, np.float32)}, None, ("x targets", FORM, "a dictionary of a")),
        (
            np.float32([1, np.nan, 2, np.nan]),
            None,
            ("x targets", "finite numbers", "nan at position 1 (2 such numbers)"),
        ),
        (
            np.float32([[1, 1], [1, -np.inf]]),
            None,
            ("x targets", "finite numbers", "-inf at position 1 (1 such numbers)"),
        ),
        (np.zeros((4, 2), np.float32), ("grams",), ("x target names", "2", "1")),
    ],
)
def test_targets_that_do_not_fit_are_named(targets, names, expected):
    with pytest.raises(DataError) as refused:
        Regression().check(targets, names, "x")
    assert fields(refused.value) == expected


@pytest.mark.parametrize(("shape", "outputs"), [((4,), 1), ((4, 1), 1), ((4, 3), 3)])
def test_targets_that_fit_are_taken(shape, outputs):
    targets = np.ones(shape, np.float32)
    Regression().check(targets, None, "x")
    assert Regression().outputs(targets, None) == outputs


@pytest.mark.parametrize(
    ("targets", "predictions", "where"),
    [
        (np.zeros(3), {"logits": np.zeros((3, 1))}, "predictions"),
        (np.zeros(3), {"numbers": np.zeros((3, 2))}, None),
        (np.zeros(0), {"numbers": np.zeros((0, 1))}, None),
        ({"a": np.zeros(3)}, {"numbers": np.zeros((3, 1))}, None),
        (np.zeros((3, 1), bool), {"numbers": np.zeros((3, 1))}, None),
        (np.zeros(3), {"numbers": np.asarray([[0], [np.nan], [0]])}, "example 1, number 0"),
        (np.asarray([0, 0, np.inf]), {"numbers": np.zeros((3, 1))}, "example 2, number 0"),
    ],
)
def test_predictions_of_another_task_are_refused(targets, predictions, where):
    with pytest.raises(DataError) as refused:
        Regression().scores(Predicted(targets, predictions, {}))
    assert refused.value.where == where


def test_the_report_names_each_of_several_numbers():
    targets, predicted = drawn(3)
    report = Regression().report(Predicted(targets, {"numbers": predicted}, {}, ("a", "b", "c")))
    assert report["numbers"] == ("a", "b", "c")
    np.testing.assert_allclose(report["mae_of_each"], np.abs(predicted.astype(float) - targets).mean(0))
    of_one = Regression().report(Predicted(targets[:, 0], {"numbers": predicted[:, :1]}, {}, ("a",)))
    assert set(of_one) == {"numbers", *METRICS}
