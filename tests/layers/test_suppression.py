"""Of boxes that overlap the surer is left, or the other becomes less sure."""

import jax
import numpy as np
import pytest

from flaxcnn.layers.suppression import softened, suppressed

pytestmark = pytest.mark.usefixtures("light_programs")


def drawn(seed, count=80):
    """Boxes around few places, so that many overlap, with falling scores and classes."""
    random = np.random.default_rng(seed)
    middles = random.uniform(10, 60, (6, 2))[random.integers(0, 6, count)] + random.normal(0, 1.5, (count, 2))
    sizes = random.uniform(12, 16, (count, 2))
    boxes = np.concatenate([middles - sizes / 2, middles + sizes / 2], 1).astype(np.float32)
    scores = np.sort(random.uniform(0.01, 1, count).astype(np.float32))[::-1].copy()
    return boxes, scores, random.integers(0, 3, count)


def iou(one, other):
    """In plain Python."""
    high, wide = (max(0.0, min(one[k + 2], other[k + 2]) - max(one[k], other[k])) for k in (0, 1))
    sizes = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return high * wide / (sum(sizes) - high * wide)


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_what_is_left_is_what_a_loop_over_the_boxes_leaves(by_class, threshold):
    run = jax.jit(suppressed, static_argnums=2)
    for seed in range(5):
        boxes, _, classes = drawn(seed)
        left = []
        for place, box in enumerate(boxes.astype(np.float64)):
            rivals = [each for each in left if not by_class or classes[each] == classes[place]]
            if all(iou(box, boxes[each].astype(np.float64)) <= threshold for each in rivals):
                left.append(place)
        found = run(boxes, classes if by_class else None, threshold)
        np.testing.assert_array_equal(np.flatnonzero(found), left)
        assert 0 < len(left) < len(boxes)


@pytest.mark.parametrize("by_class", [False, True])
def test_scores_are_lowered_as_by_a_loop_over_the_boxes(by_class):
    """The algorithm of Bodla et al. in plain Python: the surest of those that are left lowers the others."""
    run = jax.jit(softened)
    for seed in range(3):
        boxes, scores, classes = drawn(seed)
        order = np.random.default_rng(seed).permutation(len(boxes))
        boxes, scores = boxes[order], scores[order]
        expected, left = scores.astype(np.float64), list(range(len(boxes)))
        while left:
            best = max(left, key=lambda each: expected[each])
            left.remove(best)
            for each in left:
                if not by_class or classes[each] == classes[best]:
                    expected[each] *= np.exp(-(iou(boxes[best], boxes[each]) ** 2) / 0.5)
        found = run(boxes, scores, classes if by_class else None)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
        assert (np.asarray(found) < scores).sum() > len(boxes) / 2


def test_two_boxes_by_hand():
    """Side by side they share a third: the second keeps exp(-(1/3)² / 0.5) = 0.8007 of its score."""
    boxes = np.float32([(0, 0, 2, 2), (0, 1, 2, 3)])
    np.testing.assert_allclose(softened(boxes, np.float32([0.9, 0.5]), None), [0.9, 0.5 * 0.80073], rtol=1e-4)
    np.testing.assert_allclose(softened(boxes, np.float32([0.9, 0.5]), np.int32([0, 1])), [0.9, 0.5])
