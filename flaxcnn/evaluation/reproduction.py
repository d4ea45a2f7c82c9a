"""Summarise several seeds of one experiment: each result with its spread, compared with the expected values.

A paper's value for a logged row comes from one run. It is compared with the spread of single runs, the prediction
interval for one further seed, not with the much narrower interval of their mean. Batch losses are positive and skewed,
with a long upper tail; their logarithms are nearly normal, so the interval is computed on logarithms.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from flaxcnn.config import Expectation, PublishedRow
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.evaluation.intervals import MeanInterval, mean_interval, prediction_interval
from flaxcnn.evaluation.table import LoggedRow, markdown
from flaxcnn.tasks import Metric

_LOSS_DIGITS, _METRIC_DIGITS = 4, 2  # after the point, as papers print them
_ABOUT_A_RUN = (
    "name",
    "parameters",
    "trained_parameters",
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
    loss_of_a_run: tuple[float, float]  # where one further run's would lie, 95 %; of the logarithms, taken back
    paper_loss: float | None
    metric: MeanInterval | None  # the first logged metric on the first test images
    metric_of_a_run: tuple[float, float] | None
    paper_metric: float | None

    @property
    def compared(self) -> list[tuple[str, float, bool]]:
        """Of each number that the paper printed: "loss" or "metric", it, and whether 95 % of runs lie there."""
        pairs = (
            ("loss", self.paper_loss, self.loss_of_a_run, _LOSS_DIGITS),
            ("metric", self.paper_metric, self.metric_of_a_run, _METRIC_DIGITS),
        )
        return [  # the paper's number is rounded
            (name, paper, around[0] - 0.5 * 10**-digits <= paper <= around[1] + 0.5 * 10**-digits)
            for name, paper, around, digits in pairs
            if paper is not None and around is not None
        ]


def reported(summaries: Sequence[Mapping[str, Any]], expected: Sequence[Expectation]) -> list[Reported]:
    """Return every number that all summaries report, those first of which something is expected.

    Raises:
        ConfigError: something is expected of a number that no summary reports.
    """
    names = [
        name
        for name in summaries[0]
        if all(type(summary.get(name)) in (int, float) for summary in summaries)
        if name not in _ABOUT_A_RUN and not name.endswith("_examples")
    ]
    require_reported(expected, names)
    by_metric = {each.metric: each for each in expected}
    ordered = [*by_metric, *(name for name in names if name not in by_metric)]
    columns = {name: [float(summary[name]) for summary in summaries] for name in ordered}
    return [Reported(name, values, mean_interval(values), by_metric.get(name)) for name, values in columns.items()]


def require_reported(expected: Sequence[Expectation], names: Collection[str]) -> None:
    """Raise ConfigError where something is expected of a number that is not among those that runs report."""
    for each in expected:
        if each.metric not in names:
            fix = nearest(each.metric, names)
            raise ConfigError("expected of a number that no run reports", where=each.metric, fix=fix)


def require_possible(published: Sequence[PublishedRow], name: str, metric: Metric) -> None:
    """Raise ConfigError where a printed value is none that a metric, called so, can have: percent for a fraction."""
    for number, row in enumerate(published):
        value = row.test_metric
        if metric.fraction and value is not None and not 0 <= value <= 1:
            raise ConfigError(f"no such {name}", where=f"published[{number}]", expected="a fraction of 1", found=value)


def compared_rows(
    runs: Sequence[Sequence[LoggedRow]], published: Sequence[PublishedRow], column: str
) -> list[ComparedRow]:
    """Return each row that all runs logged, over the runs, beside the paper's.

    Args:
        runs: the rows of each.
        published: what the paper printed.
        column: of the metric that it printed, "test_" and the task's first logged metric.
    """
    paper = {row.step: row for row in published}
    result = []
    for rows in zip(*runs, strict=False):
        losses = [row.train_loss for row in rows]
        metrics = [number for row in rows if (number := row.number(column)) is not None]
        printed = paper.get(rows[0].step, PublishedRow(rows[0].step, None, None))
        result.append(
            ComparedRow(
                rows[0].step,
                mean_interval(losses),
                prediction_interval(losses, log=min(losses) > 0),
                printed.train_loss,
                mean_interval(metrics) if metrics else None,
                prediction_interval(metrics) if metrics else None,
                printed.test_metric,
            )
        )
    return result


def outside_of_the_others(
    runs: Sequence[Sequence[LoggedRow]], published: Sequence[PublishedRow], column: str
) -> list[int]:
    """Return for each run how many of its numbers lie outside where 95 % of runs do, as the other runs say it.

    Only the numbers that the paper printed too are counted, rounded as it does; so this is how many of the paper's
    would lie outside if its run were one of ours. The rows of a run depend on each other, which a binomial distribution
    of that number does not know.

    Args:
        runs: three at least.
        published: what the paper printed.
        column: as for `compared_rows`.
    """
    paper = {row.step: row for row in published}
    counts = []
    for left_out, run in enumerate(runs):
        own = [
            PublishedRow(
                row.step,
                None if paper[row.step].train_loss is None else round(row.train_loss, _LOSS_DIGITS),
                None
                if paper[row.step].test_metric is None or (number := row.number(column)) is None
                else round(number, _METRIC_DIGITS),
            )
            for row in run
            if row.step in paper
        ]
        others = [*runs[:left_out], *runs[left_out + 1 :]]
        counts.append(sum(not inside for row in compared_rows(others, own, column) for _, _, inside in row.compared))
    return counts


def judgement(runs: Sequence[Sequence[LoggedRow]], published: Sequence[PublishedRow], column: str) -> str:
    """Return the sentences that say which of a paper's numbers lie outside where 95 % of the runs do.

    Empty where nothing can be compared: of one run, or where the paper printed nothing for the rows that were logged.
    """
    rows = compared_rows(runs, published, column) if len(runs) > 1 else []
    called = {"loss": "loss", "metric": column.removeprefix("test_").replace("_", " ")}
    judged = [(number, *each) for number, row in enumerate(rows) for each in row.compared]
    if not judged:
        return ""
    outside = [
        f"the {called[name]} of row {number} ({value:g})" for number, name, value, inside in judged if not inside
    ]
    named = f"outside lie {', '.join(outside)}" if outside else "none lies outside"
    said = [
        f"Of the {len(judged)} numbers on record from the paper, {len(judged) - len(outside)} lie where 95 % of single "
        f"runs do, {named}; by chance, {0.05 * len(judged):.1f} would be expected outside.",
        "The paper's run is one run, so each number is held against the spread of single runs, not of their mean: the "
        "interval is Student's prediction interval for one further seed, of losses that of their logarithms, which are "
        "nearer to normal.",
    ]
    if len(runs) > 2:
        counts = outside_of_the_others(runs, published, column)
        said.append(
            f"Held in the same way against the others, each of these {len(runs)} runs has {min(counts)} to "
            f"{max(counts)} outside, {sum(counts) / len(counts):.1f} on average."
        )
    return " ".join(said)


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


def rows_table(rows: Sequence[ComparedRow], column: str, most: float) -> str:
    """Return a Markdown table of every logged row over the seeds beside the paper's numbers.

    Args:
        rows: as `compared_rows` gave them.
        column: of the metric.
        most: the largest value that the metric can have, 1 for a fraction.
    """
    metric, of_runs = column.replace("_", " "), "of 95 % of runs"
    lines = [("row", "step", "train loss", of_runs, "paper", metric, of_runs, "paper")]
    for number, row in enumerate(rows):
        mean, around = row.metric, row.metric_of_a_run
        lines.append(
            (
                f"{number}",
                f"{row.step:,}",
                f"{row.loss.mean:.4f}",
                f"{_loss(max(row.loss_of_a_run[0], 0))} to {_loss(row.loss_of_a_run[1])}",
                "–" if row.paper_loss is None else f"{row.paper_loss:.4f}",
                "–" if mean is None else f"{mean.mean:.4f}",
                "–" if around is None else f"{around[0]:.4f} to {min(around[1], most):.4f}",
                "–" if row.paper_metric is None else f"{row.paper_metric:.2f}",
            )
        )
    return markdown(lines)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"


def _loss(value: float) -> str:
    return f"{value:.4f}" if value < 1000 else f"{value:.1e}"  # of two seeds far apart


def _range(each: Reported) -> str:
    if each.expected is None:
        return ""
    ends = (("at least", each.expected.at_least), ("at most", each.expected.at_most))
    return ", ".join(f"{word} {value:g}" for word, value in ends if math.isfinite(value))
