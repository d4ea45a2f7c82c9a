"""The pictures of a run: learning curves, confusion matrix, most confident mistakes.

Matplotlib is imported where it draws, and without pyplot: no window, no global state.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flaxcnn.config import PublishedRow
from flaxcnn.evaluation.confusion import Mistake
from flaxcnn.evaluation.table import LoggedRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OURS, _PAPER = "#1f77b4", "#d62728"
_DPI = 130


def draw_curves(rows: Sequence[LoggedRow], published: Sequence[PublishedRow], title: str, path: Path) -> None:
    """Draw training loss and test accuracy over steps, the paper's values as points."""
    figure = _figure(7.5, 6.0)
    loss_axes, accuracy_axes = figure.subplots(2, 1, sharex=True)
    steps = [row.step for row in rows]
    loss_axes.plot(steps, [row.train_loss for row in rows], ".-", color=_OURS, label="this run")
    accuracy_axes.plot(steps, [row.test_accuracy for row in rows], ".-", color=_OURS, label="this run")
    losses = [(row.step, row.train_loss) for row in published if row.train_loss is not None]
    accuracies = [(row.step, row.test_accuracy) for row in published if row.test_accuracy is not None]
    for axes, points in ((loss_axes, losses), (accuracy_axes, accuracies)):
        if points:
            axes.plot(*zip(*points, strict=True), "D", color=_PAPER, markersize=5, label="paper")
            axes.legend()
        axes.grid(alpha=0.3)
    positive = all(row.train_loss > 0 for row in rows)  # a loss of 0 has no place on a logarithmic scale
    scale = "log" if positive else "linear"
    loss_axes.set(ylabel="training loss of the batch (nats)", yscale=scale, title=title)
    accuracy_axes.set_ylim(top=1.02)
    accuracy_axes.set(ylabel="accuracy on the first test images", xlabel="step")
    figure.savefig(path, dpi=_DPI)


def draw_confusion(matrix_KxK: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix: rows are labels, columns predictions; colour is the fraction of the label's examples."""
    classes = len(class_names)
    side = min(16.0, max(5.5, 0.55 * classes + 1.5))
    figure = _figure(side, side)
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
    figure.savefig(path, dpi=_DPI)


def draw_mistakes(
    images_NHWC: np.ndarray, mistakes: Sequence[Mistake], class_names: Sequence[str], path: Path, columns: int = 6
) -> None:
    """Draw wrongly classified images, each with its label, the prediction, its probability and its index."""
    rows = max(1, -(-len(mistakes) // columns))
    figure = _figure(1.6 * columns, 1.9 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.suptitle("The most confident mistakes on the test images" if mistakes else "No mistakes on the test images")
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, mistake in zip(grid.flat, mistakes, strict=False):
        image = images_NHWC[mistake.example]
        if image.shape[-1] == 1:
            axes.imshow(image[:, :, 0], cmap="gray", vmin=0, vmax=255)
        else:
            axes.imshow(image)
        label, predicted = class_names[mistake.label], class_names[mistake.predicted]
        axes.set_title(f"{label} taken for {predicted}\n{mistake.probability:.1%}, no. {mistake.example}", fontsize=8)
    figure.savefig(path, dpi=_DPI)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
