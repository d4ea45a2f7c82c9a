"""What a detector's outputs say is in an image."""

import jax.numpy as jnp
import numpy as np

from flaxcnn.tasks.detection.decoding import found_in_image


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
