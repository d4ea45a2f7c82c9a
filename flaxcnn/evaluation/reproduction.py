"""What several seeds of one experiment say together: each number with its spread, beside what was expected of it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flaxcnn.config import Expectation, PublishedRow
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.evaluation.intervals import MeanInterval, mean_interval, prediction_interval
from flaxcnn.evaluation.table import LoggedRow, markdown

_ABOUT_A_RUN = (
    "name",
    "parameters",
    "steps",
    "rows",
    "weights_step",
    "seed",
    "stopped_early",
)  # the same, or no measurement


class Reported(NamedTuple):
    """A number of the runs' summaries over the seeds."""

    metric: str
    values: list[float]  # in the order of the seeds
    over_seeds: MeanInterval
    expected: Expectation | None

    @property
    def as_expected(self) -> bool:
        """Whether the mean lies in the expected range, or nothing is expected."""
        return self.expected is None or self.expected.at_least <= self.over_seeds.mean <= self.expected.at_most


class ComparedRow(NamedTuple):
    """A logged row over the seeds beside what a paper printed for it; None where it printed nothing."""

    step: int
    loss: MeanInterval
    loss_of_a_run: tuple[float, float]  # where one further run's would lie, 95 %
    paper_loss: float | None
    accuracy: MeanInterval | None
    accuracy_of_a_run: tuple[float, float] | None
    paper_accuracy: float | None

    @property
    def typical(self) -> list[bool]:
        """For each number that the paper printed, whether a run of ours gives such a one in 95 % of cases."""
        pairs = ((self.paper_loss, self.loss_of_a_run, 4), (self.paper_accuracy, self.accuracy_of_a_run, 2))
        return [
            low - 0.5 * 10**-digits <= paper <= high + 0.5 * 10**-digits  # the paper's number is rounded
            for paper, (low, high), digits in ((p, i, d) for p, i, d in pairs if p is not None and i is not None)
        ]


def reported(summaries: Sequence[Mapping[str, Any]], expected: Sequence[Expectation]) -> list[Reported]:
    """Return every number that all summaries report, those first of which something is expected.

    Raises:
        ConfigError: something is expected of a number that no summary reports.
    """
    names = [
        name
        for name, value in summaries[0].items()
        if isinstance(value, int | float) and not isinstance(value, bool)
        if name not in _ABOUT_A_RUN and not name.endswith("_examples")
    ]
    by_metric = {each.metric: each for each in expected}
    for metric in by_metric:
        if metric not in names:
            raise ConfigError("expected of a number that no run reports", where=metric, fix=nearest(metric, names))
    ordered = [*by_metric, *(name for name in names if name not in by_metric)]
    columns = {name: [float(summary[name]) for summary in summaries] for name in ordered}
    return [Reported(name, values, mean_interval(values), by_metric.get(name)) for name, values in columns.items()]


def compared_rows(runs: Sequence[Sequence[LoggedRow]], published: Sequence[PublishedRow]) -> list[ComparedRow]:
    """Return each row that all runs logged, over the runs, beside the paper's."""
    paper = {row.step: row for row in published}
    result = []
    for rows in zip(*runs, strict=False):
        losses = [row.train_loss for row in rows]
        accuracies = [row.test_accuracy for row in rows if row.test_accuracy is not None]
        printed = paper.get(rows[0].step, PublishedRow(rows[0].step, None, None))
        result.append(
            ComparedRow(
                rows[0].step,
                mean_interval(losses),
                prediction_interval(losses),
                printed.train_loss,
                mean_interval(accuracies) if accuracies else None,
                prediction_interval(accuracies) if accuracies else None,
                printed.test_accuracy,
            )
        )
    return result


def reported_table(numbers: Sequence[Reported]) -> str:
    """Return a Markdown table of mean, standard deviation, interval and what was expected."""
    lines = [("number", "mean", "standard deviation", "95 % interval of the mean", "expected", "")]
    for each in numbers:
        mean, deviation, low, high = each.over_seeds
        verdict = "" if each.expected is None else "yes" if each.as_expected else "**no**"
        lines.append(
            (
                each.metric,
                _number(mean),
                _number(deviation),
                f"{_number(low)} to {_number(high)}",
                _range(each),
                verdict,
            )
        )
    return markdown(lines)


def rows_table(rows: Sequence[ComparedRow]) -> str:
    """Return a Markdown table of every logged row over the seeds beside the paper's numbers."""
    lines = [("row", "step", "train loss", "of 95 % of runs", "paper", "test accuracy", "of 95 % of runs", "paper")]
    for number, row in enumerate(rows):
        accuracy, around = row.accuracy, row.accuracy_of_a_run
        lines.append(
            (
                f"{number}",
                f"{row.step:,}",
                f"{row.loss.mean:.4f}",
                f"{max(row.loss_of_a_run[0], 0):.4f} to {row.loss_of_a_run[1]:.4f}",
                "–" if row.paper_loss is None else f"{row.paper_loss:.4f}",
                "–" if accuracy is None else f"{accuracy.mean:.4f}",
                "–" if around is None else f"{around[0]:.4f} to {min(around[1], 1):.4f}",
                "–" if row.paper_accuracy is None else f"{row.paper_accuracy:.2f}",
            )
        )
    return markdown(lines)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"


def _range(each: Reported) -> str:
    if each.expected is None:
        return ""
    ends = (("at least", each.expected.at_least), ("at most", each.expected.at_most))
    return ", ".join(f"{word} {value:g}" for word, value in ends if math.isfinite(value))
