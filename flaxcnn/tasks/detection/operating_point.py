"""Detections above a threshold: how many are right, what is missed, how many objects are counted, and which threshold.

A detection is right if it finds a true box of its class at an IoU of at least 0.5.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.tasks.arithmetic import ratio
from flaxcnn.tasks.detection.boxes import Objects
from flaxcnn.tasks.detection.matching import AT_50, Matches

UNKNOWN = 0.5
"""The threshold where no true box says a better one."""


class Outcome(NamedTuple):
    """What N images and K classes come to at a threshold.

    Attributes:
        kept: which of P detections have at least the score, bool (P,).
        right: which of these find a true box, bool (P,).
        found: which of G true boxes they find, bool (G,).
        right_counts: right detections, int64 (N, K).
        said_counts: detections, int64 (N, K).
        true_counts: true boxes, int64 (N, K).
    """

    kept: npt.NDArray[np.bool_]
    right: npt.NDArray[np.bool_]
    found: npt.NDArray[np.bool_]
    right_counts: npt.NDArray[np.int64]
    said_counts: npt.NDArray[np.int64]
    true_counts: npt.NDArray[np.int64]


def outcome_at(objects: Objects, matches: Matches, thresholds: float | np.ndarray) -> Outcome:
    """Return what the detections with at least a score come to.

    Args:
        objects: the boxes.
        matches: of `matched`, with 0.5 as the first threshold and any size as the first range.
        thresholds: one score, or one of each class (K,).
    """
    found = objects.detections
    thresholds_K = np.broadcast_to(np.asarray(thresholds, np.float64), (objects.classes,))
    kept_P = found.scores >= thresholds_K[found.classes]
    right_P = kept_P & matches.right
    found_G = np.zeros(len(objects.truths.images), bool)
    found_G[matches.truths[right_P, AT_50, 0]] = True
    right, said = (_counts(objects, found.images[each], found.classes[each]) for each in (right_P, kept_P))
    return Outcome(kept_P, right_P, found_G, right, said, true_counts(objects))


def true_counts(objects: Objects) -> np.ndarray:
    """Return how many true boxes each image has of each class, int64 (N, K)."""
    return _counts(objects, objects.truths.images, objects.truths.classes)


def precision_recall_f1(
    right: npt.ArrayLike, said: npt.ArrayLike, true: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and F1 of numbers of right detections, detections and true boxes; NaN for 0 / 0.

    >>> [value.item() for value in precision_recall_f1(3, 4, 6)]
    [0.75, 0.5, 0.6]
    """
    right, said, true = (np.asarray(each, np.float64) for each in (right, said, true))
    with np.errstate(invalid="ignore"):
        return right / said, right / true, 2 * right / (said + true)


def counting_errors(said_NxK: np.ndarray, true_NxK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean absolute error of the counts of each class, and the mean error, the bias, float64 (K,) each.

    >>> error, bias = counting_errors(np.asarray([[3, 0], [1, 1]]), np.asarray([[1, 0], [2, 1]]))
    >>> error.tolist(), bias.tolist()
    ([1.5, 0.0], [0.5, 0.0])
    """
    errors = said_NxK.astype(np.float64) - true_NxK
    return np.abs(errors).mean(0), errors.mean(0)


def best_threshold(objects: Objects, matches: Matches) -> float:
    """Return the score from which to keep detections so that the F1 over all classes is highest.

    It lies half-way between two neighbouring scores, the highest of equally good places, or just below the lowest score
    where it is best to keep all; `UNKNOWN` where no detection is right. Arguments as `outcome_at`.
    """
    return _best(objects.detections.scores, matches.right, len(objects.truths.images), UNKNOWN)


def best_thresholds(objects: Objects, matches: Matches) -> np.ndarray:
    """Return for each class the score from which to keep detections so that its F1 is highest, float32 (K,).

    A class without a right detection has the threshold of all classes together, `best_threshold`.
    """
    found, together = objects.detections, best_threshold(objects, matches)
    sought_K = np.bincount(objects.truths.classes, minlength=objects.classes)
    of_classes = []
    for each in range(objects.classes):
        own = slice(*np.searchsorted(found.classes, [each, each + 1]))
        of_classes.append(_best(found.scores[own], matches.right[own], int(sought_K[each]), together))
    return np.asarray(of_classes, np.float32)


def _best(scores_P: np.ndarray, right_P: np.ndarray, sought: int, otherwise: float) -> float:
    """Return the best threshold as a float32 number; `otherwise` where nothing is right."""
    if not right_P.any():
        return otherwise
    order = np.argsort(-scores_P, kind="stable")
    falling_P, hits_P = scores_P[order].astype(np.float32), np.cumsum(right_P[order])
    last_of_equal = np.append(falling_P[:-1] != falling_P[1:], True)
    f1_P = np.where(last_of_equal, ratio(2 * hits_P, np.arange(1, len(order) + 1) + sought), -1)
    best = int(np.argmax(f1_P))
    if best == len(order) - 1:
        return float(np.nextafter(falling_P[-1], np.float32(0)))
    between = (falling_P[best] + falling_P[best + 1]) / 2
    return float(between if between > falling_P[best + 1] else falling_P[best])


def _counts(objects: Objects, images_Q: np.ndarray, classes_Q: np.ndarray) -> np.ndarray:
    cells = images_Q * objects.classes + classes_Q
    return np.bincount(cells, minlength=objects.images * objects.classes).reshape(objects.images, objects.classes)
