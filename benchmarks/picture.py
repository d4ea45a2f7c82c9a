"""The picture of a benchmark: how long every program takes, as a multiple of this library's time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import LABELS
from benchmarks.workloads import LAYERS, OURS, PROGRAMS, ZOO

_COLORS = {"naive_flax": "#c8883c", "keras_jax": "#a33a3a", "torch_channels_last": "#5b6fa8"}
_BAR = 0.24  # of the distance between two rows
_INCHES = (0.52, 0.40, 0.40)  # of that distance, in each panel; rows of layers and networks have fewer bars
_MARGIN = 0.9  # inches of a panel beside its rows
_LIMIT = "limit: products at the rate of matrices"


def draw(figures: Mapping[str, Any], summary: Mapping[str, Any], path: Path) -> None:
    """Draw a group of bars for each row, the line of this library at 1, and a mark where the limit is.

    Layers have a panel of their own, and networks of the zoo another. Their axes are logarithmic, because the ratios
    are from 0.5 to 100.
    """
    from matplotlib.figure import Figure

    kinds = {name: _panel_of(figures["rows"][name]["workload"]) for name in summary["rows"]}
    panels = {kind: [name for name, each in kinds.items() if each == kind] for kind in range(len(_INCHES))}
    panels = {kind: names for kind, names in panels.items() if names}
    heights = [_MARGIN + _INCHES[kind] * len(names) for kind, names in panels.items()]
    figure = Figure(figsize=(9, 0.4 + sum(heights)), layout="constrained")
    all_axes = figure.subplots(len(panels), height_ratios=heights, squeeze=False)[:, 0]
    for axes, (kind, names) in zip(all_axes, panels.items(), strict=True):
        labels = [figures["rows"][name]["label"].replace("`", "") for name in names]
        _panel(axes, [summary["rows"][name] for name in names], labels, logarithmic=kind > 0)
    legend = {
        label: handle for axes in all_axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def _panel_of(workload: str) -> int:
    return 2 if workload == ZOO else 1 if workload in LAYERS else 0


def _panel(axes: Any, rows: Sequence[Mapping[str, Any]], labels: Sequence[str], *, logarithmic: bool) -> None:
    """Draw some rows. On a logarithmic axis, bars start at this library's line."""
    start = 1 if logarithmic else 0
    smallest = largest = 1.0
    axes.axvline(1, color="#2f7d4f", linewidth=2, label=LABELS[OURS])
    for position, row in enumerate(rows):
        ours = row["programs"][OURS]["median"]
        others = [program for program in PROGRAMS if program in row["programs"] and program != OURS]
        for number, program in enumerate(others):
            ratio = row["programs"][program]["median"] / ours
            smallest, largest = min(smallest, ratio), max(largest, ratio)
            y = position + (number - (len(others) - 1) / 2) * _BAR
            axes.barh(y, ratio - start, _BAR * 0.9, left=start, color=_COLORS[program], label=LABELS[program])
            number_box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # legible where a line crosses it
            left = logarithmic and ratio < 1
            axes.annotate(
                f"{ratio:.2f}" if ratio < 9.995 else f"{ratio:.0f}",
                (ratio, y),
                (-3 if left else 3, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                fontsize=7,
                color="#444444",
                bbox=number_box,
            )
        if row["limit"] is not None:
            limit = row["limit"] / ours
            smallest = min(smallest, limit)
            axes.plot([limit] * 2, [position - 0.42, position + 0.42], color="black", linewidth=2, label=_LIMIT)
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(smallest / 1.5, largest * 1.5)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("median time over flaxcnn's, on a logarithmic axis: right of 1 is slower")
    else:
        axes.set_xlim(0, largest * 1.08)
        axes.set_xlabel("median time over flaxcnn's: longer is slower")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
