"""Arithmetic that tasks share: on sums, for numbers and arrays alike, and on predictions, on the host."""

import math
import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import jax
import numpy as np

from flaxcnn.errors import DataError


def ratio(part: Any, whole: Any) -> Any:
    """Return part / whole, and 0 where both are 0; of numbers or of arrays of NumPy's or JAX's."""
    return part / (whole + (whole == 0))


def mean_where(counted_BxK: np.ndarray, values_BxK: np.ndarray) -> np.ndarray:
    """Return the mean of the values of a row that a mask names, (B,); NaN where it names none."""
    sums, numbers = np.where(counted_BxK, values_BxK, 0).sum(-1), counted_BxK.sum(-1)
    return np.where(numbers > 0, sums / np.maximum(numbers, 1), np.nan)


def require_finite(logits_NxK: np.ndarray, column: str) -> None:
    """Raise DataError at the first logit that is NaN or infinite; `column` says what a column is: a class, a label."""
    unusable = np.argwhere(~np.isfinite(logits_NxK))
    if unusable.size:
        example, number = unusable[0]
        raise DataError(
            "logit not finite",
            where=f"example {example}, {column} {number}",
            expected="a number",
            found=logits_NxK[example, number],
            fix="look for the weights or pixels that are not finite",
        )


def largest_difference(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> float:
    """Return the largest difference of arrays, as a fraction of the largest wanted number where that is above 1.

    Infinite where they are not the same arrays by name and shape, or one is not a number.
    """
    if {name: array.shape for name, array in found.items()} != {name: array.shape for name, array in wanted.items()}:
        return math.inf
    worst = 0.0
    for name, array in wanted.items():
        scale = max(1.0, float(np.abs(array).max(initial=0)))
        difference = float(np.abs(found[name].astype(np.float64) - array).max(initial=0)) / scale
        worst = math.inf if math.isnan(difference) else max(worst, difference)
    return worst


def as_json(value: Any) -> Any:
    """Return numbers, arrays and lists as JSON has them, None for a number that is not finite."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return [as_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rows_where(holds: Callable[[Any], Any], targets: Any) -> Any:
    """Return in which rows something holds of every value of every array, bool (N,)."""
    arrays = jax.tree.leaves(targets)
    return reduce(operator.and_, [holds(array).reshape(array.shape[0], -1).all(-1) for array in arrays])
