"""A head is learned in each fold and predicts what it did not learn of; all predictions are measured together."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from flaxcnn.data.targets import choose_targets
from flaxcnn.evaluation.intervals import bootstrap_intervals
from flaxcnn.evaluation.predictions import Predictions
from flaxcnn.probing.division import Divided
from flaxcnn.probing.examples import Array, Examples, Head, Said, with_outputs
from flaxcnn.tasks import Classification, Multilabel, Regression, Several, Task, measured


class Result(NamedTuple):
    """What one head is worth.

    Attributes:
        title: what it is, for people.
        folds: the predictions for each fold's test examples, in the order of its test split.
        pooled: those of all folds together, each example once.
        values: the task's metrics of `pooled`, by name; NaN for one that is not defined.
        intervals: the 95 % bootstrap interval of each metric, over groups where there are groups.
        of_folds: the metrics of each fold.
        chosen: what was chosen in each fold's training.
    """

    title: str
    folds: list[Predictions]
    pooled: Predictions
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    of_folds: list[dict[str, float]]
    chosen: list[dict[str, float]]


def measure(title: str, head: Head, task: Task, data: Divided, features: Array, digests: Sequence[str]) -> Result:
    """Learn and predict in each fold, and return what the predictions are worth.

    Args:
        title: of the result.
        head: what learns.
        task: what is learned.
        data: the examples and their folds.
        features: of all examples, (N, F).
        digests: of each example's content, in hex.

    Raises:
        ConfigError, DataError: as the head.
    """
    every = Examples(features, data.targets, digests, data.groups)
    folds, chosen = [], []
    for part in data.parts:
        said = predict(
            head, task, every.choose(part.train), features[part.test], data.dataset.target_names,
            None if part.validation is None else every.choose(part.validation),
        )  # fmt: skip
        folds.append(predictions_of(said, data, part.test))
        chosen.append(said.chosen)
    return result_of(title, task, folds, chosen)


def predict(
    head: Head, task: Task, train: Examples, features: Array, names: Any, validation: Examples | None = None
) -> Said:
    """Return what a head that learned of training examples says of others, in the form of the task.

    Args:
        head: such as `flaxcnn.probing.linear()`.
        task: of the targets.
        train: the training examples.
        features: of the others, (M, F).
        names: of the targets' values, as `flaxcnn.data.Dataset` has them.
        validation: to choose on; None to choose by cross-validation in the training examples.
    """
    fitted = task.fitted(train.targets, names)
    return with_outputs(head(fitted, train, features, validation), fitted, fitted.outputs(train.targets, names))


def predictions_of(said: Said, data: Divided, test: Array) -> Predictions:
    """Return what is said of a test split's examples as a run's predictions."""
    groups = None if data.groups is None else data.groups[test]
    index = np.arange(len(test), dtype=np.int64)
    return Predictions(index, choose_targets(data.targets, test), said.predictions, said.constants, groups)


def pooled(folds: Sequence[Predictions]) -> Predictions:
    """Return the predictions of several folds together, one fold after the other, with the first one's constants."""
    first = folds[0]
    if len(folds) == 1:
        return first

    def joined(arrays: Sequence[Any]) -> Any:
        if isinstance(arrays[0], Mapping):
            return {key: joined([each[key] for each in arrays]) for key in arrays[0]}
        return np.concatenate(arrays)

    groups = [each.groups_N for each in folds]
    targets = joined([each.targets for each in folds])
    predictions = joined([each.predictions for each in folds])
    index = np.arange(sum(len(each.index_N) for each in folds), dtype=np.int64)
    return Predictions(index, targets, predictions, first.constants, None if groups[0] is None else joined(groups))


def result_of(title: str, task: Task, folds: list[Predictions], chosen: list[dict[str, float]]) -> Result:
    """Return what the predictions of folds are worth, together and one by one."""
    whole = pooled(folds)
    count, names = len(whole.index_N), list(task.metrics)
    scores = task.scores(whole.predicted())
    values = {name: value for name, value in measured(scores, count, names).items() if name in names}
    intervals = bootstrap_intervals(scores, shown(task), count, groups_N=whole.groups_N)
    of_folds = [
        {name: value for name, value in measured(task.scores(each.predicted()), len(each.index_N), names).items()
         if name in names}
        for each in folds
    ]  # fmt: skip
    return Result(title, folds, whole, values, intervals, of_folds, chosen)


def shown(task: Task) -> tuple[str, ...]:
    """Return the metrics that a probe prints, with intervals; the first of each target is its main one."""
    if isinstance(task, Several):
        return tuple(f"{head.name}_{name}" for head in task.heads for name in shown(head.task))
    if isinstance(task, Classification):
        return ("accuracy", "macro_precision", "macro_recall", "macro_f1", "log_loss", "calibration_error")
    return ("r2", "rmse", "mae") if isinstance(task, Regression) else ("micro_f1", *_others(task))


def main_metrics(task: Task) -> tuple[str, ...]:
    """Return the first metric of each target: accuracy, micro F1 or R²."""
    if isinstance(task, Several):
        return tuple(f"{head.name}_{shown(head.task)[0]}" for head in task.heads)
    return shown(task)[:1]


def _others(task: Task) -> tuple[str, ...]:
    assert isinstance(task, Multilabel)
    return tuple(name for name in task.metrics if name != "micro_f1")
