"""Choices that depend on a run's logged rows: the best step, and early stopping.

They are functions of the rows alone, so a resumed run makes the same choices as an uninterrupted one. They never use
numbers measured on the test set.
"""

from collections.abc import Sequence

from flaxcnn.config import Experiment
from flaxcnn.evaluation.table import LoggedRow
from flaxcnn.tasks import Task


def higher_is_better(task: Task, column: str) -> bool:
    """Return whether higher values of a column are better; False for a loss."""
    metric = column.removeprefix("validation_")
    return metric in task.logged and task.metrics[metric].higher_is_better


def best_row(rows: Sequence[LoggedRow], task: Task, column: str) -> int:
    """Return the index of the best row by a column, the first of equal rows."""
    sign = 1 if higher_is_better(task, column) else -1

    def rank(number: int) -> tuple[float, int]:
        value = rows[number].number(column)
        assert value is not None, "chosen by what every row measures"
        return sign * value, -number

    return max(range(len(rows)), key=rank)


def just_improved(rows: Sequence[LoggedRow], task: Task, experiment: Experiment) -> bool:
    """Return whether the last row is the best so far by `checkpoint.keep_best`."""
    column = experiment.checkpoint.keep_best
    return column is not None and bool(rows) and best_row(rows, task, column) == len(rows) - 1


def stops_early(rows: Sequence[LoggedRow], task: Task, experiment: Experiment) -> bool:
    """Return whether the last `training.patience` rows did not improve the validation metric."""
    patience, column = experiment.training.patience, experiment.checkpoint.keep_best
    if patience is None or not rows:
        return False
    if column is None or not column.startswith("validation"):
        column = "validation_loss"
    return len(rows) - 1 - best_row(rows, task, column) >= patience
