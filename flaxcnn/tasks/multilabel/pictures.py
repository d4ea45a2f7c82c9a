"""The picture of the multilabel task: average precision and F1 of each label."""

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from flaxcnn.pictures import DPI, new_figure

_MOST = 40  # labels that have room
_WIDTH = 40  # characters of a name


def draw_labels(
    names: Sequence[str], support_L: np.ndarray, precision_L: np.ndarray, f1_L: np.ndarray, file: BinaryIO
) -> None:
    """Draw the average precision and the F1 of each label as bars, the label with the lowest precision first.

    Args:
        names: of the labels; of many, those that are found worst are drawn.
        support_L: how many test images have each.
        precision_L: average precision; NaN where it is not defined.
        f1_L: at the label's threshold.
        file: where it goes.
    """
    order = np.argsort(np.nan_to_num(precision_L, nan=2.0), kind="stable")[:_MOST]
    figure = new_figure(7.5, 1.4 + 0.36 * len(order))
    axes = figure.subplots()
    rows = np.arange(len(order))
    axes.barh(rows - 0.2, np.nan_to_num(precision_L[order]), 0.38, label="average precision", color="#1f77b4")
    axes.barh(rows + 0.2, f1_L[order], 0.38, label="F1 at the threshold", color="#2ca02c")
    shown = [name if len(name) <= _WIDTH else f"{name[: _WIDTH - 1]}…" for name in names]
    axes.set_yticks(rows, [f"{shown[label]} ({support_L[label]:,})" for label in order])
    few = "" if len(order) == len(names) else f", the {len(order)} of {len(names)} that are found worst"
    axes.set(xlim=(0, 1), ylim=(len(order) - 0.5, -0.5))
    figure.suptitle(f"Labels (test images with each){few}")
    axes.grid(alpha=0.3, axis="x")
    figure.legend(loc="outside lower center", ncols=2)
    figure.savefig(file, dpi=DPI)
