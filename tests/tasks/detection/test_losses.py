"""The loss of a detector, by hand, and what it must not depend on."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.tasks import Detection

NOTHING = (np.full((1, 4), np.nan, np.float32), np.full(1, -1, np.int32))
TASK = Detection(classes=2)


def place(box, quality, logits, at=(4.0, 4.0), stride=8.0):
    """A row of a detector's outputs."""
    return [*box, *at, stride, quality, *logits]


def loss(rows, boxes, classes, objects=2.0):
    constants = {"objects": np.float32(objects), "thresholds": np.zeros(2, np.float32)}
    targets = {"boxes": jnp.float32(boxes)[None], "classes": jnp.int32(classes)[None]}
    (found,) = TASK.losses(None, constants, jnp.float32(rows)[None], targets)
    return float(found)


def test_a_place_that_finds_an_object_costs_class_box_and_quality():
    rows = [place((0, 0, 8, 4), 0.0, (0.0, 0.0))]  # of an object of 8 times 8, of which it sees half
    focal = (0.25 + 0.75) * 0.5**2 * math.log(2)  # the class that is there, and the one that is not
    expected = (focal + (1 - 0.5) + math.log(2)) / (9 * 2)  # the quality is 0.5 of 1/2: its entropy is log 2
    assert loss(rows, [(0, 0, 8, 8)], [1]) == pytest.approx(expected, rel=1e-5)


def test_an_image_without_objects_costs_what_its_places_say():
    rows = [place((0, 0, 8, 8), 3.0, (0.0, -2.0)), place((0, 0, 1, 1), -3.0, (-30.0, -30.0), at=(4.0, 12.0))]
    p = 1 / (1 + math.exp(2))
    expected = 0.75 * (0.5**2 * math.log(2) + p**2 * -math.log(1 - p)) / (9 * 2)
    assert loss(rows, *NOTHING) == pytest.approx(expected, rel=1e-5)


def test_what_is_right_costs_next_to_nothing():
    rows = [place((0, 0, 8, 8), 20.0, (-20.0, 20.0)), place((3, 3, 9, 9), -5.0, (-20.0, -20.0), at=(4.0, 60.0))]
    assert loss(rows, [(0, 0, 8, 8)], [1]) < 1e-6


def test_padding_and_other_images_change_nothing():
    random = np.random.default_rng(0)
    rows = random.normal(0, 1, (2, 6, 10)).astype(np.float32)
    rows[..., 4:6], rows[..., 6] = random.uniform(0, 48, (2, 6, 2)), 8
    rows[..., 2:4] = rows[..., :2] + 5
    boxes, classes = [[(0, 0, 30, 30)], [(10, 10, 40, 44)]], [[0], [1]]
    padded = [[*each, NOTHING[0][0]] for each in boxes], [[*each, -1] for each in classes]
    constants = {"objects": np.float32(1), "thresholds": np.zeros(2, np.float32)}

    def of(outputs, boxes, classes):
        targets = {"boxes": jnp.float32(boxes), "classes": jnp.int32(classes)}
        return TASK.losses(None, constants, jnp.float32(outputs), targets)

    together = of(rows, boxes, classes)
    np.testing.assert_allclose(of(rows, *padded), together, rtol=1e-6)
    np.testing.assert_allclose(of(rows[1:], boxes[1:], classes[1:]), together[1:], rtol=1e-6)
    gradient = jax.grad(lambda outputs: of(outputs, *padded).sum())(jnp.asarray(rows))
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[..., :4]).max() > 0


def test_the_surest_box_is_right_in_class_and_place():
    def measured(rows, boxes, classes):
        targets = {"boxes": jnp.float32([boxes]), "classes": jnp.int32([classes])}
        found = TASK.statistics({}, jnp.float32([rows]), targets)
        return TASK.measures({name: float(value[0]) for name, value in found.items()}, 1)["main_box"]

    sure, unsure = place((0, 0, 8, 8), 3.0, (-5.0, 3.0)), place((0, 0, 8, 8), 3.0, (1.0, -5.0))
    box = (0, 0, 8, 15)  # whose overlap with it is 8 / 15
    assert measured([unsure, sure], [box], [1]) == 1
    assert measured([unsure, sure], [box], [0]) == 0  # another class
    assert measured([unsure, sure], [(0, 0, 8, 17)], [1]) == 0  # 8 / 17
    assert measured([unsure, sure], [NOTHING[0][0], box], [-1, 1]) == 1
    assert measured([unsure, sure], *NOTHING) == 0  # no image counts: 0 of 0
