"""Label errors are the off-diagonal of the confident joint of Northcutt et al. 2021, computed by hand."""

import numpy as np

from flaxcnn.evaluation.label_errors import label_errors


def test_thresholds_are_the_mean_self_confidence_and_the_worst_is_first():
    labels = np.asarray([0, 0, 0, 1, 1, 1], np.int32)
    first = np.asarray([0.9, 0.8, 0.1, 0.2, 0.3, 0.7])
    # Class 0: (0.9 + 0.8 + 0.1) / 3 = 0.6. Class 1: (0.8 + 0.7 + 0.3) / 3 = 0.6.
    found = label_errors(labels, np.stack([first, 1 - first], axis=1))
    np.testing.assert_allclose(found.thresholds, [0.6, 0.6])
    assert found.positions.tolist() == [2, 5]  # 0.1 - 0.9 is worse than 0.3 - 0.7
    assert found.classes.tolist() == [1, 0]
    np.testing.assert_allclose(found.given, [0.1, 0.3])
    np.testing.assert_allclose(found.predicted, [0.9, 0.7])


def test_the_most_probable_class_is_no_error_below_its_threshold():
    # The example of class 1 has most of class 0, 0.5, but examples of class 0 usually have 0.9.
    probabilities = np.asarray([[0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.5, 0.45, 0.05], [0.0, 0.9, 0.1]])
    found = label_errors(np.asarray([0, 0, 1, 1]), probabilities)
    assert found.positions.tolist() == []


def test_a_class_that_the_model_is_seldom_sure_of_is_measured_by_its_own_threshold():
    # Class 1 has 0.4 where it is right: (0.4 + 0.4) / 2. An example of class 0 with 0.42 of class 1 reaches that, and
    # its own class's threshold, (0.9 + 0.3) / 2 = 0.6, it does not.
    probabilities = np.asarray([[0.9, 0.1, 0.0], [0.3, 0.42, 0.28], [0.35, 0.4, 0.25], [0.35, 0.4, 0.25]])
    found = label_errors(np.asarray([0, 0, 1, 1]), probabilities)
    np.testing.assert_allclose(found.thresholds, [0.6, 0.4, np.inf])
    assert (found.positions.tolist(), found.classes.tolist()) == ([1], [1])
