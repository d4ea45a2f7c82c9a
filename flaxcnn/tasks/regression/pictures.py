"""The pictures of the regression task: predicted against true numbers, and residuals."""

import textwrap
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from flaxcnn.pictures import DPI, new_figure

_MOST = 6  # numbers that have room
_OURS, _TRUTH = "#1f77b4", "#d62728"


def draw_predicted(
    targets_NxT: np.ndarray, predicted_NxT: np.ndarray, names: Sequence[str] | None, file: BinaryIO
) -> None:
    """Draw each example's prediction over its true number, with the line on which both are equal; of six numbers."""
    figure, panels = _panels(targets_NxT.shape[1])
    for axes, number in panels:
        true, said = targets_NxT[:, number], predicted_NxT[:, number]
        ends = min(true.min(), said.min()), max(true.max(), said.max())
        axes.plot(ends, ends, "--", color=_TRUTH, linewidth=1, label="predicted = true")
        axes.plot(
            true, said, ".", color=_OURS, alpha=0.5, label=f"{len(true):,} test image{'' if len(true) == 1 else 's'}"
        )
        axes.set(xlabel="true", ylabel="predicted", title=_name(names, number))
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.savefig(file, dpi=DPI)


def draw_residuals(
    targets_NxT: np.ndarray, predicted_NxT: np.ndarray, names: Sequence[str] | None, file: BinaryIO
) -> None:
    """Draw what is predicted too much over the prediction, and a line at none: a good model leaves no pattern."""
    figure, panels = _panels(targets_NxT.shape[1])
    for axes, number in panels:
        said = predicted_NxT[:, number]
        axes.axhline(0, linestyle="--", color=_TRUTH, linewidth=1)
        axes.plot(said, said - targets_NxT[:, number], ".", color=_OURS, alpha=0.5)
        axes.set(xlabel="predicted", ylabel="predicted - true", title=_name(names, number))
    figure.savefig(file, dpi=DPI)


def _panels(numbers: int) -> tuple[Any, list[tuple[Any, int]]]:
    shown = min(numbers, _MOST)
    columns = min(shown, 3)
    rows = -(-shown // columns)
    figure = new_figure(4.6 * columns, 4.2 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.grid(alpha=0.3)
    for axes in grid[shown:]:
        axes.set_axis_off()
    return figure, list(zip(grid[:shown], range(shown), strict=True))


def _name(names: Sequence[str] | None, number: int) -> str:
    if names is None:
        return f"number {number}"
    return "\n".join(textwrap.wrap(names[number], 40, max_lines=2, placeholder="…"))
