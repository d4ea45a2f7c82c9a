"""Compare two models on the same test examples: is one better, or only luckier?

Differences are paired: each example, or each group if there are groups, is drawn for both models at once.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from flaxcnn.errors import DataError
from flaxcnn.evaluation.intervals import percentile_interval, resampled_counts
from flaxcnn.evaluation.predictions import Predictions
from flaxcnn.tasks import Metric, Task, measured

_CONFIDENCE = 0.95


class Compared(NamedTuple):
    """A metric of two models; the difference is the second model's value minus the first's."""

    a: float
    b: float
    interval: tuple[float, float]  # 95 % paired-bootstrap percentile interval of the difference

    @property
    def difference(self) -> float:
        """The second model's value minus the first's."""
        return self.b - self.a


class Comparison(NamedTuple):
    """Two models on the same examples.

    Attributes:
        examples: the number of test examples.
        metrics: the task's compared metrics by name.
    """

    examples: int
    metrics: Mapping[str, Compared]


def compare(task: Task, a: Predictions, b: Predictions, resamples: int = 10_000, seed: int = 0) -> Comparison:
    """Compare two models' predictions for the same examples in the same order.

    Args:
        task: the task of both models.
        a: the first model's predictions.
        b: the second model's predictions.
        resamples: number of bootstrap resamples; at least 1.
        seed: seed of the bootstrap; 0 or more.

    Raises:
        DataError: the examples or targets differ, or predictions are not finite.
        ConfigError: resamples or seed out of range.
    """
    _require_same_examples(a, b)
    names, examples = task.compared, len(a.index_N)
    scores = [task.scores(each.predicted()) for each in (a, b)]
    draws: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for counts in resampled_counts(examples, resamples, seed, a.groups_N):
        found_a, found_b = (each.measure(counts, names) for each in scores)
        for name in names:
            draws[name].append(found_b[name] - found_a[name])
    value_a, value_b = (measured(each, examples, names) for each in scores)
    metrics = {
        name: Compared(value_a[name], value_b[name], percentile_interval(np.concatenate(draws[name]), _CONFIDENCE))
        for name in names
    }
    return Comparison(examples, metrics)


def describe(task: Task, comparison: Comparison, a: Predictions, b: Predictions, called: tuple[str, str]) -> list[str]:
    """Return lines of text that say which of the two named models is better, and how certain that is."""
    width = max(*map(len, called), len("difference"))
    kinds = {name: task.metrics[name] for name in comparison.metrics}

    def line(name: str, values: Mapping[str, str]) -> str:
        return f"{name:<{width}}  " + ", ".join(f"{_worded(each)} {value}" for each, value in values.items())

    lines = [
        line(called[0], {name: _shown(each.a, kinds[name]) for name, each in comparison.metrics.items()}),
        line(called[1], {name: _shown(each.b, kinds[name]) for name, each in comparison.metrics.items()}),
        line("difference", {name: _difference(each, kinds[name]) for name, each in comparison.metrics.items()}),
    ]
    judged = task.differences(a.predicted(), b.predicted(), called)
    return [*lines, *(judged if judged is not None else [_verdict(task, comparison, called)])]


def _verdict(task: Task, comparison: Comparison, called: tuple[str, str]) -> str:
    """Return which model is better by the first metric, if 0 lies outside its interval."""
    name, first = next(iter(comparison.metrics.items()))
    low, high = first.interval
    if not (low > 0 or high < 0):
        return f"no difference in {_worded(name)} at the 5 % level: 0 lies within the interval"
    better, worse = called[::-1] if (first.difference > 0) == task.metrics[name].higher_is_better else called
    return f"{better} is better than {worse} by {_worded(name)} at the 5 % level"


def _worded(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: float, kind: Metric) -> str:
    return f"{value:.2%}" if kind.fraction else f"{value:.4f}"


def _difference(compared: Compared, kind: Metric) -> str:
    low, high = compared.interval
    if kind.fraction:
        return f"{100 * compared.difference:+.2f} points (95 % interval {100 * low:+.2f} to {100 * high:+.2f})"
    return f"{compared.difference:+.4f} (95 % interval {low:+.4f} to {high:+.4f})"


def _require_same_examples(a: Predictions, b: Predictions) -> None:
    if len(a.index_N) != len(b.index_N):
        found = f"{len(a.index_N)} and {len(b.index_N)}"
        raise DataError("predictions of different numbers of examples cannot be compared", found=found)
    ours, theirs = (
        {name: (array.shape, array.dtype) for name, array in each.arrays().items() if name != "group"}
        for each in (a, b)
    )
    if ours != theirs:
        raise DataError("predictions of different kinds cannot be compared", expected=str(ours), found=str(theirs))
    for name, of_a in (("index", a.index_N), *a.target_arrays().items()):
        of_b = b.index_N if name == "index" else b.target_arrays()[name]
        different = np.flatnonzero((of_a != of_b) & ~_both_missing(of_a, of_b))
        if different.size:
            row = int(np.unravel_index(different[0], of_a.shape)[0])
            raise DataError(
                f"predictions of different {'indices' if name == 'index' else 'targets'} cannot be compared",
                where=f"row {row}, the first of {different.size} that differ",
                expected=f"{of_a[row]} as in the first",
                found=f"{of_b[row]} in the second",
                fix="evaluate both models on the same examples in the same order",
            )


def _both_missing(of_a: np.ndarray, of_b: np.ndarray) -> np.ndarray:
    """Return a mask of the examples where both are NaN: a missing target."""
    if of_a.dtype.kind != "f":
        return np.zeros(of_a.shape, bool)
    return np.isnan(of_a) & np.isnan(of_b)
