"""The results of a study: the folds of each seed pooled, every metric of the task, and intervals.

A replicate is one training of every fold with one seed, in one division into folds: it predicts each example once.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from flaxcnn.data.dataset import holds_classes
from flaxcnn.evaluation.intervals import MeanInterval, mean_interval, percentile_interval, resampled_counts
from flaxcnn.evaluation.predictions import Predictions
from flaxcnn.evaluation.several_models import Model, Verdict, verdict_of
from flaxcnn.tasks import Scores, Task, measured

RESAMPLES = 2000
_CONFIDENCE = 0.95
_SEED = 0


class Measured(NamedTuple):
    """A metric of an entry.

    Attributes:
        values: of each replicate.
        over_seeds: their mean and Student's interval of it; NaN where one is undefined, or there is one replicate.
        over_examples: the bootstrap interval of the mean over other examples, or groups; None where none was drawn.
    """

    values: tuple[float, ...]
    over_seeds: MeanInterval
    over_examples: tuple[float, float] | None

    @property
    def mean(self) -> float:
        """The mean over the replicates."""
        return float(np.mean(self.values))


class Result(NamedTuple):
    """What an entry's predictions are worth.

    Attributes:
        metrics: by name, all that the task has.
        draws_SxR: the main metric of each replicate and each resample of the examples.
        per_class: numbers of each class by name, the mean over the replicates; empty for a task without.
    """

    metrics: Mapping[str, Measured]
    draws_SxR: np.ndarray  # noqa: N815
    per_class: Mapping[str, np.ndarray]


def pooled(parts: Sequence[Predictions], positions_N: np.ndarray) -> Predictions:
    """Return the predictions of all folds as those of one test split.

    Constants that differ from fold to fold are left out: what a task needs of them stands in its predictions.

    Args:
        parts: of each fold, in order.
        positions_N: of the examples, one fold's after the other's, in the order that all replicates share.
    """

    def joined(*arrays: np.ndarray) -> np.ndarray:
        return np.concatenate(arrays)[positions_N]

    first = parts[0]
    targets = jax.tree.map(joined, *(part.targets for part in parts))
    predictions = {name: joined(*(part.predictions[name] for part in parts)) for name in first.predictions}
    constants = {
        name: value
        for name, value in first.constants.items()
        if all(np.array_equal(value, part.constants.get(name, np.nan)) for part in parts)
    }
    groups = None
    if all(part.groups_N is not None for part in parts):
        # No group is in two folds, whatever their numbers.
        pairs = [np.stack([np.full(len(part.index_N), place), part.groups_N]) for place, part in enumerate(parts)]
        _, numbers = np.unique(np.concatenate(pairs, axis=1), axis=1, return_inverse=True)
        groups = numbers.reshape(-1).astype(np.int32)[positions_N]
    return Predictions(np.arange(len(positions_N), dtype=np.int64), targets, predictions, constants, groups)


def result_of(task: Task, replicates: Sequence[Predictions], main: str, groups_N: np.ndarray | None) -> Result:
    """Return what an entry's replicates are worth; raises DataError where a prediction is not finite.

    Args:
        task: of the entry.
        replicates: the predictions of all examples, in the same order for all entries.
        main: the metric by which entries are compared.
        groups_N: of the examples; None for no groups.
    """
    examples = len(replicates[0].index_N)
    scores = [task.scores(each.predicted()) for each in replicates]
    values = [measured(each, examples, task.metrics) for each in scores]
    drawn = tuple(dict.fromkeys((main, *task.tabled)))
    draws = _draws(scores, examples, groups_N, drawn)
    metrics = {}
    for name in task.metrics:
        numbers = tuple(float(each[name]) for each in values)
        finite = all(map(math.isfinite, numbers))
        over_seeds = mean_interval(numbers) if finite else MeanInterval(*[math.nan] * 4)
        over_examples = percentile_interval(draws[name].mean(0), _CONFIDENCE) if name in drawn else None
        metrics[name] = Measured(numbers, over_seeds, over_examples)
    return Result(metrics, draws[main], _per_class(task, scores, examples))


def compared(task: Task, results: Mapping[str, Result], main: str, units: int) -> Verdict:
    """Return which entries can be told apart by a metric.

    Args:
        task: of the entries.
        results: by entry, one at least.
        main: the metric.
        units: how many groups, or examples without groups, there are.
    """
    models = {name: Model(result.metrics[main].values, result.draws_SxR) for name, result in results.items()}
    return verdict_of(models, units, higher_is_better=task.metrics[main].higher_is_better)


def class_counts(task: Task, targets: Any, outputs: int) -> np.ndarray | None:
    """Return the number of examples of each class, (K,); None where they do not have one class each."""
    return task.class_counts(targets, outputs) if holds_classes(targets) else None


def _draws(
    scores: Sequence[Scores], examples: int, groups_N: np.ndarray | None, names: Collection[str]
) -> dict[str, np.ndarray]:
    """Return each metric of each replicate and each resample: (S, R) each."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for counts in resampled_counts(examples, RESAMPLES, _SEED, groups_N):
        measures = [each.measure(counts, names) for each in scores]
        for name in names:
            found[name].append(np.stack([each[name] for each in measures]))
    return {name: np.concatenate(blocks, axis=1) for name, blocks in found.items()}


def _per_class(task: Task, scores: Sequence[Scores], examples: int) -> dict[str, np.ndarray]:
    """Return the numbers that the task has of each class, the mean over the replicates: (K,) each."""
    measures = [each.measure(np.ones((1, examples), np.int32)) for each in scores]
    names = [name for name, array in measures[0].items() if array.ndim == 2 and name not in task.metrics]
    return {name: np.mean([each[name][0] for each in measures], axis=0) for name in names}
