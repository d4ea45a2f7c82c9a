"""The rows that a run logs, and their table beside the values that a paper printed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypedDict

from flaxcnn.config import PublishedRow

_BEFORE, _AFTER = (
    ("step", "epoch", "train_loss"),
    ("learning_rate", "gradient_norm", "update_ratio", "images_per_second"),
)

_LARGE = 1e6  # from here on, a number is written with an exponent
_NARROWEST = 6  # characters of a column: "0.9876"


class LoggedLine(TypedDict):
    """What every line of `metrics.jsonl` has; the task's own columns are not declared."""

    step: int
    epoch: int
    train_loss: float
    learning_rate: float
    gradient_norm: float
    update_ratio: float
    images_per_second: float


class LoggedRow(NamedTuple):
    """One line of `metrics.jsonl`."""

    step: int  # counted from 0; the row is measured after this step's update
    epoch: int  # counted from 0
    train_loss: float  # mean over the step's batch of what is minimised, before its update
    measured: Mapping[str, float | None]  # by column: "test_" or "validation_" and a metric, "validation_loss"
    learning_rate: float  # of the step's update
    gradient_norm: float  # over all parameters, before clipping
    update_ratio: float  # norm of the update over the norm of the parameters
    images_per_second: float  # trained since the last row; evaluation not counted

    def number(self, column: str) -> float | None:
        """Return what stands in a column; None where nothing was measured."""
        return self.train_loss if column == "train_loss" else self.measured.get(column)

    def to_json(self) -> dict[str, Any]:
        """Return the row as a line of the log has it."""
        before, after = ({name: getattr(self, name) for name in names} for names in (_BEFORE, _AFTER))
        return {**before, **self.measured, **after}

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> "LoggedRow":
        """Return the row of a line of the log; raises KeyError where a number is missing."""
        fixed = {name: line[name] for name in (*_BEFORE, *_AFTER)}
        return cls(**fixed, measured={name: value for name, value in line.items() if name not in fixed})


def measured_columns(logged: Sequence[str], *, tested: bool, validated: bool) -> list[str]:
    """Return the columns that a row measures, in order.

    Args:
        logged: the task's logged metrics.
        tested: whether test images are evaluated at each row.
        validated: whether there is a validation split.
    """
    test = [f"test_{name}" for name in logged] if tested else []
    return [*test, *([f"validation_{name}" for name in (*logged, "loss")] if validated else [])]


@dataclass(frozen=True)
class Columns:
    """The columns of a run's table; only those in which something stands.

    Attributes:
        logged: the task's logged metrics, the first of which a paper printed.
        published: what a paper printed; its columns are left out where that is nothing.
        tested: whether test images are evaluated at each row.
        validated: whether there is a validation split.
    """

    logged: Sequence[str]
    published: Sequence[PublishedRow] = ()
    tested: bool = True
    validated: bool = False

    @property
    def main(self) -> str | None:
        """The column by which a run is followed: the first metric on validation, else on test images."""
        kind = "validation" if self.validated else "test" if self.tested else None
        return None if kind is None else f"{kind}_{self.logged[0]}"

    @property
    def _measured(self) -> list[str]:
        validated = [f"validation_{name}" for name in ("loss", *self.logged)] if self.validated else []
        return [*validated, *([f"test_{name}" for name in self.logged] if self.tested else [])]

    def headings(self) -> tuple[str, ...]:
        """Return the headings, in the order of `cells`."""
        papers = ("paper's loss", f"paper's {self.logged[0]}") if self.published else ()
        return ("row", "step", "train loss", *(name.replace("_", " ") for name in self._measured), *papers)

    def fitting(self, width: int) -> tuple["Columns", list[tuple[str, ...]]]:
        """Return those columns of which a table of so many characters has room, and the lines of its head.

        Metrics that are logged first stay longest. A head has two lines where more metrics have room then. The one
        metric of a task that logs no other is always shown, in one line.
        """
        for count in range(len(self.logged), 0, -1):
            columns = replace(self, logged=self.logged[:count])
            headings = columns.headings()
            if len(self.logged) == 1 or _width([headings]) <= width:
                return columns, [headings]
            lines = list(zip(*map(_in_two, headings), strict=True))
            if _width(lines) <= width or count == 1:
                return columns, lines
        raise AssertionError("a task logs a metric")

    def cells(self, number: int, row: LoggedRow) -> tuple[str, ...]:
        """Return a row's cells; "–" where nothing was measured or the paper printed nothing for this step."""
        paper = next((each for each in self.published if each.step == row.step), PublishedRow(row.step, None, None))
        return (
            *(f"{number}", f"{row.step:,}", _decimals(row.train_loss)),
            *(_decimals(row.number(name)) for name in self._measured),
            *((_decimals(paper.train_loss), _decimals(paper.test_metric, 2)) if self.published else ()),
        )


def markdown_table(rows: Iterable[LoggedRow], columns: Columns) -> str:
    """Return the rows as a Markdown table, numbers aligned to the right.

    >>> row = LoggedRow(0, 0, 2.3041, {"test_r2": 0.121}, 0.001, 0.9, 0.01, 2000.0)
    >>> print(markdown_table([row], Columns(["r2"], [PublishedRow(0, 2.3034, 0.12)])))
    | row | step | train loss | test r2 | paper's loss | paper's r2 |
    |----:|-----:|-----------:|--------:|-------------:|-----------:|
    |   0 |    0 |     2.3041 |  0.1210 |       2.3034 |       0.12 |
    """
    return markdown([columns.headings(), *(columns.cells(number, row) for number, row in enumerate(rows))])


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as a Markdown table, the first line its head, all aligned to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = ["| " + " | ".join(map(str.rjust, line, widths)) + " |" for line in lines]
    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])


def _decimals(value: float | None, digits: int = 4) -> str:
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if abs(value) < _LARGE else f"{value:.{digits}e}"


def _width(lines: Sequence[Sequence[str]]) -> int:
    """Return how wide a line is, two spaces between columns."""
    return sum(map(max, zip(*(column_widths(line) for line in lines), strict=True))) + 2 * (len(lines[0]) - 1)


def column_widths(line: Sequence[str]) -> tuple[int, ...]:
    """Return how many characters each column of a head takes, with room for a number."""
    return tuple(max(len(text), _NARROWEST) for text in line)


def _in_two(heading: str) -> tuple[str, str]:
    """Return a heading in two lines: "validation", "amount r2"."""
    first, _, rest = heading.partition(" ")
    return (first, rest) if rest else ("", heading)
