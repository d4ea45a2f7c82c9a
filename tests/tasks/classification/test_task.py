"""The losses are optax's, SciPy's and scikit-learn's; what else a classifier is asked follows from its logits."""

import numpy as np
import optax
import pytest
from scipy.special import log_softmax
from sklearn.utils.class_weight import compute_sample_weight

from flaxcnn.errors import DataError
from flaxcnn.tasks import Classification, Predicted
from flaxcnn.training import Hyperparameters

LOGITS = np.random.default_rng(0).normal(0, 3, (40, 5)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 5, 40)
TASK = Classification()


def losses(values):
    return TASK.losses(values, {}, LOGITS, LABELS)


def test_a_smoothed_loss_is_the_cross_entropy_with_the_smoothed_labels():
    targets = (1 - 0.1) * np.eye(5)[LABELS] + 0.1 / 5
    expected = -(targets * log_softmax(LOGITS.astype(np.float64), axis=1)).sum(1)
    found = losses(Hyperparameters.of(label_smoothing=0.1))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_smoothing_the_loss_is_optaxs_to_the_bit():
    expected = optax.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS)
    np.testing.assert_array_equal(losses(Hyperparameters.of()), expected)


def test_balanced_weights_are_scikit_learns_sample_weights():
    counts = np.bincount(LABELS, minlength=5)
    hyperparameters = Hyperparameters.of(class_weights=len(LABELS) / (5 * counts))
    plain = losses(Hyperparameters.of())
    expected = np.asarray(plain) * compute_sample_weight("balanced", LABELS)
    np.testing.assert_allclose(losses(hyperparameters), expected, rtol=1e-5)


def test_the_loss_that_is_reported_is_neither_smoothed_nor_weighted():
    expected = -log_softmax(LOGITS.astype(np.float64), axis=1)[np.arange(40), LABELS]
    np.testing.assert_allclose(losses(None), expected, rtol=1e-5)


def test_the_accuracy_is_the_correct_ones_over_all():
    correct = TASK.statistics({}, LOGITS, LABELS)["correct"]
    np.testing.assert_array_equal(correct, LOGITS.argmax(1) == LABELS)
    assert TASK.measures({"correct": 3}, 4) == {"accuracy": 0.75}


def test_classes_are_counted_with_those_that_have_no_example():
    assert TASK.class_counts(np.asarray([2, 0, 2], np.int32), 4).tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        (np.float32([0.5, 2]), "float32 (2,)"),
        (np.ones((2, 3), bool), "bool (2, 3)"),
        ({"b": np.zeros(2, np.int32), "a": np.zeros(2, np.float32)}, "a dictionary of a, b"),
    ],
)
def test_targets_that_are_no_class_numbers_are_refused(targets, found):
    with pytest.raises(DataError) as refused:
        TASK.check(targets, ("a", "b"), "drawn")
    assert (refused.value.where, refused.value.found) == ("drawn targets", found)


def test_the_report_has_every_metric_and_the_names_of_the_classes():
    predicted = Predicted(np.asarray([0, 1, 1]), {"logits": np.eye(2)[[0, 1, 0]]}, {}, ("cat", "dog"))
    report = TASK.report(predicted)
    assert report["class_names"] == ("cat", "dog")
    assert report["accuracy"] == pytest.approx(2 / 3)
    assert report["recall"] == [1, 0.5]
    assert set(TASK.metrics) < set(report)


def test_pictures_are_the_confusion_matrix_and_where_there_are_images_the_mistakes():
    predicted = Predicted(np.asarray([0, 1, 1]), {"logits": np.eye(2)[[0, 1, 0]]}, {}, ("cat", "dog"))
    assert [each.name for each in TASK.pictures(predicted)] == ["confusion.png"]
    predicted = predicted._replace(images=np.zeros((3, 4, 4, 1), np.uint8))
    assert [each.name for each in TASK.pictures(predicted)] == ["confusion.png", "mistakes.png"]
