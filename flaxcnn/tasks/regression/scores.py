"""Metrics of the regression task, for weighted examples (resampling counts)."""

from collections.abc import Collection, Mapping

import numpy as np

from flaxcnn.errors import DataError
from flaxcnn.tasks.task import Metric

_LOWER = Metric(higher_is_better=False)
METRICS: Mapping[str, Metric] = {
    "r2": Metric(higher_is_better=True),
    "rmse": _LOWER,
    "mae": _LOWER,
    "median_absolute_error": _LOWER,
    "mean_relative_error": _LOWER,
    "median_relative_error": _LOWER,
}
_LEAST = float(np.finfo(np.float64).eps)  # of a target by which an error is divided, as in scikit-learn


class RegressionScores:
    """R², RMSE, MAE, median and relative errors as scikit-learn defines them; of several numbers, their means.

    R² is NaN where fewer than two examples count or all have the same target; relative errors are fractions of the
    target.

    Args:
        targets_NxT: finite numbers.
        predicted_NxT: finite numbers.

    Raises:
        DataError: shapes that do not fit, or a number that is not finite.
    """

    def __init__(self, targets_NxT: np.ndarray, predicted_NxT: np.ndarray):
        targets_NxT, predicted_NxT = fitting(targets_NxT, predicted_NxT)
        self._centred_NxT = targets_NxT - targets_NxT.mean(0)  # what is squared is small then
        self._errors_NxT = np.abs(targets_NxT - predicted_NxT)
        self._relative_NxT = self._errors_NxT / np.maximum(np.abs(targets_NxT), _LEAST)

    def measure(self, counts_BxN: np.ndarray, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """Return each metric for each of B countings of the examples, (B,), and those of each number, (B, T).

        Args:
            counts_BxN: how often each example counts, int32, at least one of a row more than 0; (B, N).
            names: of the metrics that are wanted, None for all: medians take most of the time.
        """
        weights_BxN = counts_BxN.astype(np.float64)
        total_Bx1 = weights_BxN.sum(-1, keepdims=True)
        squares_BxT = weights_BxN @ self._errors_NxT**2
        spread_BxT = weights_BxN @ self._centred_NxT**2 - (weights_BxN @ self._centred_NxT) ** 2 / total_Bx1
        least = 1e-12 * (weights_BxN @ self._centred_NxT**2)  # below it, targets that are all alike, rounded
        defined = (total_Bx1 >= 2) & (spread_BxT > least)
        of_numbers = {
            "r2": np.where(defined, 1 - squares_BxT / np.where(defined, spread_BxT, 1), np.nan),
            "rmse": np.sqrt(squares_BxT / total_Bx1),
            "mae": weights_BxN @ self._errors_NxT / total_Bx1,
            "mean_relative_error": weights_BxN @ self._relative_NxT / total_Bx1,
        }
        for name, values_NxT in (
            ("median_absolute_error", self._errors_NxT),
            ("median_relative_error", self._relative_NxT),
        ):
            if names is None or name in names:
                of_numbers[name] = _medians(values_NxT, counts_BxN)
        means = {name: values_BxT.mean(-1) for name, values_BxT in of_numbers.items()}
        return {**means, **{f"{name}_of_each": values_BxT for name, values_BxT in of_numbers.items()}}


def fitting(targets: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64 (N, T); raises DataError as `RegressionScores`."""
    targets, predicted = np.asarray(targets), np.asarray(predicted)
    if targets.ndim == 1:
        targets = targets[:, None]
    kinds = {array.dtype.kind for array in (targets, predicted)}
    if not kinds <= set("fiu") or targets.ndim != 2 or targets.shape != predicted.shape or not targets.size:
        raise DataError(
            "targets and predictions do not fit",
            expected="numbers (N, T) and (N, T), N and T at least 1",
            found=f"{targets.dtype} {targets.shape} and {predicted.dtype} {predicted.shape}",
        )
    targets, predicted = targets.astype(np.float64), predicted.astype(np.float64)
    for what, array in (("target", targets), ("prediction", predicted)):
        unusable = np.argwhere(~np.isfinite(array))
        if unusable.size:
            example, number = unusable[0]
            where = f"example {example}, number {number}"
            raise DataError(f"{what} not finite", where=where, expected="a number", found=array[example, number])
    return targets, predicted


def _medians(values_NxT: np.ndarray, counts_BxN: np.ndarray) -> np.ndarray:
    """Return the median of each column for each counting, (B, T): of an even number the mean of the middle two."""
    found = np.empty((len(counts_BxN), values_NxT.shape[1]))
    for column, values_N in enumerate(values_NxT.T):
        order = np.argsort(values_N, kind="stable")
        through_BxN = np.cumsum(counts_BxN[:, order], axis=1, dtype=np.int64)
        for row, through_N in enumerate(through_BxN):
            total = through_N[-1]
            middle = np.searchsorted(through_N, [(total - 1) // 2, total // 2], side="right")
            found[row, column] = values_N[order[middle]].mean()
    return found
