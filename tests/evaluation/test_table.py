"""The table shows the paper's values where it printed some, and only where they can be compared."""

from flaxcnn.config import PublishedRow
from flaxcnn.evaluation.table import Columns, LoggedRow, markdown_table


def row(step, loss, accuracy, validation=(None, None)):
    return LoggedRow(step, 0, loss, accuracy, *validation, 0.001, 0.5, 0.01, 1.0)


ROWS = [row(0, 2.3, 0.1), row(1150, 0.0512, 0.9765)]


def test_a_row_without_a_published_value_has_a_dash():
    lines = markdown_table(ROWS, Columns([PublishedRow(1150, None, 0.97)])).splitlines()
    assert lines[2] == "|   0 |     0 |     2.3000 |        0.1000 |            – |                – |"
    assert lines[3] == "|   1 | 1,150 |     0.0512 |        0.9765 |            – |             0.97 |"


def test_a_run_that_nothing_was_published_for_has_no_papers_columns():
    lines = markdown_table(ROWS, Columns()).splitlines()
    assert lines[0].split("|")[1:-1] == [" row ", "  step ", " train loss ", " test accuracy "]


def test_validation_has_its_columns_and_test_images_that_are_not_looked_at_have_none():
    lines = markdown_table([row(0, 2.3, None, (0.25, 1.5))], Columns(tested=False, validated=True)).splitlines()
    assert lines[0] == "| row | step | train loss | validation loss | validation accuracy |"
    assert lines[2] == "|   0 |    0 |     2.3000 |          1.5000 |              0.2500 |"


def test_every_line_is_equally_wide():
    assert len({len(line) for line in markdown_table(ROWS, Columns([PublishedRow(0, 2.3034, 0.12)])).splitlines()}) == 1
