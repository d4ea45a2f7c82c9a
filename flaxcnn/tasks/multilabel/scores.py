"""Metrics of the multilabel task, for weighted examples (resampling counts)."""

from collections.abc import Collection, Mapping

import numpy as np

from flaxcnn.errors import DataError
from flaxcnn.tasks.arithmetic import mean_where, require_finite
from flaxcnn.tasks.ranking import Ranking
from flaxcnn.tasks.task import Metric

_HIGHER = Metric(higher_is_better=True, fraction=True)
METRICS: Mapping[str, Metric] = {
    "mean_average_precision": _HIGHER,
    "micro_f1": _HIGHER,
    "macro_f1": _HIGHER,
    "samples_f1": _HIGHER,
    "subset_accuracy": _HIGHER,
    "hamming_loss": Metric(higher_is_better=False, fraction=True),
}


class MultilabelScores:
    """Metrics as scikit-learn defines them, with `zero_division=nan`: what is 0 / 0 is left out of a mean.

    A label counts in `macro_f1` where an example has it or is predicted to, and in `mean_average_precision` where one
    has it and another has not; an example counts in `samples_f1` where it has a label or is predicted to.

    Args:
        labels_NxL: which labels each example has, bool.
        logits_NxL: finite numbers.
        thresholds_L: a label is predicted where its logit is above its threshold.

    Raises:
        DataError: shapes that do not fit, or a logit that is not finite.
    """

    def __init__(self, labels_NxL: np.ndarray, logits_NxL: np.ndarray, thresholds_L: np.ndarray):
        labels_NxL, logits_NxL = fitting(labels_NxL, logits_NxL)
        predicted_NxL = logits_NxL > thresholds_L
        self._both_NxL = (labels_NxL & predicted_NxL).astype(np.float64)
        self._either_NxL = labels_NxL.astype(np.float64) + predicted_NxL
        both_N, either_N = self._both_NxL.sum(-1), self._either_NxL.sum(-1)
        self._counted_N = (either_N > 0).astype(np.float64)
        self._f1_N = 2 * both_N / np.maximum(either_N, 1)
        wrong_NxL = labels_NxL != predicted_NxL
        self._exact_N = (~wrong_NxL.any(-1)).astype(np.float64)
        self._wrong_N = wrong_NxL.mean(-1)
        self._rankings = [Ranking(labels_NxL[:, label], logits_NxL[:, label]) for label in range(labels_NxL.shape[1])]

    def measure(self, counts_BxN: np.ndarray, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """Return each metric for each of B countings of the examples, (B,), and `average_precision` and `f1`, (B, L).

        Args:
            counts_BxN: how often each example counts, int32, at least one of a row more than 0; (B, N).
            names: of the metrics that are wanted, None for all: those that rank examples take most of the time.
        """
        weights_BxN = counts_BxN.astype(np.float64)
        total_B = weights_BxN.sum(-1)
        both_BxL, either_BxL = weights_BxN @ self._both_NxL, weights_BxN @ self._either_NxL
        f1_BxL = 2 * both_BxL / np.maximum(either_BxL, 1)
        with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of a metric that is not defined
            measured = {
                "micro_f1": 2 * both_BxL.sum(-1) / np.where(either_BxL.sum(-1) > 0, either_BxL.sum(-1), np.nan),
                "macro_f1": mean_where(either_BxL > 0, f1_BxL),
                "samples_f1": (weights_BxN @ (self._f1_N * self._counted_N)) / (weights_BxN @ self._counted_N),
                "subset_accuracy": weights_BxN @ self._exact_N / total_B,
                "hamming_loss": weights_BxN @ self._wrong_N / total_B,
                "f1": f1_BxL,
            }
        if names is None or "mean_average_precision" in names or "average_precision" in names:
            precision_BxL = np.stack([ranking.areas(counts_BxN)[1] for ranking in self._rankings], -1)
            measured["mean_average_precision"] = mean_where(~np.isnan(precision_BxL), precision_BxL)
            measured["average_precision"] = precision_BxL
        return measured


def best_thresholds(labels_NxL: np.ndarray, logits_NxL: np.ndarray) -> np.ndarray:
    """Return for each label the logit above which to predict it so that its F1 on these examples is highest.

    It lies half-way between two neighbouring logits, the highest of equally good places, or just below the lowest one
    where it is best to predict the label for all; 0 for a label that no example has. Arguments and errors are those of
    `MultilabelScores`.

    Returns:
        float32 (L,).

    >>> best_thresholds(np.asarray([[True], [True], [False]]), np.asarray([[3.0], [-1.0], [-2.0]]))
    array([-1.5], dtype=float32)
    """
    labels_NxL, logits_NxL = fitting(labels_NxL, logits_NxL)
    return np.array(
        [_best_threshold(labels_N, logits_N) for labels_N, logits_N in zip(labels_NxL.T, logits_NxL.T, strict=True)],
        np.float32,
    )


def fitting(labels_NxL: np.ndarray, logits_NxL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels as bool and logits as float64; raises DataError as `MultilabelScores`."""
    labels_NxL, logits_NxL = np.asarray(labels_NxL), np.asarray(logits_NxL)
    if labels_NxL.dtype != bool or labels_NxL.ndim != 2 or labels_NxL.shape != logits_NxL.shape or not labels_NxL.size:
        raise DataError(
            "labels and logits do not fit",
            expected="labels bool (N, L) and logits (N, L), N and L at least 1",
            found=f"{labels_NxL.dtype} {labels_NxL.shape} and {logits_NxL.shape}",
        )
    require_finite(logits_NxL, "label")
    return labels_NxL, logits_NxL.astype(np.float64)


def _best_threshold(labels_N: np.ndarray, logits_N: np.ndarray) -> float:
    order = np.argsort(-logits_N, kind="stable")
    falling_N, hits_N = logits_N[order], np.cumsum(labels_N[order])
    if not hits_N[-1]:
        return 0.0
    last_of_equal = np.append(falling_N[:-1] != falling_N[1:], True)
    f1_N = np.where(last_of_equal, 2 * hits_N / (np.arange(1, len(order) + 1) + hits_N[-1]), -1)
    best = int(np.argmax(f1_N))
    if best == len(order) - 1:
        return float(np.nextafter(np.float32(falling_N[-1]), np.float32(-np.inf)))
    between = np.float32((falling_N[best] + falling_N[best + 1]) / 2)
    return float(between if between < falling_N[best] else np.float32(falling_N[best + 1]))
