"""The table shows the paper's values where it printed some, and only where they can be compared."""

import json

from flaxcnn.config import PublishedRow
from flaxcnn.evaluation.table import Columns, LoggedRow, markdown_table


def row(step, loss, **measured):
    return LoggedRow(step, 0, loss, measured, 0.001, 0.5, 0.01, 1.0)


LOGGED = ["accuracy"]
ROWS = [row(0, 2.3, test_accuracy=0.1), row(1150, 0.0512, test_accuracy=0.9765)]


def test_a_row_without_a_published_value_has_a_dash():
    lines = markdown_table(ROWS, Columns(LOGGED, [PublishedRow(1150, None, 0.97)])).splitlines()
    assert lines[2] == "|   0 |     0 |     2.3000 |        0.1000 |            – |                – |"
    assert lines[3] == "|   1 | 1,150 |     0.0512 |        0.9765 |            – |             0.97 |"


def test_a_run_that_nothing_was_published_for_has_no_papers_columns():
    lines = markdown_table(ROWS, Columns(LOGGED)).splitlines()
    assert lines[0].split("|")[1:-1] == [" row ", "  step ", " train loss ", " test accuracy "]


def test_validation_has_its_columns_and_test_images_that_are_not_looked_at_have_none():
    validated = row(0, 2.3, validation_accuracy=0.25, validation_loss=1.5)
    lines = markdown_table([validated], Columns(LOGGED, tested=False, validated=True)).splitlines()
    assert lines[0] == "| row | step | train loss | validation loss | validation accuracy |"
    assert lines[2] == "|   0 |    0 |     2.3000 |          1.5000 |              0.2500 |"


def test_every_line_is_equally_wide():
    table = markdown_table(ROWS, Columns(LOGGED, [PublishedRow(0, 2.3034, 0.12)]))
    assert len({len(line) for line in table.splitlines()}) == 1


def test_each_metric_that_a_task_logs_has_its_column_and_the_paper_printed_the_first():
    logged = ["rmse", "mean_absolute_error"]
    measured = {"test_rmse": 2.5, "test_mean_absolute_error": 2.0, "validation_rmse": 3.0, "validation_loss": 9.0}
    columns = Columns(logged, [PublishedRow(0, None, 2.25)], validated=True)
    lines = markdown_table([row(0, 9.5, **measured)], columns).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == [
        *("row", "step", "train loss", "validation loss", "validation rmse", "validation mean absolute error"),
        *("test rmse", "test mean absolute error", "paper's loss", "paper's rmse"),
    ]
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        *("0", "0", "9.5000", "9.0000", "3.0000", "–", "2.5000", "2.0000", "–", "2.25")
    ]


def test_a_run_is_followed_by_validation_else_by_test_images_else_by_nothing():
    pairs = ((True, True), (True, False), (False, True), (False, False))
    found = [Columns(LOGGED, tested=tested, validated=validated).main for tested, validated in pairs]
    assert found == ["validation_accuracy", "test_accuracy", "validation_accuracy", None]


def test_a_row_comes_back_from_its_line_of_json_and_a_column_that_it_has_not_is_none():
    logged = row(50, 0.5, test_accuracy=0.75, validation_loss=None)
    line = json.loads(json.dumps(logged.to_json()))
    assert LoggedRow.from_json(line) == logged
    assert list(line)[2:5] == ["train_loss", "test_accuracy", "validation_loss"]
    assert [logged.number(name) for name in ("train_loss", "test_accuracy", "validation_loss", "test_rmse")] == [
        *(0.5, 0.75, None, None)
    ]
