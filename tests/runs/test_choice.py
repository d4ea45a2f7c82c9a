"""What is chosen by logged rows: the best one, and when to stop."""

import pytest

from flaxcnn.config import Checkpoint, Data, Experiment, Training
from flaxcnn.evaluation.table import LoggedRow
from flaxcnn.runs.choice import best_row, just_improved, stops_early


def rows(accuracies=(), losses=()):
    pairs = zip(accuracies or [None] * len(losses), losses or [None] * len(accuracies), strict=True)
    return [LoggedRow(5 * n, 0, 1.0, 0.5, accuracy, loss, 0.1, 1, 1, 1) for n, (accuracy, loss) in enumerate(pairs)]


def experiment(metric=None, patience=None):
    return Experiment(
        data=Data(validation=0.1), training=Training(patience=patience), checkpoint=Checkpoint(keep_best=metric)
    )


def test_the_best_row_is_the_highest_accuracy_or_the_lowest_loss_and_the_first_of_equal_ones():
    assert best_row(rows([0.1, 0.9, 0.9, 0.8]), "validation_accuracy") == 1
    assert best_row(rows(losses=[2.0, 0.5, 0.7, 0.5]), "validation_loss") == 1


@pytest.mark.parametrize(
    ("losses", "stops"),
    [([], False), ([3], False), ([3, 2, 2], False), ([3, 2, 2, 2.5], True), ([3, 2, 2, 1.9], False)],
)
def test_patience_counts_the_rows_since_the_best_one(losses, stops):
    assert stops_early(rows(losses=losses), experiment(patience=2)) is stops


def test_patience_goes_by_the_metric_whose_best_checkpoint_is_kept():
    falling = [
        row._replace(validation_loss=loss) for row, loss in zip(rows([0.1, 0.2, 0.3]), [1.0, 2.0, 3.0], strict=True)
    ]
    assert stops_early(falling, experiment(patience=2))  # by the loss
    assert not stops_early(falling, experiment("validation_accuracy", patience=2))


def test_without_patience_nothing_stops_and_without_keep_best_nothing_improves():
    assert not stops_early(rows(losses=[1, 2, 3, 4]), experiment())
    assert not just_improved(rows(losses=[2, 1]), experiment())


def test_the_last_row_improves_only_if_it_is_better_than_all_before():
    by_accuracy = experiment("validation_accuracy")
    assert just_improved(rows([0.5]), by_accuracy)
    assert just_improved(rows([0.5, 0.6]), by_accuracy)
    assert not just_improved(rows([0.5, 0.5]), by_accuracy)
