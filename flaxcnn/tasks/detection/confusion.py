"""What true boxes are taken for, with a row and a column for the background."""

import numpy as np

from flaxcnn.tasks.detection.boxes import Objects, overlapping
from flaxcnn.tasks.detection.operating_point import Outcome

_LEAST = 0.5  # IoU


def confusion_matrix(objects: Objects, outcome: Outcome) -> np.ndarray:
    """Return how often each class (row) is found as each class (column): int64 (K + 1, K + 1).

    The diagonal has the right detections. What is left is matched whatever its class, the surest detection first, each
    with the free true box with which its IoU is largest, at least 0.5. The last column has true boxes that nothing
    finds, the last row detections where there is nothing, and no free box: duplicates, too.

    Args:
        objects: the boxes.
        outcome: of `outcome_at`, the detections at a threshold.
    """
    truths, found, background = objects.truths, objects.detections, objects.classes
    matrix = np.zeros((background + 1, background + 1), np.int64)
    right = found.classes[outcome.right]
    np.add.at(matrix, (right, right), 1)

    pairs = overlapping(objects, _LEAST, across_classes=True)
    free_P, free_G = outcome.kept & ~outcome.right, ~outcome.found
    left = np.flatnonzero(free_P[pairs.detections] & free_G[pairs.truths])
    detection_Q, truth_Q, iou_Q = pairs.detections[left], pairs.truths[left], pairs.ious[left]
    order = np.lexsort((-iou_Q, found.places[detection_Q], -found.scores[detection_Q]))
    for detection, truth in zip(detection_Q[order].tolist(), truth_Q[order].tolist(), strict=True):
        if free_P[detection] and free_G[truth]:
            free_P[detection] = free_G[truth] = False
            matrix[truths.classes[truth], found.classes[detection]] += 1
    np.add.at(matrix, (truths.classes[free_G], background), 1)
    np.add.at(matrix, (background, found.classes[free_P]), 1)
    return matrix
