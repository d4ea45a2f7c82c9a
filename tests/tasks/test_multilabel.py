"""Metrics of several labels are scikit-learn's; the loss is optax's; thresholds have the best F1 of all."""

import itertools
import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as scikit_learn

from flaxcnn.errors import DataError
from flaxcnn.evaluation.sums import sums_of
from flaxcnn.tasks import Multilabel, Predicted
from flaxcnn.tasks.multilabel.scores import METRICS, MultilabelScores, best_thresholds
from flaxcnn.training import Hyperparameters
from tests.error_fields import fields

TASK = Multilabel()


def drawn(seed=0, examples=60, labels=5):
    """Labels, of which one is everywhere absent and one example has none, and logits of which many are equal."""
    generator = np.random.default_rng(seed)
    truth = generator.random((examples, labels)) < 0.3
    truth[:, 1] = False
    truth[0] = False
    logits = np.round(generator.normal(size=(examples, labels)) + truth, 1).astype(np.float32)
    logits[0] = -5  # nothing is predicted either
    return truth, logits


def scikit_learns(truth, logits, thresholds):
    """The metrics by name, what is 0 / 0 left out; a label counts for average precision where it can be ranked."""
    predicted = logits > thresholds

    def f1(average):
        return scikit_learn.f1_score(truth, predicted, average=average, zero_division=np.nan)

    ranked = [label for label in range(truth.shape[1]) if 0 < truth[:, label].sum() < len(truth)]
    each = [scikit_learn.average_precision_score(truth[:, label], logits[:, label]) for label in ranked]
    return {
        "mean_average_precision": np.mean(each) if each else np.nan,
        **{f"{average}_f1": f1(average) for average in ("micro", "macro", "samples")},
        "subset_accuracy": scikit_learn.accuracy_score(truth, predicted),
        "hamming_loss": scikit_learn.hamming_loss(truth, predicted),
    }


def test_every_metric_is_scikit_learns():
    truth, logits = drawn()
    thresholds = np.float32([0, 0.1, -0.2, 0.3, 0])
    found = MultilabelScores(truth, logits, thresholds).measure(np.ones((1, len(truth)), np.int32))
    expected = scikit_learns(truth, logits, thresholds)
    assert expected.keys() == METRICS.keys()
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, rel=1e-12), name
    each = scikit_learn.f1_score(truth, logits > thresholds, average=None, zero_division=0)
    np.testing.assert_allclose(found["f1"][0], each, rtol=1e-12)
    for label in (0, 2, 3, 4):
        expected = scikit_learn.average_precision_score(truth[:, label], logits[:, label])
        assert found["average_precision"][0, label] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(found["average_precision"][0, 1])


def test_resampled_examples_count_as_scikit_learn_counts_copies():
    truth, logits = drawn()
    counts = np.random.default_rng(1).integers(0, 4, (6, len(truth))).astype(np.int32)
    found = MultilabelScores(truth, logits, np.zeros(5)).measure(counts)
    for row, times in enumerate(counts):
        copies = np.repeat(np.arange(len(truth)), times)
        for name, value in scikit_learns(truth[copies], logits[copies], 0).items():
            assert found[name][row] == pytest.approx(value, rel=1e-12), name


def test_only_the_wanted_metrics_rank_examples():
    truth, logits = drawn()
    counts = np.ones((1, len(truth)), np.int32)
    assert "mean_average_precision" not in MultilabelScores(truth, logits, np.zeros(5)).measure(counts, ["micro_f1"])


def test_where_nothing_is_to_be_found_or_predicted_f1_is_not_defined():
    found = MultilabelScores(np.zeros((3, 2), bool), -np.ones((3, 2)), np.zeros(2)).measure(np.ones((1, 3), np.int32))
    undefined = {name for name in METRICS if np.isnan(found[name][0])}
    assert undefined == {"mean_average_precision", "micro_f1", "macro_f1", "samples_f1"}
    assert (found["subset_accuracy"][0], found["hamming_loss"][0]) == (1, 0)


def test_sums_of_parts_give_the_metrics_of_the_whole():
    truth, logits = drawn()
    constants = {"thresholds": jnp.float32([0, 0.1, -0.2, 0.3, 0])}
    first = sums_of(TASK, constants, logits[:35], truth[:35], np.ones(35, bool))
    second = sums_of(TASK, constants, logits[20:], truth[20:], np.arange(20, 60) >= 35)
    sums = jax.tree.map(jnp.add, first, second)
    assert int(sums.examples) == 60
    expected = scikit_learns(truth, logits, np.asarray(constants["thresholds"]))
    assert sums.measures == pytest.approx({name: expected[name] for name in TASK.logged}, rel=1e-6)


def test_the_loss_is_optaxs_mean_over_labels():
    truth, logits = drawn()
    wanted = optax.sigmoid_binary_cross_entropy(logits, truth.astype(np.float32)).mean(-1)
    by_hand = np.where(truth, np.log1p(np.exp(-logits.astype(float))), np.log1p(np.exp(logits.astype(float)))).mean(-1)
    for values in (None, Hyperparameters.of()):
        found = TASK.losses(values, {}, jnp.asarray(logits), jnp.asarray(truth))
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_allclose(found, by_hand, rtol=1e-5)


def test_smoothing_and_class_weights_change_the_loss_as_they_say():
    truth, logits = drawn()
    weights = [1, 2, 0, 0.5, 3]
    values = Hyperparameters.of(label_smoothing=0.2, class_weights=weights)
    wanted = np.where(truth, 0.9, 0.1)
    own, other = np.log1p(np.exp(-logits.astype(float))), np.log1p(np.exp(logits.astype(float)))
    expected = ((wanted * own + (1 - wanted) * other) * weights).mean(-1)
    np.testing.assert_allclose(TASK.losses(values, {}, logits, jnp.asarray(truth)), expected, rtol=1e-5)


def test_class_weights_that_are_not_one_for_each_label_are_refused():
    truth, logits = drawn()
    with pytest.raises(DataError) as refused:
        TASK.losses(Hyperparameters.of(class_weights=[1, 2]), {}, jnp.asarray(logits), jnp.asarray(truth))
    assert fields(refused.value) == ("class_weights", "(5,)", "(2,)")


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1, max_size=9))
def test_no_cut_has_a_better_f1_than_the_threshold(examples):
    truth, logits = (np.asarray(each)[:, None] for each in zip(*examples, strict=True))
    (threshold,) = best_thresholds(truth, logits.astype(np.float32))
    if not truth.any():
        assert threshold == 0
        return

    def f1(cut):
        return scikit_learn.f1_score(truth[:, 0], logits[:, 0] > cut, zero_division=0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cuts = [level + 0.5 for level in range(-4, 4)]
        best = max(map(f1, cuts))
        assert f1(threshold) == pytest.approx(best)
        higher = [cut for cut in cuts if f1(cut) == pytest.approx(best)]
    np.testing.assert_array_equal(logits[:, 0] > threshold, logits[:, 0] > max(higher))


@pytest.mark.parametrize("above", [1.0, np.nextafter(np.float32(0.3), np.float32(1)), 1e30])
def test_a_threshold_lies_between_neighbouring_logits_however_near(above):
    logits = np.float32([[above], [0.3]])
    (threshold,) = best_thresholds(np.asarray([[True], [False]]), logits)
    assert threshold.dtype == np.float32
    assert (logits > threshold).tolist() == [[True], [False]]


def test_tuned_thresholds_are_used_by_statistics_and_scores_alike():
    truth, logits = drawn()
    predicted = Predicted(truth, {"logits": logits}, TASK.constants(truth))
    assert predicted.constants["thresholds"].tolist() == [0] * 5
    tuned = TASK.tuned(predicted)
    before, after = (TASK.report(predicted._replace(constants=each)) for each in (predicted.constants, tuned))
    assert after["macro_f1"] > before["macro_f1"]
    statistics = TASK.statistics(tuned, jnp.asarray(logits), jnp.asarray(truth))
    sums = {name: np.asarray(values).sum(0) for name, values in statistics.items()}
    assert TASK.measures(sums, len(truth))["micro_f1"] == pytest.approx(after["micro_f1"])


def test_labels_are_counted_for_balanced_weights():
    truth, _ = drawn()
    assert TASK.class_counts(truth, 5).tolist() == [int(sum(column)) for column in truth.T]


@pytest.mark.parametrize(
    ("targets", "names", "expected"),
    [
        (np.zeros(4, np.int32), ("a", "b"), ("x targets", "bool (N, L) for the task multilabel", "int32 (4,)")),
        (
            np.zeros((4, 2), np.float32),
            ("a", "b"),
            ("x targets", "bool (N, L) for the task multilabel", "float32 (4, 2)"),
        ),
        ({"a": np.zeros(4, bool)}, ("a",), ("x targets", "bool (N, L) for the task multilabel", "a dictionary of a")),
        (np.zeros((4, 3), bool), ("a", "b"), ("x target names", "3", "2")),
        (np.zeros((4, 3), bool), None, ("x target names", "3", "none")),
        (np.zeros((4, 3), bool), "abc", ("x target names", "3", "none")),
    ],
)
def test_targets_that_do_not_fit_are_named(targets, names, expected):
    with pytest.raises(DataError) as refused:
        TASK.check(targets, names, "x")
    assert fields(refused.value) == expected


def test_targets_that_fit_are_taken():
    truth, _ = drawn()
    TASK.check(truth, tuple("abcde"), "x")
    assert TASK.outputs(truth, tuple("abcde")) == 5


@pytest.mark.parametrize(
    ("targets", "predictions", "constants", "where"),
    [
        (np.zeros((3, 2), bool), {"numbers": np.zeros((3, 2))}, {"thresholds": np.zeros(2)}, "predictions"),
        (np.zeros((3, 2), bool), {"logits": np.zeros((3, 2))}, {}, "constant thresholds"),
        (np.zeros((3, 2), bool), {"logits": np.zeros((3, 2))}, {"thresholds": np.zeros(3)}, "constant thresholds"),
        (np.zeros((3, 3), bool), {"logits": np.zeros((3, 2))}, {"thresholds": np.zeros(2)}, None),
        (np.zeros((3, 2), np.int32), {"logits": np.zeros((3, 2))}, {"thresholds": np.zeros(2)}, None),
        (np.zeros((3, 2), bool), {"logits": np.asarray([[0, 0], [0, np.inf], [0, 0]])}, {"thresholds": np.zeros(2)},
         "example 1, label 1"),
    ],
)  # fmt: skip
def test_predictions_of_another_task_are_refused(targets, predictions, constants, where):
    with pytest.raises(DataError) as refused:
        TASK.scores(Predicted(targets, predictions, constants))
    assert refused.value.where == where


def test_the_loss_has_finite_gradients_at_any_logits():
    logits = jnp.asarray(list(itertools.product([-1e30, 0.0, 1e30], repeat=2)))
    truth = jnp.ones(logits.shape, bool).at[:, 1].set(False)
    values = SimpleNamespace(label_smoothing=0.1, class_weights=None, focal_gamma=None)
    gradients = jax.grad(lambda logits: TASK.losses(values, {}, logits, truth).sum())(logits)
    assert np.isfinite(gradients).all()
