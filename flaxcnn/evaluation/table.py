"""The rows that a run logs, and their table beside the values that a paper printed."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from flaxcnn.config import PublishedRow


class LoggedRow(NamedTuple):
    """One line of `metrics.jsonl`."""

    step: int  # counted from 0; the row is measured after this step's update
    epoch: int  # counted from 0
    train_loss: float  # mean cross-entropy in nats of the step's batch, before its update
    test_accuracy: float  # on the first test images, a fraction of 1
    images_per_second: float  # trained since the last row; evaluation not counted


HEADINGS = ("row", "step", "train loss", "test accuracy")
PAPER_HEADINGS = ("paper's loss", "paper's accuracy")


def headings(published: Sequence[PublishedRow]) -> tuple[str, ...]:
    """Return the table's column headings; the paper's columns only where there is something to compare with."""
    return (*HEADINGS, *PAPER_HEADINGS) if published else HEADINGS


def cells(number: int, row: LoggedRow, published: Sequence[PublishedRow]) -> tuple[str, ...]:
    """Return a row's cells, in the headings' order; "–" where the paper printed nothing for this step."""
    own = (f"{number}", f"{row.step:,}", f"{row.train_loss:.4f}", f"{row.test_accuracy:.4f}")
    if not published:
        return own
    paper = next((each for each in published if each.step == row.step), PublishedRow(row.step, None, None))
    loss = "–" if paper.train_loss is None else f"{paper.train_loss:.4f}"
    accuracy = "–" if paper.test_accuracy is None else f"{paper.test_accuracy:.2f}"
    return (*own, loss, accuracy)


def markdown_table(rows: Iterable[LoggedRow], published: Sequence[PublishedRow]) -> str:
    """Return the rows as a Markdown table, numbers aligned to the right.

    >>> print(markdown_table([LoggedRow(0, 0, 2.3041, 0.121, 2000.0)], [PublishedRow(0, 2.3034, 0.12)]))
    | row | step | train loss | test accuracy | paper's loss | paper's accuracy |
    |----:|-----:|-----------:|--------------:|-------------:|-----------------:|
    |   0 |    0 |     2.3041 |        0.1210 |       2.3034 |             0.12 |
    """
    lines = [headings(published), *(cells(number, row, published) for number, row in enumerate(rows))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = ["| " + " | ".join(map(str.rjust, line, widths)) + " |" for line in lines]
    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])
