"""The rows that a run logs, and their table beside the values that a paper printed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flaxcnn.config import PublishedRow


class LoggedRow(NamedTuple):
    """One line of `metrics.jsonl`."""

    step: int  # counted from 0; the row is measured after this step's update
    epoch: int  # counted from 0
    train_loss: float  # mean over the step's batch of what is minimised, in nats, before its update
    test_accuracy: float | None  # on the first test images, a fraction of 1; shown, and nothing is chosen by it
    validation_accuracy: float | None  # on all validation images
    validation_loss: float | None  # mean cross-entropy in nats
    learning_rate: float  # of the step's update
    gradient_norm: float  # over all parameters, before clipping
    update_ratio: float  # norm of the update over the norm of the parameters
    images_per_second: float  # trained since the last row; evaluation not counted


@dataclass(frozen=True)
class Columns:
    """The columns of a run's table; only those in which something stands.

    Attributes:
        published: what a paper printed; its columns are left out where that is nothing.
        tested: whether test images are evaluated at each row.
        validated: whether there is a validation split.
    """

    published: Sequence[PublishedRow] = ()
    tested: bool = True
    validated: bool = False

    def headings(self) -> tuple[str, ...]:
        """Return the headings, in the order of `cells`."""
        return (
            *("row", "step", "train loss"),
            *(("validation loss", "validation accuracy") if self.validated else ()),
            *(("test accuracy",) if self.tested else ()),
            *(("paper's loss", "paper's accuracy") if self.published else ()),
        )

    def cells(self, number: int, row: LoggedRow) -> tuple[str, ...]:
        """Return a row's cells; "–" where nothing was measured or the paper printed nothing for this step."""
        paper = next((each for each in self.published if each.step == row.step), PublishedRow(row.step, None, None))
        return (
            *(f"{number}", f"{row.step:,}", _decimals(row.train_loss)),
            *((_decimals(row.validation_loss), _decimals(row.validation_accuracy)) if self.validated else ()),
            *((_decimals(row.test_accuracy),) if self.tested else ()),
            *((_decimals(paper.train_loss), _decimals(paper.test_accuracy, 2)) if self.published else ()),
        )


def markdown_table(rows: Iterable[LoggedRow], columns: Columns) -> str:
    """Return the rows as a Markdown table, numbers aligned to the right.

    >>> row = LoggedRow(0, 0, 2.3041, 0.121, None, None, 0.001, 0.9, 0.01, 2000.0)
    >>> print(markdown_table([row], Columns([PublishedRow(0, 2.3034, 0.12)])))
    | row | step | train loss | test accuracy | paper's loss | paper's accuracy |
    |----:|-----:|-----------:|--------------:|-------------:|-----------------:|
    |   0 |    0 |     2.3041 |        0.1210 |       2.3034 |             0.12 |
    """
    return markdown([columns.headings(), *(columns.cells(number, row) for number, row in enumerate(rows))])


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as a Markdown table, the first line its head, all aligned to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = ["| " + " | ".join(map(str.rjust, line, widths)) + " |" for line in lines]
    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])


def _decimals(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
