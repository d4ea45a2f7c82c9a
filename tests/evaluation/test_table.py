"""The table shows the paper's values where it printed some, and only where they can be compared."""

from flaxcnn.config import PublishedRow
from flaxcnn.evaluation.table import LoggedRow, markdown_table

ROWS = [LoggedRow(0, 0, 2.3, 0.1, 1.0), LoggedRow(1150, 0, 0.0512, 0.9765, 1.0)]


def test_a_row_without_a_published_value_has_a_dash():
    lines = markdown_table(ROWS, [PublishedRow(1150, None, 0.97)]).splitlines()
    assert lines[2] == "|   0 |     0 |     2.3000 |        0.1000 |            – |                – |"
    assert lines[3] == "|   1 | 1,150 |     0.0512 |        0.9765 |            – |             0.97 |"


def test_a_run_that_nothing_was_published_for_has_no_papers_columns():
    lines = markdown_table(ROWS, []).splitlines()
    assert lines[0].split("|")[1:-1] == [" row ", "  step ", " train loss ", " test accuracy "]


def test_every_line_is_equally_wide():
    assert len({len(line) for line in markdown_table(ROWS, [PublishedRow(0, 2.3034, 0.12)]).splitlines()}) == 1
