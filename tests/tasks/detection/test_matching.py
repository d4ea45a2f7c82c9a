"""Detections choose true boxes as in COCO's code; cases by hand show each rule."""

import numpy as np

from flaxcnn.tasks.detection.boxes import objects_of
from flaxcnn.tasks.detection.matching import matched
from tests.tasks.detection.coco import drawn, evaluated, predicted_of


def test_matches_are_pycocotools_box_by_box():
    predicted = drawn(2, tied=True, most=12, detections=40)
    objects, evaluation = objects_of(predicted), evaluated(predicted)
    matches = matched(objects)
    truths, found = objects.truths, objects.detections
    compared = 0
    for each in filter(None, evaluation.evalImgs):
        in_range = evaluation.params.areaRng.index(each["aRng"])
        own = np.flatnonzero((found.images == each["image_id"] - 1) & (found.classes == each["category_id"] - 1))
        taken = matches.truths[own, :, in_range].T
        known = np.asarray([int(name) for name in each["dtMatches"].ravel()]).reshape(each["dtMatches"].shape) - 1
        np.testing.assert_array_equal(taken, known)  # annotations are written in the order of true boxes
        np.testing.assert_array_equal(matches.counted[own, :, in_range].T, ~each["dtIgnore"])
        compared += taken.size
    assert compared == found.images.size * 40
    assert len(truths.images) == matches.sought.shape[0]


def test_the_surer_detection_chooses_first_and_takes_what_overlaps_most():
    one, other = (0, 0, 40, 40), (0, 10, 40, 50)
    found = [(0, 0.9, (0, 4, 40, 44)), (0, 0.8, one), (0, 0.7, other)]
    matches = matched(objects_of(predicted_of([[(0, one), (0, other)]], [found])))
    assert matches.truths[:, 0, 0].tolist() == [0, 1, -1]  # the second still has 0.6 with what is left, the third none


def test_a_true_box_of_the_size_is_taken_before_one_that_overlaps_more():
    large, medium = (0, 0, 100, 100), (0, 0, 100, 90)
    objects = objects_of(predicted_of([[(0, large), (0, medium)]], [[(0, 0.9, large)]]))
    matches = matched(objects, [0.5], [(0, 1e10), (32**2, 96**2)])
    assert matches.truths[0, 0].tolist() == [0, 1]
    assert matches.counted[0, 0].tolist() == [True, True]


def test_what_is_matched_does_not_depend_on_what_is_less_sure():
    predicted = drawn(4, images=3, most=20, detections=150)
    whole = matched(objects_of(predicted))
    few = predicted._replace(predictions={name: array[:, :40] for name, array in predicted.predictions.items()})
    objects = objects_of(predicted)
    first = objects.detections.places < 40
    np.testing.assert_array_equal(whole.truths[first], matched(objects_of(few)).truths)
