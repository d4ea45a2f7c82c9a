"""What is taken for what, by hand; its sums are those of objects and detections."""

import numpy as np
import pytest

from flaxcnn.tasks.detection.boxes import objects_of
from flaxcnn.tasks.detection.confusion import confusion_matrix
from flaxcnn.tasks.detection.matching import matched
from flaxcnn.tasks.detection.operating_point import outcome_at
from tests.tasks.detection.coco import drawn, predicted_of

A, FAR, NOWHERE = (0, 0, 40, 40), (100, 100, 140, 140), (300, 300, 340, 340)


def of(true, found, threshold=0.5):
    objects = objects_of(predicted_of(true, found))
    outcome = outcome_at(objects, matched(objects), threshold)
    return confusion_matrix(objects, outcome).tolist()


def test_a_case_of_each_cell():
    true = [[(0, A), (1, FAR)], [(0, A), (1, FAR)], [(0, A)]]
    found = [
        [(0, 0.9, A), (1, 0.8, FAR)],  # both right
        [(1, 0.9, A), (0, 0.8, NOWHERE), (1, 0.4, FAR)],  # 0 as 1, nothing as 0, and 1 missed: 0.4 does not count
        [(0, 0.9, A), (1, 0.7, A)],  # right; the second finds no free box
    ]
    assert of(true, found) == [[2, 1, 0], [0, 1, 1], [1, 1, 0]]


def test_the_right_class_comes_first_then_the_surer_then_the_nearer():
    near = (0, 10, 40, 50)
    assert of([[(0, A)]], [[(1, 0.9, A), (0, 0.6, A)]]) == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert of([[(0, A), (0, near)]], [[(1, 0.9, near)]]) == [[0, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert of([[(0, A)]], [[(1, 0.9, near), (1, 0.8, A)]]) == [[0, 1, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("seed", range(3))
def test_rows_are_objects_and_columns_detections(seed):
    objects = objects_of(drawn(seed, images=30))
    outcome = outcome_at(objects, matched(objects), 0.3)
    matrix = confusion_matrix(objects, outcome)
    np.testing.assert_array_equal(matrix[:-1].sum(1), outcome.true_counts.sum(0))
    np.testing.assert_array_equal(matrix[:, :-1].sum(0), outcome.said_counts.sum(0))
    np.testing.assert_array_equal(np.diag(matrix)[:-1], outcome.right_counts.sum(0))
