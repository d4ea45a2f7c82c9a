"""The picture of a benchmark: how long every program takes, as a multiple of this library's time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers import LABELS
from benchmarks.workloads import OURS, PROGRAMS

_COLORS = {"naive_flax": "#c8883c", "keras_jax": "#a33a3a", "torch_channels_last": "#5b6fa8"}
_BAR = 0.24  # of the distance between two rows


def draw(figures: Mapping[str, Any], summary: Mapping[str, Any], path: Path) -> None:
    """Draw a group of bars for each row, the line of this library at 1, and a mark where the limit is."""
    from matplotlib.figure import Figure

    names, rows = list(summary["rows"]), summary["rows"]
    figure = Figure(figsize=(9, 1.3 + 0.52 * len(names)), layout="constrained")
    axes = figure.subplots()
    largest, labelled = 1.0, set()
    axes.axvline(1, color="#2f7d4f", linewidth=2, label=LABELS[OURS])
    for position, name in enumerate(names):
        ours = rows[name]["programs"][OURS]["median"]
        others = [program for program in PROGRAMS if program in rows[name]["programs"] and program != OURS]
        for number, program in enumerate(others):
            ratio = rows[name]["programs"][program]["median"] / ours
            largest = max(largest, ratio)
            y = position + (number - (len(others) - 1) / 2) * _BAR
            label = None if program in labelled else LABELS[program]
            labelled.add(program)
            axes.barh(y, ratio, _BAR * 0.9, color=_COLORS[program], label=label)
            number_box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # legible where a line crosses it
            axes.text(ratio + 0.01, y, f"{ratio:.2f}", va="center", fontsize=7, color="#444444", bbox=number_box)
        if rows[name]["limit"] is not None:
            label = None if "limit" in labelled else "limit: products at the rate of matrices"
            labelled.add("limit")
            limit = rows[name]["limit"] / ours
            axes.plot([limit] * 2, [position - 0.42, position + 0.42], color="black", linewidth=2, label=label)
    axes.set_yticks(range(len(names)), [figures["rows"][name]["label"].replace("`", "") for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, largest * 1.08)
    axes.set_xlabel("median time over flaxcnn's: longer is slower")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)
