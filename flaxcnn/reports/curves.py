"""Learning curves of one run, or of several in one picture."""

from collections.abc import Sequence

import numpy as np

from flaxcnn.evaluation.pictures import smoothed, with_unit
from flaxcnn.evaluation.table import LoggedRow
from flaxcnn.pages.parts import Part, Plot, Series, Text
from flaxcnn.reports.material import Material

_MOST_POINTS = 400  # of a curve in a page


def curves(runs: Sequence[Material]) -> Part:
    """Return the curves of the loss, and of the first metric that the runs log, over steps.

    Of one run, training is set against validation; of several, validation, or where a run has none its first test
    images, against that of the others.
    """
    name = runs[0].task.logged[0]
    kind = runs[0].task.metrics[name]
    losses: list[Series] = []
    metrics: list[Series] = []
    for place, run in enumerate(runs):
        alone, called = len(runs) == 1, "" if len(runs) == 1 else f"{run.called}, "
        rows = [run.rows[each] for each in _kept(len(run.rows))]
        steps = [row.step for row in rows]
        raw = [row.train_loss for row in run.rows]
        smooth = [smoothed(raw)[each] for each in _kept(len(raw))]
        if alone:
            losses.append(Series("training, each row's batch", steps, [row.train_loss for row in rows], "faint", 0))
        losses.append(Series(f"{called}training, smoothed", steps, smooth, "line", place % 8))
        validated = _column(rows, "validation_loss")
        if np.isfinite(validated).any():
            label = f"{called}validation"
            losses.append(
                Series(label, steps, validated, "line", 1)
                if alone
                else Series(label, steps, validated, "dashed", place % 8)
            )
        for column, title in ((f"validation_{name}", "validation"), (f"test_{name}", "the first test images")):
            values = _column(rows, column)
            if np.isfinite(values).any():
                second = column.startswith("test")
                metrics.append(Series(f"{called}{title}", steps, values, "dashed" if second else "line", place % 8))
    positive = all(row.train_loss > 0 for run in runs for row in run.rows)
    plots = [Plot("Loss", "step", "loss", losses, log=positive)]
    if metrics:
        plots.append(Plot(with_unit(name, kind).capitalize(), "step", with_unit(name, kind), metrics))
    told = Text(
        "A training loss is of one batch, and goes up and down; smoothed, it is the mean of the rows so far, each "
        "older one with 0.6 of the weight of the next."
    )
    return Part("Curves", [told, *plots])


def _kept(count: int) -> list[int]:
    """Return which of many points are drawn."""
    return sorted({round(each) for each in np.linspace(0, count - 1, min(count, _MOST_POINTS)).tolist()})


def _column(rows: Sequence[LoggedRow], column: str) -> np.ndarray:
    return np.array([np.nan if row.number(column) is None else row.number(column) for row in rows], np.float64)
