"""Temperatures and widths against scikit-learn's and SciPy's numbers, and answers of each task."""

import numpy as np
import pytest
import scipy.special
import sklearn.linear_model

from flaxcnn.tasks import Classification, Multilabel, Predicted, Regression, Several
from flaxcnn.tasks.calibration import (
    as_low,
    evidence,
    half_widths,
    softmax,
    temperature_of_classes,
    temperature_of_labels,
)


def predicted(predictions, targets=None, names=None, constants=None):
    return Predicted(targets, predictions, constants or {}, names)


@pytest.mark.parametrize("heat", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_the_one_by_which_the_labels_were_drawn(heat):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 5))
    labels = np.array([rng.choice(5, p=row) for row in scipy.special.softmax(logits, axis=1)])
    assert temperature_of_classes((logits * heat).astype(np.float32), labels) == pytest.approx(heat, rel=0.03)


def test_of_two_classes_it_is_the_inverse_of_logistic_regressions_weight():
    """Without an intercept, on the difference of the logits."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3, (500, 2)).astype(np.float32)
    labels = (rng.random(500) < scipy.special.expit(0.4 * (logits[:, 1] - logits[:, 0]))).astype(np.int32)
    model = sklearn.linear_model.LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10)
    model.fit(np.float64(logits[:, 1:]) - logits[:, :1], labels)
    assert temperature_of_classes(logits, labels) == pytest.approx(1 / model.coef_.item(), rel=1e-4)
    both = np.stack([labels == 0, labels == 1], 1)
    weight = sklearn.linear_model.LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10)
    weight.fit(np.float64(logits).reshape(-1, 1), both.reshape(-1))
    assert temperature_of_labels(logits, both) == pytest.approx(1 / weight.coef_.item(), rel=1e-4)


def test_where_every_label_is_predicted_it_stays_within_bounds():
    logits = np.eye(3, dtype=np.float32) * 5
    assert temperature_of_classes(logits, np.arange(3)) == pytest.approx(0.05, rel=0.01)
    assert temperature_of_classes(-logits, np.arange(3)) == pytest.approx(20, rel=0.01)


def test_large_logits_have_finite_probabilities():
    found = softmax(np.array([[1e4, 0.0, -1e4]], np.float32), 0.05)
    np.testing.assert_array_equal(found, [[1.0, 0.0, 0.0]])


def test_a_width_is_the_smallest_error_that_enough_others_stay_below():
    """Of 19 errors, ⌈20 · 0.9⌉ = 18: the second largest. Of 8 there are too few for 90 %."""
    errors = np.stack([np.arange(1, 20) * (-1.0) ** np.arange(19), np.zeros(19)], 1)
    assert half_widths(errors, 0.9) == [18.0, 0.0]
    assert half_widths(errors[:8], 0.9) == [None, None]
    assert half_widths(errors[:9], 0.9) == [9.0, 0.0]


def test_new_examples_lie_within_as_often_as_promised():
    rng = np.random.default_rng(2)
    inside = []
    for _ in range(400):
        (width,) = half_widths(rng.standard_t(3, (50, 1)), 0.9)
        inside.append(np.mean(np.abs(rng.standard_t(3, 200)) <= width))
    assert 0.895 < np.mean(inside) < 0.925  # ⌈51 · 0.9⌉ / 51 = 0.902


def test_a_classifier_names_the_most_probable_classes():
    logits = np.log(np.array([[0.2, 0.5, 0.3], [0.7, 0.2, 0.1]], np.float32))
    (first, second) = Classification().answers(predicted({"logits": logits}, names=("a", "b", "c")), {}, 2)
    assert first["class"] == "b"
    assert [each["class"] for each in first["top"]] == ["b", "c"]
    assert [each["probability"] for each in first["top"]] == pytest.approx([0.5, 0.3])
    assert second["probability"] == pytest.approx(0.7)
    (cool, _) = Classification().answers(predicted({"logits": logits}, names=("a", "b", "c")), {"temperature": 0.5}, 9)
    assert [each["probability"] for each in cool["top"]] == pytest.approx([0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38])


def test_labels_are_named_by_their_thresholds():
    logits = np.array([[2.0, -1.0, 0.0]], np.float32)
    constants = {"thresholds": np.array([3.0, -2.0, 0.5], np.float32)}
    (answer,) = Multilabel().answers(predicted({"logits": logits}, None, ("x", "y", "z"), constants), {}, 1)
    assert answer["labels"] == ["y"]
    assert answer["probabilities"] == pytest.approx({"x": 0.8808, "z": 0.5, "y": 0.2689}, abs=1e-4)


def test_numbers_have_the_interval_of_the_validation_images():
    task, numbers = Regression(), np.array([[3.0], [-1.5]], np.float32)
    validation = predicted({"numbers": np.arange(1, 20, dtype=np.float32)[:, None]}, np.zeros(19, np.float32))
    calibration = task.calibration(validation)
    assert calibration == {"half_width_90": [18.0]}
    answers = task.answers(predicted({"numbers": numbers}, names=("area",)), calibration, 1)
    assert answers[0] == {"numbers": {"area": 3.0}, "interval_90": {"area": [-15.0, 21.0]}}
    assert task.answers(predicted({"numbers": numbers}), {}, 1)[1] == {"numbers": {"number": -1.5}}


def test_several_tasks_answer_each_by_its_name_and_are_calibrated_on_what_has_its_target():
    known = {"classification": Classification(), "regression": Regression()}
    task = Several.of(("kind=classification", "size=regression"), known.__getitem__)
    names = {"kind": ("a", "b"), "size": ("mm",)}
    logits = np.tile(np.array([[0.0, 4.0]], np.float32), (19, 1))
    numbers = np.arange(1, 20, dtype=np.float32)[:, None]
    targets = {"kind": np.array([1] * 15 + [0] * 2 + [-1] * 2, np.int32), "size": np.zeros(19, np.float32)}
    said = {"kind.logits": logits, "size.numbers": numbers}
    calibration = task.calibration(predicted(said, targets, names))
    # Of 17 with a class, 15 are right: calibrated, 4 / T is the logit of 15/17.
    assert calibration["kind"]["temperature"] == pytest.approx(4 / np.log(15 / 2), rel=1e-3)
    assert calibration["size"] == {"half_width_90": [18.0]}
    answer = task.answers(predicted(said, None, names), calibration, 1)[0]
    assert answer["kind"]["class"] == "b"
    assert answer["kind"]["probability"] == pytest.approx(15 / 17, rel=1e-3)
    assert answer["size"]["numbers"] == {"mm": 1.0}


def test_strange_images_are_as_rare_as_promised_however_few_the_others_are():
    """By hand: of 4 others, 2 are as low as 0.5. Of new values from there, at most a tenth has a p of a tenth."""
    np.testing.assert_allclose(as_low(np.array([0.5, -1.0, 9.0]), [0.0, 0.5, 1.0, 2.0]), [3 / 5, 1 / 5, 1.0])
    rng = np.random.default_rng(0)
    low = [as_low(rng.normal(size=50), np.sort(rng.normal(size=19))) <= 0.1 for _ in range(400)]
    assert np.mean(low) == pytest.approx(0.1, abs=0.02)


def test_evidence_is_scipys_logsumexp():
    logits = np.array([[1e4, 1.0], [-3.0, 2.0]], np.float32)
    np.testing.assert_allclose(evidence(logits), scipy.special.logsumexp(logits.astype(float), axis=1))
