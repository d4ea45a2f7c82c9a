"""Average precision of small cases by hand; of many, `test_scores.py` asks pycocotools."""

import numpy as np
import pytest

from flaxcnn.tasks.detection.average_precision import Ranked, class_precisions, interpolated, precision_recall


def test_precision_is_the_highest_at_that_recall_or_more():
    hits, through, sought = np.asarray([[1, 2, 3]]), np.asarray([[2, 3, 6]]), np.asarray([4])
    expected = (51 * 2 / 3 + 25 * 3 / 6) / 101  # 2/3 up to a recall of 0.5, 1/2 up to 0.75, then none
    assert interpolated(hits, through, sought)[0] == pytest.approx(expected)


def test_what_does_not_count_is_neither_right_nor_wrong():
    images = np.asarray([0, 0, 1, 1])
    right = np.asarray([[False, False], [True, False], [False, False], [True, True]])
    counted = np.asarray([[False, True], [True, False], [True, True], [True, True]])
    found = Ranked(images, right, counted).areas(np.ones((1, 2), np.int32), np.asarray([2]))
    expected = [(51 + 50 * 2 / 3) / 101, 51 / 3 / 101]
    np.testing.assert_allclose(found[0], expected)


def test_an_image_that_does_not_count_has_no_detection():
    right = np.asarray([[True], [False], [True]])
    ranked = Ranked(np.asarray([0, 1, 2]), right, np.ones((3, 1), bool))
    counts = np.asarray([[1, 0, 1], [0, 1, 1], [0, 1, 2], [1, 1, 0]])
    found = ranked.areas(counts, np.asarray([2, 1, 2, 0]))[:, 0]
    np.testing.assert_allclose(found, [1, 0.5, 2 / 3, np.nan])


def test_each_class_is_ranked_by_itself():
    classes, scores = np.asarray([1, 0, 1, 0]), np.asarray([0.2, 0.9, 0.8, 0.1])
    found = class_precisions(classes, scores, np.asarray([True, True, False, False]), [1, 1, 0])
    np.testing.assert_allclose(found, [1, 0.5, np.nan])


def test_nothing_found_is_a_precision_of_none():
    assert class_precisions(np.zeros(0, int), np.zeros(0), np.zeros(0, bool), [3]).tolist() == [0]
    precision, recall = precision_recall(np.zeros(0), np.zeros(0, bool), 3)
    assert (precision.size, recall.size) == (0, 0)
