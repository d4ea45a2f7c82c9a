"""Choices that a run makes by its logged rows: which step is best, and whether to stop early.

They are functions of the rows alone, so a resumed run chooses as an uninterrupted one; and no field of a row that they
may look at was measured on the test set.
"""

from collections.abc import Sequence

from flaxcnn.config import Experiment
from flaxcnn.evaluation.table import LoggedRow

_HIGHER_IS_BETTER = {"validation_accuracy": True, "validation_loss": False, "train_loss": False}


def higher_is_better(metric: str) -> bool:
    """Return which end of a metric is best."""
    return _HIGHER_IS_BETTER[metric]


def best_row(rows: Sequence[LoggedRow], metric: str) -> int:
    """Return the number of the best row by a metric, the first of equal ones."""
    sign = 1 if higher_is_better(metric) else -1
    return max(range(len(rows)), key=lambda number: (sign * getattr(rows[number], metric), -number))


def just_improved(rows: Sequence[LoggedRow], experiment: Experiment) -> bool:
    """Return whether the last row is better than all before by the metric whose best checkpoint is kept."""
    metric = experiment.checkpoint.keep_best
    return metric is not None and bool(rows) and best_row(rows, metric) == len(rows) - 1


def stops_early(rows: Sequence[LoggedRow], experiment: Experiment) -> bool:
    """Return whether the last `training.patience` rows brought no better validation metric."""
    patience, metric = experiment.training.patience, experiment.checkpoint.keep_best
    if patience is None or not rows:
        return False
    if metric is None or not metric.startswith("validation"):
        metric = "validation_loss"
    return len(rows) - 1 - best_row(rows, metric) >= patience
