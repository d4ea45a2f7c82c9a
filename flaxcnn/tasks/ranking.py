"""Ranking metrics of one class's scores: areas under the ROC and precision-recall curves.

Examples have resampling counts, so a bootstrap sorts the scores only once. T. Fawcett, "An introduction to ROC
analysis", Pattern Recognition Letters 27, 2006, section 7; average precision is the sum over thresholds of precision
times the recall gained there, without interpolation.
"""

import numpy as np

from flaxcnn.errors import DataError


class Ranking:
    """One class against the rest, its examples sorted by falling score.

    Examples of equal score share one threshold: the order among them changes nothing.

    Args:
        positive_N: bool, which examples are of the class; (N,).
        scores_N: the larger, the likelier; finite; (N,).
    """

    def __init__(self, positive_N: np.ndarray, scores_N: np.ndarray):
        order_N = np.argsort(-scores_N, kind="stable")
        falling_N, sorted_N = -scores_N[order_N], positive_N[order_N]
        self._order_N = order_N
        self._positions_P = np.flatnonzero(sorted_N)  # of the positives, in the order of falling score
        # For each positive: how many examples, and how many positives, score higher, and as high or higher.
        self._above_P = np.searchsorted(falling_N, falling_N[self._positions_P], side="left")
        self._through_P = np.searchsorted(falling_N, falling_N[self._positions_P], side="right")
        positives = np.concatenate([[0], np.cumsum(sorted_N)])
        self._positives_above_P = positives[self._above_P]
        self._positives_through_P = positives[self._through_P]

    def areas(self, counts_BxN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the area under the ROC curve and the average precision for each of B countings of the examples.

        Args:
            counts_BxN: how often each example counts, integers whose sum fits int32; (B, N).

        Returns:
            Two float64 arrays, (B,); both NaN where no positive or no negative example counts.
        """
        total = _running_sums(np.take(counts_BxN, self._order_N, axis=1))
        weights = np.take(counts_BxN, self._order_N[self._positions_P], axis=1)
        positive = _running_sums(weights)
        positives, examples = positive[:, -1:].astype(np.float64), total[:, -1:].astype(np.float64)
        positive_above, positive_through = positive[:, self._positives_above_P], positive[:, self._positives_through_P]
        total_above, total_through = total[:, self._above_P], total[:, self._through_P]
        negatives = examples - positives
        # A negative of the same score counts as half a one that scores higher.
        higher = ((total_above - positive_above) + (total_through - positive_through)) / 2
        precision = positive_through / np.maximum(total_through, 1)
        with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of a class that cannot be ranked
            roc_auc = np.sum(weights * (negatives - higher), axis=1, keepdims=True) / (positives * negatives)
            average = np.sum(weights * precision, axis=1, keepdims=True) / np.where(negatives > 0, positives, np.nan)
        return roc_auc[:, 0], average[:, 0]


def roc_auc(positive_N: np.ndarray, scores_N: np.ndarray) -> float:
    """Return the area under the ROC curve: how often a positive example scores higher than a negative one.

    A tie counts half; NaN where there is no positive or no negative example. Arguments and errors are those of
    `average_precision`.

    >>> roc_auc(np.asarray([True, False, True, False]), np.asarray([0.9, 0.8, 0.8, 0.1]))
    0.875
    """
    return float(_areas(positive_N, scores_N)[0])


def average_precision(positive_N: np.ndarray, scores_N: np.ndarray) -> float:
    """Return the average precision; NaN where there is no positive or no negative example.

    Args:
        positive_N: which examples are positive, bool (N,).
        scores_N: finite numbers, (N,).

    Raises:
        DataError: they are of other shapes or types.

    >>> average_precision(np.asarray([True, False, True, False]), np.asarray([0.9, 0.8, 0.7, 0.1])).__round__(4)
    0.8333
    """
    return float(_areas(positive_N, scores_N)[1])


def precision_recall(positive_N: np.ndarray, scores_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall at each threshold that differs, the highest first, float64 (M,) each.

    An example counts as found where its score is at least the threshold. Both are empty without a positive example.

    >>> precision, recall = precision_recall(np.asarray([True, False, True]), np.asarray([0.9, 0.8, 0.1]))
    >>> precision.round(3).tolist(), recall.tolist()
    ([1.0, 0.5, 0.667], [0.5, 0.5, 1.0])
    """
    order = np.argsort(-scores_N, kind="stable")
    falling_N, hits_N = scores_N[order], np.cumsum(positive_N[order])
    last = np.flatnonzero(np.append(falling_N[:-1] != falling_N[1:], [True] * bool(len(order))))
    if not len(last) or not hits_N[-1]:
        return np.zeros(0), np.zeros(0)
    return hits_N[last] / (last + 1), hits_N[last] / hits_N[-1]


def _areas(positive_N: np.ndarray, scores_N: np.ndarray) -> tuple[float, float]:
    """Return both areas, every example counted once."""
    if positive_N.ndim != 1 or positive_N.shape != scores_N.shape or positive_N.dtype != bool:
        raise DataError(
            "positives and scores do not fit",
            expected="bool (N,) and numbers (N,)",
            found=f"{positive_N.dtype} {positive_N.shape} and {scores_N.dtype} {scores_N.shape}",
        )
    if not np.isfinite(scores_N).all():
        raise DataError("a score is not finite", expected="numbers", found=scores_N[~np.isfinite(scores_N)][0])
    roc_auc_1, average_1 = Ranking(positive_N, scores_N).areas(np.ones((1, len(scores_N)), np.int32))
    return float(roc_auc_1[0]), float(average_1[0])


def _running_sums(counts_BxN: np.ndarray) -> np.ndarray:
    """Return the sums of the first 0 to N counts; (B, N + 1) int32, which is ten times faster to sum than float64."""
    sums = np.zeros((counts_BxN.shape[0], counts_BxN.shape[1] + 1), np.int32)
    np.cumsum(counts_BxN, axis=1, dtype=np.int32, out=sums[:, 1:])
    return sums
