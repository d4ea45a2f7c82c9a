"""The threshold has the best F1 of all thresholds; counts and their errors follow by hand."""

import numpy as np
import pytest

from flaxcnn.tasks.detection.boxes import objects_of
from flaxcnn.tasks.detection.matching import matched
from flaxcnn.tasks.detection.operating_point import (
    UNKNOWN,
    best_threshold,
    best_thresholds,
    counting_errors,
    outcome_at,
    precision_recall_f1,
)
from tests.tasks.detection.coco import drawn, predicted_of

A, B, FAR = (0, 0, 40, 40), (100, 100, 140, 140), (300, 300, 340, 340)


def of(true, found, classes=2):
    objects = objects_of(predicted_of(true, found, classes))
    return objects, matched(objects)


def f1_at(objects, matches, thresholds):
    outcome = outcome_at(objects, matches, thresholds)
    counts = outcome.right_counts, outcome.said_counts, outcome.true_counts
    return np.nan_to_num(precision_recall_f1(*(each.sum(0) for each in counts))[2]), precision_recall_f1(
        *(each.sum() for each in counts)
    )[2]


@pytest.mark.parametrize("tied", [False, True])
def test_no_threshold_has_a_better_f1(tied):
    objects = objects_of(drawn(1, tied=tied))
    matches = matched(objects)
    own, together = best_thresholds(objects, matches), best_threshold(objects, matches)
    best_of_each, best = f1_at(objects, matches, own)[0], f1_at(objects, matches, together)[1]
    for score in np.linspace(0, 1, 201):
        of_each, of_all = f1_at(objects, matches, score)
        assert (best_of_each >= of_each).all()
        assert best >= of_all
    assert own.dtype == np.float32
    assert own[1] == np.float32(together)  # a class without boxes has that of all


def test_a_threshold_lies_half_way_between_two_scores():
    objects, matches = of([[(0, A), (0, B)]], [[(0, 0.75, A), (0, 0.5, B), (0, 0.25, FAR)]])
    assert best_threshold(objects, matches) == 0.375


def test_where_all_are_right_the_lowest_score_is_kept():
    objects, matches = of([[(0, A), (0, B)]], [[(0, 0.75, A), (0, 0.5, B)]])
    threshold = best_threshold(objects, matches)
    assert threshold < 0.5 < threshold + 1e-6
    assert outcome_at(objects, matches, threshold).right_counts.tolist() == [[2, 0]]


def test_without_a_right_detection_no_threshold_is_known():
    objects, matches = of([[(0, A)]], [[(0, 0.9, FAR), (1, 0.9, A)]])
    assert best_threshold(objects, matches) == UNKNOWN
    assert best_thresholds(objects, matches).tolist() == [UNKNOWN, UNKNOWN]


def test_counts_are_those_of_each_image_and_class():
    objects, matches = of(
        [[(0, A), (1, B)], [(0, A)]],
        [[(0, 0.9, A), (0, 0.8, A), (1, 0.3, B)], [(1, 0.7, A), (0, 0.6, FAR)]],
    )
    outcome = outcome_at(objects, matches, 0.5)
    assert outcome.said_counts.tolist() == [[2, 0], [1, 1]]
    assert outcome.right_counts.tolist() == [[1, 0], [0, 0]]
    assert outcome.true_counts.tolist() == [[1, 1], [1, 0]]
    assert outcome.found.tolist() == [True, False, False]
    error, bias = counting_errors(outcome.said_counts, outcome.true_counts)
    assert (error.tolist(), bias.tolist()) == ([0.5, 1.0], [0.5, 0.0])


def test_a_detection_with_the_thresholds_own_score_is_kept():
    objects, matches = of([[(0, A)]], [[(0, 0.5, A)]])
    assert outcome_at(objects, matches, 0.5).right.tolist() == [True]
