"""A run's metrics on its test images, with their intervals."""

import math
import re
from typing import NamedTuple

from flaxcnn.evaluation.intervals import bootstrap_intervals
from flaxcnn.pages.parts import Part, Table, Text
from flaxcnn.reports.material import Material
from flaxcnn.tasks import Metric, measured


class Value(NamedTuple):
    """A metric with its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


def metrics_of(run: Material) -> dict[str, Value]:
    """Return every metric of the test images, computed again from the predictions.

    An interval is the bootstrap's, as `flaxcnn evaluate` has it; of what the summary gives an exact one for, that one.
    """
    scores, names, examples = run.task.scores(run.predicted), run.task.metrics, len(run.test.index_N)
    values = measured(scores, examples, names)
    intervals = bootstrap_intervals(scores, names, examples, groups_N=run.test.groups_N)
    if run.test.groups_N is None:
        for name in run.task.counted:
            exact = run.summary.get(f"test_{name}_interval_95")
            if isinstance(exact, list) and len(exact) == 2 and run.summary.get(f"test_{name}") == values[name]:
                intervals[name] = (float(exact[0]), float(exact[1]))
    return {name: Value(values[name], *intervals[name]) for name in names}


def metrics_part(run: Material, metrics: dict[str, Value]) -> Part:
    """Return the table of the metrics."""
    rows = [
        [worded(name), shown(metrics[name].value, kind), ends(metrics[name], kind), unit(kind)]
        for name, kind in run.task.metrics.items()
    ]
    groups = run.groups
    over = "" if groups is None else f", over {groups:,} whole groups"
    having = "".join(
        f" {count:,} of them have a target of {found[1]}."
        for name, count in run.summary.items()
        if isinstance(count, int) and (found := re.fullmatch(r"test_(.+)_examples", name))
    )
    told = (
        f"On all {len(run.test.index_N):,} test images, each exactly once.{having} The intervals are of 95 %{over}:"
        " they say how much other test images would change a value, and not how much another training would."
    )
    return Part("Metrics", [Text(told), Table(["metric", "value", "95 % interval", ""], rows)])


def worded(name: str) -> str:
    """Return a metric's name as people read it."""
    return name.replace("_", " ")


def unit(kind: Metric) -> str:
    """Return a metric's unit, and whether less is better."""
    return ", ".join(filter(None, (kind.unit, "" if kind.higher_is_better else "lower is better")))


def shown(value: float, kind: Metric) -> str:
    """Return a metric's value as text."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.4f}" if kind.fraction or abs(value) < 1e4 else f"{value:.4g}"


def ends(found: Value, kind: Metric) -> str:
    """Return a metric's interval as text."""
    if not math.isfinite(found.low):
        return "–"
    return f"{shown(found.low, kind)} to {shown(found.high, kind)}"
