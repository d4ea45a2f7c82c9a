"""The pictures of a run: augmented images, learning curves, confusion matrix, most confident mistakes; and range tests.

Each is drawn under the settings of `flaxcnn.pictures.drawn`, which gives the file.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from flaxcnn.config import PublishedRow
from flaxcnn.data import Images
from flaxcnn.evaluation.confusion import Mistake
from flaxcnn.evaluation.reproduction import ComparedRow
from flaxcnn.evaluation.table import LoggedRow
from flaxcnn.pictures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OURS, _PAPER, _VALIDATION = "#1f77b4", "#d62728", "#2ca02c"
DPI = 130


def draw_curves(rows: Sequence[LoggedRow], published: Sequence[PublishedRow], title: str, file: BinaryIO) -> None:
    """Draw losses and accuracies over steps, training against validation, the paper's values as a line beside ours.

    The training loss of single batches goes up and down (the founding paper asks its readers to watch that), so it is
    drawn as it is, faint, and smoothed: the mean of the rows so far, each older one with 0.6 of the weight of the next.
    """
    figure, loss_axes, accuracy_axes = _stacked(
        any(row.test_accuracy is not None or row.validation_accuracy is not None for row in rows)
    )
    losses = [row.train_loss for row in rows]
    steps = [row.step for row in rows]
    loss_axes.plot(steps, losses, ".-", color=_OURS, alpha=0.35, label="training, each row's batch")
    loss_axes.plot(steps, smoothed(losses), color=_OURS, label="training, smoothed")
    for axes, field, color, label in (
        (loss_axes, "validation_loss", _VALIDATION, "validation"),
        (accuracy_axes, "validation_accuracy", _VALIDATION, "validation"),
        (accuracy_axes, "test_accuracy", _OURS, "the first test images"),
    ):
        points = [(row.step, getattr(row, field)) for row in rows if getattr(row, field) is not None]
        if axes and points:
            axes.plot(*zip(*points, strict=True), ".-", color=color, label=label)
    paper_losses = [(row.step, row.train_loss) for row in published if row.train_loss is not None]
    paper_accuracies = [(row.step, row.test_accuracy) for row in published if row.test_accuracy is not None]
    _draw_papers(((loss_axes, paper_losses), (accuracy_axes, paper_accuracies)))
    positive = all(loss > 0 for loss in losses)  # a loss of 0 has no place on a logarithmic scale
    loss_axes.set(ylabel="loss (nats)", title=title)
    if positive:
        _logarithmic(loss_axes)
    if accuracy_axes:
        accuracy_axes.set_ylim(top=1.02)
        accuracy_axes.set(ylabel="accuracy")
    figure.savefig(file, dpi=DPI)


def draw_over_seeds(rows: Sequence[ComparedRow], title: str, file: BinaryIO) -> None:
    """Draw the rows' mean over seeds with the band in which 95 % of single runs lie, and the paper's run as a line."""
    measured = [(row.step, row.accuracy, row.accuracy_of_a_run) for row in rows if row.accuracy is not None]
    figure, loss_axes, accuracy_axes = _stacked(bool(measured))
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
    if accuracy_axes:
        steps = [step for step, _, _ in measured]
        low, high = zip(*(around for _, _, around in measured if around is not None), strict=True)
        accuracy_axes.plot(steps, [over.mean for _, over, _ in measured], color=_OURS, label="mean over seeds")
        accuracy_axes.fill_between(steps, low, np.minimum(high, 1), color=_OURS, alpha=0.2, label="95 % of runs")
        accuracy_axes.set(ylabel="accuracy on the first test images")
    accuracies = [(row.step, row.paper_accuracy) for row in rows if row.paper_accuracy is not None]
    _draw_papers(((loss_axes, losses), (accuracy_axes, accuracies)))
    loss_axes.set(ylabel="training loss of the batch (nats)", title=title)
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
    _draw_tiles(tiles, 2 * rows, columns, "Images of the first batch, each above its augmented self", file)


def draw_confusion(matrix_KxK: np.ndarray, class_names: Sequence[str], file: BinaryIO) -> None:
    """Draw a confusion matrix: rows are labels, columns predictions; colour is the fraction of the label's examples."""
    classes = len(class_names)
    side = min(16.0, max(5.5, 0.55 * classes + 1.5))
    figure = new_figure(side, side)
    axes = figure.subplots()
    fractions = matrix_KxK / np.maximum(matrix_KxK.sum(axis=1, keepdims=True), 1)
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    accuracy = np.trace(matrix_KxK) / max(matrix_KxK.sum(), 1)
    axes.set(xlabel="predicted", ylabel="label", title=f"{matrix_KxK.sum():,} test images, {accuracy:.2%} correct")
    if classes <= 30:
        axes.set_xticks(range(classes), class_names, rotation=90 if max(map(len, class_names)) > 3 else 0)
        axes.set_yticks(range(classes), class_names)
        for label, predicted in np.argwhere(matrix_KxK):
            colour = "white" if fractions[label, predicted] > 0.5 else "black"
            count = matrix_KxK[label, predicted]
            axes.text(predicted, label, f"{count}", ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(file, dpi=DPI)


def draw_mistakes(
    images_NHWC: Images, mistakes: Sequence[Mistake], class_names: Sequence[str], file: BinaryIO, columns: int = 6
) -> None:
    """Draw wrongly classified images, each with its label, the prediction, its probability and its index."""
    rows = max(1, -(-len(mistakes) // columns))
    tiles, titles = {}, {}
    for number, mistake in enumerate(mistakes):
        place = divmod(number, columns)
        tiles[place] = images_NHWC[mistake.example] / 255
        label, predicted = class_names[mistake.label], class_names[mistake.predicted]
        titles[place] = f"{label} taken for {predicted}\n{mistake.probability:.1%}, no. {mistake.example}"
    title = "The most confident mistakes on the test images" if mistakes else "No mistakes on the test images"
    _draw_tiles(tiles, rows, columns, title, file, titles)


def _stacked(with_accuracy: bool) -> tuple["Figure", Any, Any]:
    """Return a figure with axes for the loss and, where one was measured, for the accuracy, else None."""
    figure = new_figure(7.5, 6.0 if with_accuracy else 3.6)
    grid = figure.subplots(2 if with_accuracy else 1, 1, sharex=True, squeeze=False)[:, 0]
    grid[-1].set(xlabel="step")
    return figure, grid[0], grid[1] if with_accuracy else None


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


def _draw_tiles(
    tiles: Mapping[tuple[int, int], np.ndarray],
    rows: int,
    columns: int,
    title: str,
    file: BinaryIO,
    titles: Mapping[tuple[int, int], str] | None = None,
) -> None:
    """Draw images in rows and columns, each (H, W, C) in [0, 1], with lines of text above them if there are any.

    As one picture on one pair of axes: a pair for each takes some 25 ms of each.
    """
    titles = titles or {}
    height, width, channels = next(iter(tiles.values())).shape if tiles else (1, 1, 1)
    above, gap = (0.4 * height if titles else 0.0), max(1, width // 14)
    down, across = height + gap + round(above), width + gap
    canvas = np.ones((rows * down, columns * across, channels))
    inch = 1.45 / across  # of a pixel
    figure = new_figure(1.45 * columns, inch * rows * down + 0.5)
    axes = figure.subplots()
    axes.set_axis_off()
    for (row, column), image in tiles.items():
        top, left = row * down + round(above), column * across
        canvas[top : top + height, left : left + width] = image
        if (row, column) in titles:
            axes.text(left + width / 2, top - 1, titles[row, column], ha="center", va="bottom", fontsize=8)
    axes.imshow(canvas[:, :, 0] if channels == 1 else canvas, cmap="gray", vmin=0, vmax=1)
    axes.set_title(title)
    figure.savefig(file, dpi=DPI)
