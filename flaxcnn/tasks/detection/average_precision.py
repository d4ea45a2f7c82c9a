"""Average precision with COCO's interpolation at 101 recalls, for weighted images (resampling counts).

Source: cocoeval.py of pycocotools, `accumulate`.
"""

from collections.abc import Sequence

import numpy as np

RECALLS = np.linspace(0.0, 1.0, 101)
"""The recalls at which COCO reads the precision, with the same bits."""

_NUMBERS = 2**20  # counts at a time: 4 MB of int32


class Ranked:
    """The detections of one class in one range of sizes, in the order of falling score, at T IoU thresholds.

    Precision matters only where a detection is right, so the rest is only counted. An image that counts twice has its
    detections twice, one beside the other. That is what pycocotools computes of repeated images, except where a right
    and a wrong detection of the same image and class have the same score.

    Args:
        images_P: the image of each detection, int (P,).
        right_PxT: which detections find a true box of this size, bool.
        counted_PxT: which are right or wrong at all, bool; those that are right are counted.
    """

    def __init__(self, images_P: np.ndarray, right_PxT: np.ndarray, counted_PxT: np.ndarray):
        self._thresholds = right_PxT.shape[1]
        # Thresholds at which the same detections count share their running number.
        alike: dict[bytes, list[int]] = {}
        for threshold in range(self._thresholds):
            alike.setdefault(counted_PxT[:, threshold].tobytes(), []).append(threshold)
        self._groups = []
        for thresholds in alike.values():
            counted = np.flatnonzero(counted_PxT[:, thresholds[0]])
            right = {each: np.flatnonzero(right_PxT[counted, each]) for each in thresholds}
            self._groups.append((images_P[counted], right))

    def areas(self, counts_BxN: np.ndarray, sought_B: np.ndarray) -> np.ndarray:
        """Return the average precision for each of B countings of the images, float64 (B, T).

        Args:
            counts_BxN: how often each image counts, integers.
            sought_B: how many true boxes there are; where there are none, it is NaN.
        """
        found_BxT = np.zeros((len(counts_BxN), self._thresholds))
        for images, right in self._groups:
            if not any(map(len, right.values())):
                continue
            rows = max(1, _NUMBERS // len(images))
            for start in range(0, len(counts_BxN), rows):
                part = slice(start, start + rows)
                counts = np.take(counts_BxN[part], images, axis=1)
                through = np.cumsum(counts, axis=1, dtype=np.int32)
                for threshold, places in right.items():
                    hits = np.cumsum(counts[:, places], axis=1, dtype=np.int32)
                    found_BxT[part, threshold] = interpolated(hits, through[:, places], sought_B[part])
        found_BxT[sought_B == 0] = np.nan
        return found_BxT


def interpolated(hits_BxR: np.ndarray, through_BxR: np.ndarray, sought_B: np.ndarray) -> np.ndarray:
    """Return the mean over 101 recalls of the highest precision at that recall or more, float64 (B,).

    Args:
        hits_BxR: the number of right detections up to each of R right ones, itself included, integers.
        through_BxR: the number of all detections up to there.
        sought_B: the number of true boxes; 0 counts as 1.

    Precision is 1 at the recalls from 0 to 0.5, and 1/2 at the fifty above:

    >>> interpolated(np.asarray([[1, 2]]), np.asarray([[1, 4]]), np.asarray([2])).round(4).tolist()
    [0.7525]
    """
    if not hits_BxR.shape[1]:
        return np.zeros(len(hits_BxR))
    precision_BxR = hits_BxR / np.maximum(through_BxR, 1)
    highest_BxR = np.maximum.accumulate(precision_BxR[:, ::-1], axis=1)[:, ::-1]
    recall_BxR = hits_BxR / np.maximum(sought_B, 1)[:, None]
    reached_BxR = np.searchsorted(RECALLS, recall_BxR, side="right")
    reached_BxR[:, 1:] -= reached_BxR[:, :-1].copy()
    return (reached_BxR * highest_BxR).sum(1) / len(RECALLS)


def class_precisions(
    classes_P: np.ndarray, scores_P: np.ndarray, right_P: np.ndarray, sought_K: Sequence[int] | np.ndarray
) -> np.ndarray:
    """Return the average precision of each class, float64 (K,); NaN of one without true boxes.

    Args:
        classes_P: of the detections, in any order; equal scores keep it.
        scores_P: finite numbers.
        right_P: which find a true box, bool.
        sought_K: how many true boxes each class has.
    """
    order = np.lexsort((-scores_P, classes_P))
    classes_P, right_P = classes_P[order], right_P[order]
    found = np.full(len(sought_K), np.nan)
    for each, sought in enumerate(sought_K):
        if sought:
            within = right_P[np.searchsorted(classes_P, each, "left") : np.searchsorted(classes_P, each, "right")]
            places = np.flatnonzero(within)
            hits = np.arange(1, len(places) + 1)
            found[each] = interpolated(hits[None], places[None] + 1, np.asarray([sought]))[0]
    return found


def precision_recall(scores_P: np.ndarray, right_P: np.ndarray, sought: int) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall at each score that differs, the highest first, float64 (S,) each.

    Args:
        scores_P: falling.
        right_P: which detections find a true box, bool.
        sought: how many true boxes there are, at least 1.

    >>> precision, recall = precision_recall(np.asarray([0.9, 0.5, 0.5]), np.asarray([True, False, True]), 4)
    >>> precision.round(3).tolist(), recall.tolist()
    ([1.0, 0.667], [0.25, 0.5])
    """
    last = np.flatnonzero(np.append(scores_P[:-1] != scores_P[1:], [True] * bool(len(scores_P))))
    hits = np.cumsum(right_P)[last]
    return hits / (last + 1), hits / sought
