"""Each kind of error, and what its repair is worth, by hand."""

import numpy as np
import pytest

from flaxcnn.tasks.detection.boxes import objects_of
from flaxcnn.tasks.detection.errors import KINDS, costs, errors_of
from flaxcnn.tasks.detection.matching import matched
from flaxcnn.tasks.detection.scores import DetectionScores
from tests.tasks.detection.coco import drawn, predicted_of

A, FAR, NOWHERE = (0, 0, 40, 40), (100, 100, 140, 140), (300, 300, 340, 340)
BESIDE_A = (0, 24, 40, 64)  # an IoU of 16 / 64 with A


def of(true, found, classes=2):
    objects = objects_of(predicted_of(true, found, classes))
    return objects, matched(objects)


def kinds(true, found):
    """The kinds of an image's detections, in their order, and the places of the missed objects."""
    objects, matches = of([true], [found])
    errors = errors_of(objects, matches, np.ones(len(found), bool))
    order = np.argsort(objects.detections.places)
    named = [KINDS[each] if each >= 0 else "right" for each in errors.kinds[order]]
    return named, np.flatnonzero(errors.missed).tolist()


def test_each_kind_is_told_from_the_others():
    true = [(0, A), (0, FAR)]
    assert kinds(true, [(0, 0.9, A), (0, 0.8, A)]) == (["right", "duplicate"], [1])
    assert kinds(true, [(1, 0.9, A)]) == (["class"], [1])  # what is meant is not missed
    assert kinds(true, [(0, 0.9, BESIDE_A)]) == (["place"], [1])
    assert kinds(true, [(1, 0.9, BESIDE_A)]) == (["both"], [0, 1])
    assert kinds(true, [(0, 0.9, NOWHERE)]) == (["background"], [0, 1])
    assert kinds([], [(0, 0.9, NOWHERE)]) == (["background"], [])
    assert kinds(true, []) == ([], [0, 1])


def test_a_box_beside_its_class_and_on_another_is_an_error_of_place():
    assert kinds([(0, A), (1, BESIDE_A)], [(0, 0.9, BESIDE_A)]) == (["place"], [1])


def test_what_is_left_out_is_no_error():
    objects, matches = of([[(0, A)]], [[(0, 0.9, A), (0, 0.8, NOWHERE), (1, 0.7, NOWHERE)]])
    errors = errors_of(objects, matches, objects.detections.scores > 0.75)
    assert errors.kinds.tolist() == [-1, 4, -1]
    assert errors.numbers == {"class": 0, "place": 0, "both": 0, "duplicate": 0, "background": 1, "missed": 0}


def test_of_two_errors_that_mean_one_object_the_surer_is_repaired_and_the_other_removed():
    objects, matches = of([[(0, A), (0, FAR)]], [[(1, 0.9, A), (0, 0.8, BESIDE_A), (1, 0.7, A), (0, 0.6, FAR)]])
    found = costs(objects, matches)
    before = 51 / 101 / 2  # FAR is the second of two
    assert found["class"] == pytest.approx((51 + 50 * 2 / 3) / 101 - before)  # right, wrong, right
    assert found["place"] == pytest.approx(1 - before)
    assert found["missed"] == pytest.approx(0)


def test_an_error_that_means_a_found_object_is_only_removed():
    objects, matches = of([[(0, A)]], [[(1, 0.9, A), (0, 0.8, A)]])
    assert costs(objects, matches)["class"] == pytest.approx(0)  # class 1, which has no object, has no precision
    objects, matches = of([[(0, A), (1, FAR)]], [[(1, 0.9, A), (0, 0.8, A), (1, 0.7, FAR)]])
    assert costs(objects, matches)["class"] == pytest.approx(0.25)  # from 1/2 to 1, in one of two classes


def test_what_is_wrong_is_removed_and_what_is_missed_left_out():
    objects, matches = of([[(0, A), (0, FAR)]], [[(0, 0.9, NOWHERE), (0, 0.8, A), (0, 0.7, A), (1, 0.6, BESIDE_A)]])
    found = costs(objects, matches)
    before = 51 / 101 / 2
    assert found["background"] == pytest.approx(51 / 101 - before)
    assert found["duplicate"] == found["both"] == 0
    assert found["missed"] == pytest.approx(1 / 2 - before)
    assert found["class"] == found["place"] == 0


def test_without_an_object_no_cost_is_known():
    assert np.isnan(list(costs(*of([[]], [[(0, 0.9, A)]])).values())).all()


@pytest.mark.parametrize("seed", range(3))
def test_every_detection_has_one_kind_and_repairs_cost_nothing(seed):
    objects = objects_of(drawn(seed, images=30))
    matches = matched(objects)
    errors = errors_of(objects, matches, np.ones(len(objects.detections.images), bool))
    assert ((errors.kinds == -1) == matches.right).all()
    assert sum(errors.numbers.values()) == (~matches.right).sum() + errors.missed.sum()
    assert all(cost >= 0 for cost in costs(objects, matches).values())
    ap50 = DetectionScores(objects, 0.5, matches).measure(np.ones((1, 30), np.int32), ["ap50"])["ap50"][0]
    assert 0 < ap50 + max(costs(objects, matches).values()) <= 1


def test_random_errors_are_tidecvs():
    """As tidecv 1.0.1 counts and repairs them; its mean is over four classes, of which one has no object."""
    objects = objects_of(drawn(5, images=25, detections=30))
    matches = matched(objects)
    numbers = errors_of(objects, matches, np.ones(len(objects.detections.images), bool)).numbers
    assert list(numbers.values()) == [27, 2, 4, 106, 108, 30]
    expected = [0.02707163863, 0.003629136267, 0.000369432804, 0.082264673368, 0.080590335812, 0.125065766425]
    assert list(costs(objects, matches).values()) == pytest.approx(expected, abs=1e-11)
