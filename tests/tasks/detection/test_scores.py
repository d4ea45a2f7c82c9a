"""COCO's numbers are pycocotools'; the others follow by hand."""

import time

import numpy as np
import pytest

from flaxcnn.evaluation.intervals import bootstrap_intervals
from flaxcnn.tasks import measured
from flaxcnn.tasks.detection.boxes import objects_of
from flaxcnn.tasks.detection.scores import METRICS, DetectionScores
from tests.tasks.detection.coco import STATS, coco_numbers, drawn, evaluated, predicted_of


def numbers_of(predicted, counts=None):
    counts = np.ones((1, len(predicted.targets["scale"])), np.int32) if counts is None else counts
    return DetectionScores(objects_of(predicted), 0.5).measure(counts)


def require_cocos(predicted):
    found, expected = numbers_of(predicted), coco_numbers(evaluated(predicted))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name][0], value, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("seed", range(5))
def test_every_number_is_pycocotools_with_an_image_and_a_class_without_boxes(seed):
    predicted = drawn(seed)
    require_cocos(predicted)
    found = numbers_of(predicted)
    assert np.isnan(found["ap_of_each"][0, 1])
    assert all(0 < found[name][0] < 1 for name in STATS)


@pytest.mark.parametrize("seed", range(5))
def test_equal_scores_are_ranked_as_pycocotools_ranks_them(seed):
    require_cocos(drawn(seed, tied=True))


@pytest.mark.parametrize("seed", range(3))
def test_of_a_class_a_hundred_detections_of_an_image_count(seed):
    require_cocos(drawn(seed, images=3, classes=2, most=60, detections=400, tied=seed == 1))


def test_sizes_that_nothing_has_are_not_defined():
    predicted = drawn(3, sizes=(200, 250))
    require_cocos(predicted)
    assert np.isnan(numbers_of(predicted)["ap_small"][0])


def test_areas_at_the_limits_are_in_both_ranges():
    true = [[(0, (0, 0, 32, 32)), (0, (50, 50, 82, 82)), (1, (0, 0, 96, 96)), (1, (100, 100, 196, 196.5))]]
    found = [
        [
            (0, 0.9, (0, 0, 32, 32)),
            (0, 0.8, (200, 0, 232, 32)),
            (0, 0.7, (50, 50, 82, 83)),
            (1, 0.6, (0, 0, 96, 96)),
            (1, 0.5, (100, 100, 196, 196)),
            (1, 0.4, (100, 10, 196, 106)),
        ]
    ]
    for scale in (0.5, 1, 2):
        scaled = [[(*one[:-1], tuple(scale * side for side in one[-1])) for one in each[0]] for each in (true, found)]
        predicted = predicted_of([scaled[0]], [scaled[1]], scales=[scale])
        require_cocos(predicted)
        assert numbers_of(predicted)["ap_medium"][0] > 0


def test_a_size_survives_the_rounding_of_a_letterboxed_image():
    scale = np.float32(320 / 1037)
    corners = np.float32(np.asarray([211, 333, 243, 365]) * float(scale))
    predicted = predicted_of([[(0, corners)]], [[(0, 0.9, corners)]], scales=[scale])
    found = numbers_of(predicted)
    assert (found["ap_small"][0], found["ap_medium"][0]) == pytest.approx((1, 1))


def test_images_without_any_detection_and_without_any_truth():
    box = (0.0, 0.0, 40.0, 40.0)
    require_cocos(predicted_of([[(0, box)], []], [[], []]))
    require_cocos(predicted_of([[], []], [[(0, 0.9, box)], []]))
    found = numbers_of(predicted_of([[], []], [[(0, 0.9, box)], []]))
    assert found["precision"][0] == 0
    assert np.isnan([found[name][0] for name in ("recall", "main_box", *STATS)]).all()
    assert found["count_error"][0] == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_images_that_count_several_times_count_as_pycocotools_counts_copies(seed):
    predicted = drawn(seed, images=9, most=5)
    counts = np.random.default_rng(seed).multinomial(9, [1 / 9] * 9, size=4).astype(np.int32)
    found = numbers_of(predicted, counts)
    for row, copies in enumerate(counts):
        for name, value in coco_numbers(evaluated(predicted, copies)).items():
            np.testing.assert_allclose(found[name][row], value, rtol=0, atol=1e-9, err_msg=name)


def by_hand():
    """Two kinds in four images: what is right, said twice, of another kind, elsewhere, missed; the last has nothing."""
    a, b, far = (0, 0, 40, 40), (100, 100, 140, 140), (300, 300, 340, 340)
    true = [[(0, a), (1, b)], [(0, a), (0, b), (1, far)], [(1, a)], []]
    found = [
        [(0, 0.9, a), (1, 0.8, b)],
        [(0, 0.9, a), (0, 0.7, a), (1, 0.6, b), (1, 0.4, far)],
        [(0, 0.8, a), (1, 0.7, a)],
        [(1, 0.55, far)],
    ]
    return predicted_of(true, found)


def test_what_stands_above_the_threshold_follows_by_hand():
    found = {name: value[0] for name, value in numbers_of(by_hand()).items()}
    assert found["precision"] == pytest.approx(4 / 8)  # the detection of 0.4 does not count
    assert found["recall"] == pytest.approx(4 / 6)
    assert found["f1"] == pytest.approx(2 * 4 / (8 + 6))
    assert found["count_error"] == pytest.approx((0 + 0 + 1 + 1) / 4)
    assert found["main_box"] == pytest.approx(2 / 3)  # in the third image another kind is surer


def test_a_threshold_for_each_class_keeps_from_its_score_on():
    scores = DetectionScores(objects_of(by_hand()), np.float32([0.9, 0.4]))
    found = measured(scores, 4)
    assert found["precision"] == pytest.approx(5 / 7)  # 0.9 twice; 0.8, 0.6, 0.4, 0.7 and 0.55 of the other
    assert found["recall"] == pytest.approx(5 / 6)


def test_only_the_wanted_metrics_rank_detections():
    found = DetectionScores(objects_of(drawn(0)), 0.5).measure(np.ones((1, 12), np.int32), ["f1", "ap_small"])
    assert "ap_small" in found
    assert not {"ap", "ap50", "ap_large", "ar1"} & set(found)


def test_all_metrics_are_measured_and_within_their_ranges():
    found = measured(DetectionScores(objects_of(drawn(0)), 0.5), 12)
    assert found.keys() == METRICS.keys()
    assert all(0 <= found[name] <= 1 for name, metric in METRICS.items() if metric.fraction)


@pytest.mark.slow
def test_a_thousand_resamples_of_72_images_take_seconds():
    predicted = drawn(0, images=72, classes=3, most=24, detections=150)
    scores = DetectionScores(objects_of(predicted), 0.5)
    start = time.perf_counter()
    intervals = bootstrap_intervals(scores, list(METRICS), 72)
    assert time.perf_counter() - start < 20
    for name, value in measured(scores, 72).items():
        low, high = intervals[name]
        assert low <= value <= high, name


@pytest.mark.slow
def test_thousands_of_images_and_dozens_of_classes_are_pycocotools():
    require_cocos(drawn(0, images=1000, classes=40, most=20, detections=100))
