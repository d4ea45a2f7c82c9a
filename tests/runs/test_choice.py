"""What is chosen by logged rows: the best one, and when to stop."""

from types import MappingProxyType

import pytest

from flaxcnn.config import Checkpoint, Data, Experiment, Training
from flaxcnn.evaluation.table import LoggedRow
from flaxcnn.runs.choice import best_row, higher_is_better, just_improved, stops_early
from flaxcnn.tasks import Classification, Metric

TASK = Classification()


def row(number, loss=1.0, **measured):
    return LoggedRow(5 * number, 0, loss, measured, 0.1, 1, 1, 1)


def rows(accuracies=(), losses=()):
    pairs = zip(accuracies or [None] * len(losses), losses or [None] * len(accuracies), strict=True)
    return [
        row(n, test_accuracy=0.5, validation_accuracy=accuracy, validation_loss=loss)
        for n, (accuracy, loss) in enumerate(pairs)
    ]


def experiment(metric=None, patience=None):
    return Experiment(
        data=Data(validation=0.1), training=Training(patience=patience), checkpoint=Checkpoint(keep_best=metric)
    )


def test_the_best_row_is_the_highest_accuracy_or_the_lowest_loss_and_the_first_of_equal_ones():
    assert best_row(rows([0.1, 0.9, 0.9, 0.8]), TASK, "validation_accuracy") == 1
    assert best_row(rows(losses=[2.0, 0.5, 0.7, 0.5]), TASK, "validation_loss") == 1


@pytest.mark.parametrize(
    ("losses", "stops"),
    [([], False), ([3], False), ([3, 2, 2], False), ([3, 2, 2, 2.5], True), ([3, 2, 2, 1.9], False)],
)
def test_patience_counts_the_rows_since_the_best_one(losses, stops):
    assert stops_early(rows(losses=losses), TASK, experiment(patience=2)) is stops


def test_patience_goes_by_the_metric_whose_best_checkpoint_is_kept():
    falling = rows([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    assert stops_early(falling, TASK, experiment(patience=2))  # by the loss
    assert not stops_early(falling, TASK, experiment("validation_accuracy", patience=2))


def test_without_patience_nothing_stops_and_without_keep_best_nothing_improves():
    assert not stops_early(rows(losses=[1, 2, 3, 4]), TASK, experiment())
    assert not just_improved(rows(losses=[2, 1]), TASK, experiment())


def test_the_last_row_improves_only_if_it_is_better_than_all_before():
    by_accuracy = experiment("validation_accuracy")
    assert just_improved(rows([0.5]), TASK, by_accuracy)
    assert just_improved(rows([0.5, 0.6]), TASK, by_accuracy)
    assert not just_improved(rows([0.5, 0.5]), TASK, by_accuracy)


class Measured(Classification):
    """A task that logs an error, of which less is better, and reports a score that it does not log."""

    metrics = MappingProxyType({"rmse": Metric(higher_is_better=False), "score": Metric(higher_is_better=True)})
    logged = ("rmse",)


def test_which_end_of_a_column_is_best_is_the_tasks_to_say():
    found = [
        LoggedRow(n, 0, loss, {"validation_rmse": rmse}, *[1] * 4) for n, (rmse, loss) in enumerate([(3, 1), (2, 5)])
    ]
    assert best_row(found, Measured(), "validation_rmse") == 1
    assert best_row(found, Measured(), "train_loss") == 0
    assert higher_is_better(TASK, "validation_accuracy")
    assert not any(higher_is_better(TASK, column) for column in ("train_loss", "validation_loss"))
    assert not higher_is_better(Measured(), "validation_rmse")
