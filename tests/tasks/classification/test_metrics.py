"""Every metric is scikit-learn's or arithmetic's, whatever classes have no example and whatever scores are tied."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
    top_k_accuracy_score,
)

from flaxcnn.errors import ConfigError, DataError
from flaxcnn.evaluation.intervals import bootstrap_intervals
from flaxcnn.tasks.classification.confusion import confusion_matrix
from flaxcnn.tasks.classification.metrics import METRICS, CountedExamples, classification_metrics


@st.composite
def predictions(draw):
    """Labels of some of the classes only, and float32 logits, tied more often than not."""
    examples, classes = draw(st.integers(1, 60)), draw(st.integers(2, 6))
    present = draw(st.lists(st.integers(0, classes - 1), min_size=1, unique=True))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = generator.choice(present, examples).astype(np.int32)
    coarse = draw(st.sampled_from([None, 1, 4]))
    logits = 3 * generator.standard_normal((examples, classes)) * draw(st.sampled_from([0.2, 1]))
    return labels, (logits if coarse is None else np.round(logits * coarse) / coarse).astype(np.float32)


@settings(max_examples=250, deadline=None)
@given(predictions(), st.integers(1, 6))
def test_metrics_of_any_predictions_are_scikit_learns(problem, top_k):
    labels, logits = problem
    examples, classes = logits.shape
    found = classification_metrics(labels, logits, top_k)
    probabilities, predicted = softmax(logits.astype(np.float64), axis=1), logits.argmax(1)
    assert (found.examples, found.classes, found.top_k) == (examples, classes, top_k)
    assert found.accuracy == accuracy_score(labels, predicted)
    # With six improbable classes more, scikit-learn never meets two classes, or as many as k, which it treats apart.
    padded = np.hstack([np.full((examples, 6), -1e9), logits])
    assert found.top_k_accuracy == top_k_accuracy_score(labels + 6, padded, k=top_k, labels=range(classes + 6))
    assert found.log_loss == pytest.approx(log_loss(labels, probabilities, labels=range(classes)), rel=1e-9)

    every_class = {"labels": range(classes), "zero_division": 0}
    per_class = precision_recall_fscore_support(labels, predicted, **every_class)
    for values, expected in zip((found.precision, found.recall, found.f1, found.support), per_class, strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-12)
    assert found.averaged_classes == len(np.union1d(labels, predicted))
    for average in ("macro", "weighted"):  # of the classes among labels and predictions, scikit-learn's default
        expected = precision_recall_fscore_support(labels, predicted, average=average, zero_division=0)[:3]
        values = [getattr(found, f"{average}_{name}") for name in ("precision", "recall", "f1")]
        np.testing.assert_allclose(values, expected, rtol=1e-12)

    matrix = confusion_matrix(labels, logits)
    np.testing.assert_array_equal(found.support, matrix.sum(1))
    assert found.accuracy == np.trace(matrix) / examples

    ranked = [k for k in range(classes) if 0 < np.sum(labels == k) < examples]
    assert found.ranked_classes == len(ranked)
    for values, macro, reference in (
        (found.roc_auc, found.macro_roc_auc, roc_auc_score),
        (found.average_precision, found.macro_average_precision, average_precision_score),
    ):
        expected = np.full(classes, np.nan)
        expected[ranked] = [reference(labels == k, probabilities[:, k]) for k in ranked]
        np.testing.assert_allclose(values, expected, rtol=1e-9)
        np.testing.assert_allclose(macro, np.mean(expected[ranked]) if ranked else np.nan, rtol=1e-9)


def logits_of(*probabilities):
    return np.log(np.asarray(probabilities))


def test_the_brier_score_sums_the_squared_errors_of_all_classes():
    logits = logits_of([0.5, 0.25, 0.25], [0.25, 0.25, 0.5])
    by_hand = (0.5**2 + 0.25**2 + 0.25**2 + 0.75**2 + 0.25**2 + 0.5**2) / 2
    assert classification_metrics(np.asarray([0, 0]), logits).brier_score == pytest.approx(by_hand)


def test_the_calibration_error_compares_confidence_and_accuracy_in_bins_of_a_fifteenth():
    logits = logits_of([0.62, 0.38], [0.65, 0.35], [0.1, 0.9], [0.95, 0.05])  # the first two are both in (9/15, 10/15]
    labels = np.asarray([0, 1, 1, 1])
    by_hand = (abs(0.62 + 0.65 - 1) + abs(0.9 - 1) + abs(0.95 - 0)) / 4
    assert classification_metrics(labels, logits).calibration_error == pytest.approx(by_hand)


def test_a_bin_of_the_calibration_error_holds_its_upper_edge():
    logits = np.asarray([[0.0, 0.0, 0.0], np.log([0.34, 0.33, 0.33])])  # 1/3 is in (4/15, 5/15], 0.34 in the next
    apart = (abs(1 / 3 - 1) + abs(0.34 - 0)) / 2
    assert classification_metrics(np.asarray([0, 1]), logits).calibration_error == pytest.approx(apart)


def test_a_certain_and_correct_model_has_no_error():
    found = classification_metrics(np.arange(3), 1000 * np.eye(3))
    assert [getattr(found, name) for name in METRICS] == [1, 1, 0, 0, 0, *[1] * 8]


def letters(wrong=()):
    """Labels 1 to 26 of 27 classes, as EMNIST's letters have them, and perfect logits but for (example, class)."""
    labels = np.repeat(np.arange(1, 27), 3)
    logits = 9 * np.eye(27)[labels]
    for example, predicted in wrong:
        logits[example] = 9 * np.eye(27)[predicted]
    return labels, logits


def test_perfect_logits_are_perfect_in_every_macro_average_though_a_class_has_no_example():
    found = classification_metrics(*letters())
    macros = [getattr(found, name) for name in METRICS if name.startswith("macro_")]
    assert macros == [1.0] * 5
    assert (found.averaged_classes, found.ranked_classes) == (26, 26)
    names = [name for name in METRICS if "macro" in name]
    found = bootstrap_intervals(CountedExamples(*letters()), names, 26 * 3)
    assert found == dict.fromkeys(names, (1.0, 1.0))


def test_to_predict_a_class_without_an_example_does_not_flatter():
    as_another = classification_metrics(*letters([(0, 2)]))  # an A taken for a B
    as_absent = classification_metrics(*letters([(0, 0)]))  # an A taken for what no image is
    for name in ("macro_precision", "macro_recall", "macro_f1"):
        assert getattr(as_absent, name) < getattr(as_another, name) < 1
    assert as_absent.averaged_classes == 27
    f1_by_hand = (25 + 0.8 + 0) / 27  # of A: precision 1, recall 2/3
    assert as_absent.macro_f1 == pytest.approx(f1_by_hand)


def test_a_resample_that_loses_a_class_is_averaged_over_those_that_it_has():
    labels, logits = letters()
    counted = CountedExamples(labels, logits)
    without_a_and_b = np.asarray([[0] * 6 + [1] * 72], np.int32)
    found = counted.measure(without_a_and_b)
    assert [found[name][0] for name in METRICS if name.startswith("macro_")] == [1.0] * 5
    assert (found["averaged_classes"][0], found["ranked_classes"][0]) == (24, 24)


def test_the_largest_float32_logits_overflow_nothing():
    largest = np.finfo(np.float32).max
    found = classification_metrics(np.asarray([0, 1]), np.asarray([[-largest, largest]] * 2, np.float32))
    assert found.log_loss == float(largest)
    assert (found.brier_score, found.calibration_error) == (1, 0.5)


def test_json_has_nothing_where_a_metric_is_undefined():
    found = classification_metrics(np.asarray([1]), np.asarray([[0.0, 1.0, 2.0]])).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["macro_roc_auc"] is None
    assert found["macro_average_precision"] is None
    assert found["roc_auc"] == [None] * 3
    assert (found["accuracy"], found["support"], found["ranked_classes"]) == (0.0, [0, 1, 0], 0)


@pytest.mark.parametrize(
    ("labels", "logits", "message"),
    [
        ([0, 1], [[0.0, 1.0], [np.nan, 0.0]], "example 1, class 0: logit not finite; expected a number, found nan"),
        ([0, 1], [[0.0, np.inf], [0.0, 0.0]], "example 0, class 1: logit not finite; expected a number, found inf"),
        ([0, 2], [[0.0, 1.0], [1.0, 0.0]], "example 1: label out of range; expected 0 to 1, .* found 2"),
        ([-1, 0], [[0.0, 1.0], [1.0, 0.0]], "example 0: label out of range; expected 0 to 1, .* found -1"),
        ([0.0, 1.0], [[0.0, 1.0], [1.0, 0.0]], "labels are not class numbers; expected integers, found float64"),
        ([0], [[0.0, 1.0], [1.0, 0.0]], r"labels and logits do not fit; .* found \(1,\) and \(2, 2\)"),
        ([], np.zeros((0, 2)), r"labels and logits do not fit; .* found \(0,\) and \(0, 2\)"),
    ],
)
def test_what_cannot_be_measured_is_named(labels, logits, message):
    with pytest.raises(DataError, match=message):
        classification_metrics(np.asarray(labels), np.asarray(logits))


def test_the_top_0_are_refused():
    with pytest.raises(ConfigError, match="top_k: out of range; expected 1 or more, found 0"):
        classification_metrics(np.asarray([0]), np.asarray([[0.0, 1.0]]), top_k=0)
