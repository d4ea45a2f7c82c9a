"""Boxes become flat arrays in COCO's order; what does not fit is refused in one line."""

import numpy as np
import pytest

from flaxcnn.errors import DataError
from flaxcnn.tasks.detection import boxes
from flaxcnn.tasks.detection.boxes import iou, objects_of, overlapping
from tests.error_fields import fields
from tests.tasks.detection.coco import drawn, predicted_of

BOX = (0.0, 0.0, 10.0, 20.0)


def test_detections_are_sorted_by_class_then_score_then_image_and_place():
    found = [
        [(1, 0.5, BOX), (0, 0.5, BOX), (0, 0.5, BOX)],
        [(0, 0.9, BOX), (0, 0.0, BOX), (-1, 0.8, BOX)],
        [(0, 0.5, BOX)],
    ]
    detections = objects_of(predicted_of([[], [], []], found)).detections
    assert detections.classes.tolist() == [0, 0, 0, 0, 1]
    assert detections.images.tolist() == [1, 0, 0, 2, 0]
    assert detections.places.tolist() == [0, 1, 2, 0, 0]
    assert detections.ranks.tolist() == [0, 0, 1, 0, 0]


def test_areas_are_in_pixels_of_the_original():
    objects = objects_of(predicted_of([[(0, BOX)]], [[(0, 0.9, BOX)]], scales=[0.5]))
    assert objects.truths.areas.tolist() == objects.detections.areas.tolist() == [800]


def test_the_most_confident_detection_of_an_image_is_the_first_of_equal_ones():
    objects = objects_of(predicted_of([[], []], [[(1, 0.5, BOX), (0, 0.5, BOX)], []]))
    assert objects.detections.classes[objects.first].tolist() == [1]


def test_pairs_are_those_of_every_image_also_if_looked_at_in_parts(monkeypatch):
    objects = objects_of(drawn(0))
    for across in (False, True):
        expected = []
        for place in range(len(objects.detections.images)):
            one = objects.detections.boxes[place]
            for other in range(len(objects.truths.images)):
                same = objects.truths.classes[other] == objects.detections.classes[place]
                if objects.truths.images[other] == objects.detections.images[place] and (same or across):
                    share = iou(one[None], objects.truths.boxes[other][None])[0]
                    expected += [(place, other, share)] * int(share >= 0.3)
        for most in (2**22, 5):
            monkeypatch.setattr(boxes, "_PAIRS", most)
            pairs = overlapping(objects, 0.3, across_classes=across)
            assert list(zip(*(each.tolist() for each in pairs), strict=True)) == expected


def test_boxes_without_area_overlap_nothing():
    point = np.asarray([[5.0, 5, 5, 5]])
    assert iou(point, point).tolist() == [0]


def changed(where, name, array):
    predicted = drawn(0, images=2)
    return predicted._replace(**{where: {**getattr(predicted, where), name: array}})


@pytest.mark.parametrize(
    ("where", "name", "value", "expected"),
    [
        ("targets", "scale", np.float32([1, 0]), "targets"),
        ("targets", "scale", np.ones(3, np.float32), "targets"),
        ("targets", "classes", np.full((2, 8), 4, np.int32), "targets"),
        ("targets", "boxes", np.zeros((2, 8), np.float32), "targets"),
        ("predictions", "classes", np.zeros((2, 3), np.int32), "predictions"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(where, name, value, expected):
    with pytest.raises(DataError) as caught:
        objects_of(changed(where, name, value))
    assert fields(caught.value)[0] == expected


@pytest.mark.parametrize("box", [(10, 0, 0, 10), (0, 0, np.nan, 10), (0, 0, 10, np.inf)])
def test_a_box_that_is_none_is_refused(box):
    with pytest.raises(DataError, match="no predicted box"):
        objects_of(predicted_of([[]], [[(0, 0.5, box)]]))
    with pytest.raises(DataError, match="no true box"):
        objects_of(predicted_of([[(0, box)]], [[]]))


def test_targets_without_a_scale_are_refused():
    predicted = drawn(0)
    with pytest.raises(DataError) as caught:
        objects_of(predicted._replace(targets={name: predicted.targets[name] for name in ("boxes", "classes")}))
    assert fields(caught.value) == ("targets", "boxes, classes, scale", "boxes, classes")
