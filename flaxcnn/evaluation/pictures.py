"""The pictures of a run for every task: augmented images and learning curves; and the learning-rate range test.

Each is drawn with the settings of `flaxcnn.pictures.drawn`, which provides the file.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from flaxcnn.config import PublishedRow
from flaxcnn.evaluation.reproduction import ComparedRow
from flaxcnn.evaluation.table import LoggedRow
from flaxcnn.pictures import DPI, draw_tiles, new_figure
from flaxcnn.tasks import Metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OURS, _PAPER, _VALIDATION = "#1f77b4", "#d62728", "#2ca02c"


def draw_curves(
    rows: Sequence[LoggedRow],
    published: Sequence[PublishedRow],
    metric: tuple[str, Metric],
    title: str,
    file: BinaryIO,
) -> None:
    """Draw losses and a metric over steps, training against validation, the paper's values as a line beside ours.

    The training loss of single batches goes up and down (the founding paper asks its readers to watch that), so it is
    drawn as it is, faint, and smoothed: the mean of the rows so far, each older one with 0.6 of the weight of the next.

    Args:
        rows: of the run.
        published: what a paper printed.
        metric: the task's first logged one, with its name.
        title: of the picture.
        file: where it goes.
    """
    name, kind = metric
    columns = [(f"validation_{name}", _VALIDATION, "validation"), (f"test_{name}", _OURS, "the first test images")]
    figure, loss_axes, metric_axes = _stacked(
        any(row.number(column) is not None for row in rows for column, _, _ in columns)
    )
    losses = [row.train_loss for row in rows]
    steps = [row.step for row in rows]
    loss_axes.plot(steps, losses, ".-", color=_OURS, alpha=0.35, label="training, each row's batch")
    loss_axes.plot(steps, smoothed(losses), color=_OURS, label="training, smoothed")
    for axes, column, color, label in (
        (loss_axes, "validation_loss", _VALIDATION, "validation"),
        *((metric_axes, *column) for column in columns),
    ):
        points = [(row.step, row.number(column)) for row in rows if row.number(column) is not None]
        if axes and points:
            axes.plot(*zip(*points, strict=True), ".-", color=color, label=label)
    paper_losses = [(row.step, row.train_loss) for row in published if row.train_loss is not None]
    paper_metrics = [(row.step, row.test_metric) for row in published if row.test_metric is not None]
    _draw_papers(((loss_axes, paper_losses), (metric_axes, paper_metrics)))
    positive = all(loss > 0 for loss in losses)  # a loss of 0 has no place on a logarithmic scale
    loss_axes.set(ylabel="loss", title=title)
    if positive:
        _logarithmic(loss_axes)
    if metric_axes:
        if kind.fraction:
            metric_axes.set_ylim(top=1.02)
        metric_axes.set(ylabel=with_unit(name, kind))
    figure.savefig(file, dpi=DPI)


def with_unit(name: str, kind: Metric) -> str:
    """Return a metric's name as an axis has it, "RMSE (cells/mL)"."""
    return name.replace("_", " ") + (f" ({kind.unit})" if kind.unit else "")


def draw_over_seeds(rows: Sequence[ComparedRow], metric: tuple[str, Metric], title: str, file: BinaryIO) -> None:
    """Draw the rows' mean over seeds with the band in which 95 % of single runs lie, and the paper's run as a line."""
    measured = [(row.step, row.metric, row.metric_of_a_run) for row in rows if row.metric is not None]
    figure, loss_axes, metric_axes = _stacked(bool(measured))
    steps, means = [row.step for row in rows], [row.loss.mean for row in rows]
    loss_axes.plot(steps, means, color=_OURS, label="mean over seeds")
    low, high = zip(*(row.loss_of_a_run for row in rows), strict=True)
    losses = [(row.step, row.paper_loss) for row in rows if row.paper_loss is not None]
    floor, ceiling = 0.0, max(*means, *(loss for _, loss in losses)) * 3
    if min(means) > 0:  # on a logarithmic scale, where a band that reaches 0, or of two seeds far, is cut off
        floor = min(*means, *(loss for _, loss in losses if loss > 0)) / 3
        _logarithmic(loss_axes)
        loss_axes.set_ylim(max(floor, min(low) / 1.2), min(ceiling, max(high) * 1.2))
    band = np.maximum(low, floor), np.minimum(high, ceiling)
    loss_axes.fill_between(steps, *band, color=_OURS, alpha=0.2, label="95 % of runs")
    if metric_axes:
        name, kind = metric
        steps = [step for step, _, _ in measured]
        low, high = zip(*(around for _, _, around in measured if around is not None), strict=True)
        most = 1 if kind.fraction else np.inf
        metric_axes.plot(steps, [over.mean for _, over, _ in measured], color=_OURS, label="mean over seeds")
        metric_axes.fill_between(steps, low, np.minimum(high, most), color=_OURS, alpha=0.2, label="95 % of runs")
        metric_axes.set(ylabel=f"{with_unit(name, kind)} on the first test images")
    metrics = [(row.step, row.paper_metric) for row in rows if row.paper_metric is not None]
    _draw_papers(((loss_axes, losses), (metric_axes, metrics)))
    loss_axes.set(ylabel="training loss of the batch", title=title)
    figure.savefig(file, dpi=DPI)


def draw_range_test(
    rates: np.ndarray,
    losses: np.ndarray,
    mean_rates: np.ndarray,
    mean_losses: np.ndarray,
    marked: Mapping[str, float],
    title: str,
    file: BinaryIO,
) -> None:
    """Draw the losses of a learning-rate range test and their running mean over the rate, with some rates marked.

    Args:
        rates: the learning rates, (N,).
        losses: in nats, (N,); what lies above one and a half times the first one is cut off.
        mean_rates: of the running mean, (N,).
        mean_losses: likewise, (N,).
        marked: rates by what they are called.
        title: of the picture.
        file: where it goes.
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure = new_figure(7.5, 4.2)
    axes = figure.subplots()
    axes.plot(rates, losses, ".-", color=_OURS, alpha=0.35, label="each step's batch")
    axes.plot(mean_rates, mean_losses, color=_OURS, label="running mean")
    for (name, rate), color in zip(marked.items(), (_PAPER, _VALIDATION), strict=False):
        axes.axvline(rate, color=color, linestyle="--", label=f"{name}: {rate:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss of the batch (nats)", title=title)
    if len(losses):
        axes.set_ylim(0, 1.5 * losses[0])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=DPI)


def smoothed(values: Sequence[float], weight: float = 0.6) -> list[float]:
    """Return for each value the mean of all up to it, each older one with `weight` times the weight of the next.

    >>> smoothed([2.0, 1.0], weight=0.5)  # (0.5 · 2 + 1) / (0.5 + 1)
    [2.0, 1.3333333333333333]
    """
    means, total, weights = [], 0.0, 0.0
    for value in values:
        total, weights = weight * total + value, weight * weights + 1
        means.append(total / weights)
    return means


def draw_augmented(before_BHWC: np.ndarray, after_BHWC: np.ndarray, file: BinaryIO, columns: int = 8) -> None:
    """Draw images of a batch, each above what a training step sees of it; floats in [0, 1]."""
    count = min(3 * columns, len(before_BHWC))
    rows = -(-count // columns)
    tiles = {}
    for number in range(count):
        row, column = divmod(number, columns)
        for place, images in ((2 * row, before_BHWC), (2 * row + 1, after_BHWC)):
            tiles[place, column] = np.clip(images[number], 0, 1)
    draw_tiles(tiles, 2 * rows, columns, "Images of the first batch, each above its augmented self", file)


def outlined(images_BHWC: np.ndarray, boxes_BxMx4: np.ndarray) -> np.ndarray:
    """Return images, floats in [0, 1], with green outlines of boxes inside of these, (B, H, W, C).

    Args:
        images_BHWC: the images.
        boxes_BxMx4: y0, x0, y1, x1 in pixels; NaN for none.
    """
    drawn = np.array(images_BHWC, np.float32)
    _, height, width, channels = drawn.shape
    colour = np.asarray([0.1, 0.9, 0.2] if channels == 3 else [1.0] * channels, np.float32)
    thick = max(1, round(min(height, width) / 100))
    for image, boxes in zip(drawn, boxes_BxMx4, strict=True):
        for box in boxes[np.isfinite(boxes).all(-1)]:
            (y0, x0), (y1, x1) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
            y0, x0, y1, x1 = max(y0, 0), max(x0, 0), min(y1, height), min(x1, width)
            inside = image[y0 + thick : y1 - thick, x0 + thick : x1 - thick].copy()
            image[y0:y1, x0:x1] = colour
            image[y0 + thick : y1 - thick, x0 + thick : x1 - thick] = inside
    return drawn


def _stacked(with_metric: bool) -> tuple["Figure", Any, Any]:
    """Return a figure with axes for the loss and, where one was measured, for the metric, else None."""
    figure = new_figure(7.5, 6.0 if with_metric else 3.6)
    grid = figure.subplots(2 if with_metric else 1, 1, sharex=True, squeeze=False)[:, 0]
    grid[-1].set(xlabel="step")
    return figure, grid[0], grid[1] if with_metric else None


def _logarithmic(axes: Any) -> None:
    """Make the vertical axis logarithmic, its numbers written out: those with exponents take a second to typeset."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # a few numbers on any range
    axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_papers(points_on_axes: Sequence[tuple[Any, Sequence[tuple[int, float]]]]) -> None:
    """Draw what a paper printed on each axes, and finish it with a legend and a grid."""
    for axes, points in points_on_axes:
        if axes is None:
            continue
        if points:
            axes.plot(*zip(*points, strict=True), "D--", color=_PAPER, markersize=3, linewidth=1, label="paper")
        axes.legend()
        axes.grid(alpha=0.3)
