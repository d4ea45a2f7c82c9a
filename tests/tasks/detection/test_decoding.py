"""What a detector's outputs say is in an image."""

import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn import config
from flaxcnn.errors import ConfigError
from flaxcnn.tasks import create_task
from flaxcnn.tasks.detection.decoding import found_in_image
from flaxcnn.tasks.detection.task import Detection


def row(box, quality, *logits):
    return [*box, 0.0, 0.0, 8.0, quality, *logits]


def test_overlapping_boxes_of_a_class_are_one_object_and_those_of_two_classes_are_two():
    near, same, far = (0, 0, 10, 10), (0, 0, 10, 9), (30, 30, 40, 44)
    rows = [row(same, 0.0, 1.0, -9.0), row(near, 0.0, 2.0, -9.0), row(far, 0.0, -9.0, 0.0), row(near, 0.0, -9.0, 1.5)]
    found = found_in_image(jnp.float32(rows))
    assert found["boxes"].shape == (100, 4)
    expected = [np.sqrt(0.5 / (1 + np.exp(-logit))) for logit in (2.0, 1.5, 0.0)]
    np.testing.assert_allclose(found["scores"][:3], expected, rtol=1e-5)
    np.testing.assert_array_equal(found["classes"][:3], [0, 1, 1])
    np.testing.assert_array_equal(found["boxes"][:3], [near, near, far])


def test_a_box_of_another_class_is_left_lowered_or_taken_away():
    """Two boxes that share 90 of 100 square pixels, of two classes and of one."""
    rows = [row((0, 0, 10, 10), 0.0, 2.0, -9.0), row((0, 0, 10, 9), 0.0, -9.0, 1.0)]
    same = [row((0, 0, 10, 10), 0.0, 2.0), row((0, 0, 10, 9), 0.0, 1.0)]
    second = np.sqrt(0.5 / (1 + np.exp(-1.0)))

    def scores(rows, **options):
        return np.asarray(found_in_image(jnp.float32(rows), **options)["scores"][:2])

    np.testing.assert_allclose(scores(rows)[1], second, rtol=1e-5)
    assert scores(rows, suppression="any")[1] < 0.1  # what is left is the logit -9
    np.testing.assert_allclose(scores(rows, suppression="soft")[1], second, rtol=1e-5)
    np.testing.assert_allclose(scores(same, suppression="soft")[1], second * np.exp(-(0.9**2) / 0.5), rtol=1e-4)
    assert scores(same)[1] == 0
    np.testing.assert_allclose(scores(same, overlap=0.95)[1], second, rtol=1e-5)


def test_where_no_more_is_found_there_is_nothing():
    box = (0, 0, 10, 10)
    found = found_in_image(jnp.float32([row(box, 0.0, 1.0), row(box, 0.0, 0.0)]))
    np.testing.assert_array_equal(found["classes"], [0] + [-1] * 99)
    np.testing.assert_array_equal(found["scores"][1:], np.zeros(99))
    np.testing.assert_array_equal(found["boxes"], [box] + [(0, 0, 0, 0)] * 99)


def test_a_hundred_objects_are_found_at_most():
    random = np.random.default_rng(0)
    corners = random.uniform(0, 5000, (400, 2))
    rows = [
        row((y, x, y + 5, x + 5), 0.0, logit) for (y, x), logit in zip(corners, random.normal(size=400), strict=True)
    ]
    found = found_in_image(jnp.float32(rows))
    assert found["scores"].shape == (100,)
    best = np.sort([each[-1] for each in rows])[::-1][:100]
    np.testing.assert_allclose(found["scores"], np.sqrt(0.5 / (1 + np.exp(-best))), rtol=1e-5)


def test_without_suppression_each_place_says_its_box_and_its_scores():
    rows = jnp.float32([[row((0, 0, 10, 10), 1.0, 2.0, -9.0), row((0, 0, 10, 9), 0.0, 1.0, 0.5)]])
    found = Detection(classes=2, suppression="none").decode({}, rows)
    np.testing.assert_array_equal(found["boxes"], [[(0, 0, 10, 10), (0, 0, 10, 9)]])
    sigmoid = lambda logits: 1 / (1 + np.exp(-np.float64(logits)))  # noqa: E731
    expected = np.sqrt([sigmoid([2.0, -9.0]) * sigmoid(1.0), sigmoid([1.0, 0.5]) * 0.5])
    np.testing.assert_allclose(found["scores"][0], expected, rtol=1e-5)


def test_an_overlap_that_nothing_uses_is_refused():
    with pytest.raises(ConfigError, match=r"task.overlap: the suppression soft does not use it") as caught:
        create_task(config.Task("detection", suppression="soft", overlap=0.5))
    assert caught.value.expected == "task.suppression class or any, or the default 0.6"
    with pytest.raises(ConfigError, match="regression does not use it"):
        config.Task("regression", overlap=0.5)
