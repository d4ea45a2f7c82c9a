"""Two programs of one detector agree but for a few detections that rounding decides."""

import math

import numpy as np
import pytest

from flaxcnn.tasks import Detection


def detections(count=100, images=2, seed=0):
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 250, (images, count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 60, (images, count, 2))], -1)
    scores = -np.sort(-random.uniform(0, 1, (images, count)), axis=1)
    classes = random.integers(0, 3, (images, count))
    return {"boxes": boxes.astype(np.float32), "scores": scores.astype(np.float32), "classes": classes.astype(np.int32)}


def test_order_is_nothing_and_a_small_difference_is_what_it_is():
    wanted, task = detections(), Detection(classes=3)
    assert task.difference(wanted, wanted) == 0
    order = np.random.default_rng(1).permutation(100)
    assert task.difference({name: array[:, order] for name, array in wanted.items()}, wanted) == 0
    nearly = {**wanted, "scores": wanted["scores"] + np.float32(1e-3)}
    assert task.difference(nearly, wanted) == pytest.approx(1e-3, rel=1e-2)
    scale = wanted["boxes"].max()
    assert task.difference({**wanted, "boxes": wanted["boxes"] + 2}, wanted) == pytest.approx(2 / scale, rel=1e-3)


def test_one_in_twenty_may_be_another_and_no_more():
    wanted, task = detections(), Detection(classes=3)
    few = {name: array.copy() for name, array in wanted.items()}
    few["boxes"][:, 10:14] += 900
    assert task.difference(few, wanted) == 0
    few["boxes"][:, 10:18] += 900
    assert task.difference(few, wanted) > 0.1
    other = {**wanted, "classes": (wanted["classes"] + 1) % 3}
    assert task.difference(other, wanted) > 0.01


def test_what_is_no_number_or_of_another_shape_is_infinitely_far():
    wanted, task = detections(), Detection(classes=3)
    assert task.difference({**wanted, "boxes": wanted["boxes"] * np.float32(np.nan)}, wanted) == math.inf
    assert task.difference({name: array[:, :5] for name, array in wanted.items()}, wanted) == math.inf
