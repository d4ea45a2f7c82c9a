"""What is told of detections: a dictionary for JSON, the parts of a page, pictures, the worst images."""

import json
from functools import partial

import numpy as np
import pytest

from flaxcnn.evaluation.intervals import binomial_interval
from flaxcnn.pages.html import document
from flaxcnn.pages.parts import Matrix, Table
from flaxcnn.pages.render import section
from flaxcnn.pictures import drawn as picture
from flaxcnn.tasks import measured
from flaxcnn.tasks.detection.boxes import objects_of
from flaxcnn.tasks.detection.evaluated import evaluated, tuned_thresholds
from flaxcnn.tasks.detection.matching import matched
from flaxcnn.tasks.detection.operating_point import best_thresholds
from flaxcnn.tasks.detection.parts import mistakes_of, parts_of
from flaxcnn.tasks.detection.pictures import draw_counts, draw_precision_recall, draw_worst
from flaxcnn.tasks.detection.report import report_of
from flaxcnn.tasks.detection.scores import METRICS
from tests.pages import require_alone
from tests.tasks.detection.coco import drawn, predicted_of

A, FAR, NOWHERE = (0, 0, 40, 40), (100, 100, 140, 140), (300, 300, 340, 340)


def by_hand():
    """Three images: all right; two wrong and one missed; nothing there, and nothing said."""
    true = [[(0, A), (1, FAR)], [(0, A), (0, FAR)], []]
    return predicted_of(true, [[(0, 0.9, A), (1, 0.8, FAR)], [(0, 0.9, A), (1, 0.7, A), (1, 0.6, NOWHERE)], []])


def interval(right_N, among_N):
    return binomial_interval(int((right_N & among_N).sum()), int(among_N.sum()))


def test_a_report_is_json_with_every_metric_and_each_class():
    predicted = by_hand()
    report = json.loads(json.dumps(report_of(predicted), allow_nan=False))
    assert METRICS.keys() < report.keys()
    assert {name: report[name] for name in METRICS if report[name] is not None} == {
        name: value for name, value in measured(evaluated(predicted).scores, 3).items() if not np.isnan(value)
    }
    assert report["ap_small"] is None
    assert report["classes"] == ["kind 0", "kind 1"]
    assert report["objects"] == [3, 1]
    assert report["ap50_of_each"] == pytest.approx([(67 * 1) / 101, 1])  # two of three found, none wrong
    assert report["precision_of_each"] == pytest.approx([1, 1 / 3])
    assert report["recall_of_each"] == pytest.approx([2 / 3, 1])
    assert report["count_error_of_each"] == pytest.approx([1 / 3, 2 / 3])
    assert report["count_bias_of_each"] == pytest.approx([-1 / 3, 2 / 3])
    assert report["count_bias"] == pytest.approx(1 / 3)
    assert {kind: value["number"] for kind, value in report["errors"].items()} == {
        **dict.fromkeys(("place", "both", "duplicate"), 0),
        **dict.fromkeys(("class", "background", "missed"), 1),
    }
    assert report["errors"]["missed"]["ap50_cost"] == pytest.approx((1 - 67 / 101) / 2)
    assert report["confusion"] == [[2, 0, 1], [0, 1, 0], [0, 2, 0]]


def test_what_no_image_shows_is_told_as_none():
    report = json.loads(json.dumps(report_of(predicted_of([[]], [[]])), allow_nan=False))
    assert report["ap"] is report["f1"] is report["main_box"] is report["errors"]["class"]["ap50_cost"] is None
    assert report["count_error"] == 0


def test_thresholds_are_those_of_best_f1():
    predicted = drawn(1)
    objects = objects_of(predicted)
    np.testing.assert_array_equal(tuned_thresholds(predicted), best_thresholds(objects, matched(objects)))


def test_parts_are_a_page_that_says_what_follows_by_hand():
    parts = {part.title: part for part in parts_of(by_hand(), None, interval)}
    assert list(parts) == ["Each class", "Counts", "Errors", "Confusion", "Sizes", "Precision and recall"]
    assert parts["Each class"].blocks[1].warns
    rows = parts["Each class"].blocks[-1].rows
    assert rows[0][:2] + rows[0][3:] == ["kind 0", "3", "0.663", "1.000", "0.667", "0.800", "0.500"]
    counts = parts["Counts"].blocks[-1].rows
    assert counts[0][:6] == ["all together", "1.33", "1.67", "0.333", "+0.333", "0.667"]
    assert [row[0] for row in counts] == ["all together", "kind 1", "kind 0"]
    kinds = {row[0]: row[2:4] for row in parts["Errors"].blocks[1].rows}
    assert kinds["missed"] == ["1", "0.333"]
    assert "of 1.000" in parts["Errors"].blocks[2].text
    assert all(isinstance(block, Matrix) for block in parts["Confusion"].blocks[1:])
    with_validation = {part.title: part for part in parts_of(by_hand(), drawn(0), interval)}
    assert "12 validation images" in with_validation["Each class"].blocks[1].text


@pytest.mark.parametrize("predicted", [by_hand(), drawn(0), predicted_of([[]], [[]], 1)])
def test_parts_are_drawn_as_a_page(predicted):
    parts = list(parts_of(predicted, None, interval))
    tables = [block for part in parts for block in part.blocks if isinstance(block, Table)]
    assert all(len(row) == len(table.heads) for table in tables for row in table.rows)
    require_alone(document("detections", [line for part in parts for line in section(part)]))


def test_the_worst_images_have_the_most_errors():
    found = mistakes_of(by_hand(), 5)
    assert found.errors_N.tolist() == [0, 3, 0]
    assert list(found.worst) == [1]
    assert list(found.said) == ["1 of 2 objects found; missed: 1 kind 0; wrong: 2 kind 1"]


@pytest.mark.parametrize(
    ("predicted", "channels"), [(drawn(0, images=6), 3), (by_hand(), 1), (predicted_of([[]], [[]], 1), 3)]
)
def test_pictures_are_drawn(predicted, channels):
    found = evaluated(predicted)
    images = np.zeros((found.objects.images, 350, 350, channels), np.uint8)
    ap50 = found.scores.measure(np.ones((1, len(images)), np.int32))["ap50_of_each"][0]
    draws = partial(draw_worst, images, found), partial(draw_precision_recall, found, ap50), partial(draw_counts, found)
    for draw in draws:
        assert picture("picture.png", draw).startswith(b"\x89PNG")
