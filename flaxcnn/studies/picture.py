"""The picture of a study: each entry's main metric over its speed, with its intervals."""

import math
from itertools import pairwise
from typing import Any, BinaryIO

from flaxcnn.pictures import DPI, new_figure
from flaxcnn.studies.outcome import Outcome
from flaxcnn.studies.words import worded

_BEST, _OTHER, _SOFT = "#1f77b4", "#7f7f7f", "#b0b7bf"
_WIDE = 4.0  # times as fast: from there on, the axis is logarithmic
_NEAR, _BESIDE = 0.06, 3.0  # of the axis' height, times as fast: nearer points have their names on different sides


def draw_metric_over_speed(outcome: Outcome, file: BinaryIO) -> None:
    """Draw a point for each entry: thin bars over examples, thick ones over seeds; filled where none is better.

    Args:
        outcome: of the study.
        file: where the picture goes.
    """
    figure = new_figure(6.8, 4.6)
    axes = figure.subplots()
    scale = 100 if outcome.kind.fraction else 1
    points = []
    for name, trained in outcome.trained.items():
        found = outcome.results[name].metrics[outcome.main]
        best, mean, speed = name in outcome.verdict.best, found.mean, trained.speed.images_per_second
        color = _BEST if best else _OTHER
        if not math.isfinite(mean):
            continue
        if found.over_examples is not None and all(map(math.isfinite, found.over_examples)):
            axes.plot([speed, speed], [scale * end for end in found.over_examples], color=color, lw=1.2, zorder=2)
        if math.isfinite(found.over_seeds.low):
            ends = [scale * found.over_seeds.low, scale * found.over_seeds.high]
            axes.plot([speed, speed], ends, color=color, lw=4, alpha=0.35, zorder=1, solid_capstyle="butt")
        face = color if best else "white"
        axes.plot(speed, scale * mean, "o", color=color, markerfacecolor=face, markersize=8, zorder=3)
        points.append((speed, scale * mean, name, color))
    speeds = [point[0] for point in points]
    if speeds and max(speeds) > _WIDE * min(speeds):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(_per_second)
        axes.xaxis.set_minor_formatter(_per_second)
    else:
        axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.margins(x=0.25, y=0.12)
    figure.canvas.draw()  # so that the axes know their ends
    if outcome.kind.fraction:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -1), min(high, 101))
    _label(axes, points)
    arrow = "" if outcome.kind.higher_is_better else ", lower is better"
    percent = " [%]" if outcome.kind.fraction else ""
    unit = f" [{outcome.kind.unit}]" if outcome.kind.unit else percent
    axes.set_xlabel(f"images a second at inference, {outcome.device}")
    axes.set_ylabel(f"{worded(outcome.main)}{unit}{arrow}")
    several = outcome.replicates > 1
    bars = "95 % intervals: thin over test examples" + (", thick over seeds" if several else "")
    axes.set_title(f"{outcome.plan.name}: filled points cannot be told from the best\n{bars}", fontsize=9)
    axes.grid(visible=True, color=_SOFT, lw=0.4, which="both", alpha=0.6)
    axes.set_axisbelow(True)
    figure.savefig(file, dpi=DPI)


def _per_second(speed: float, place: float) -> str:
    """Return a speed beside the axis: those that begin with 1, 2 or 5."""
    first = f"{speed:e}"[0]
    return f"{speed:,.10g}" if first in "125" else ""


def _label(axes: Any, points: list[tuple[float, float, str, str]]) -> None:
    """Write each point's name beside it: to the right, of near points to the left of the left one, or above."""
    low, high = axes.get_ylim()
    points = sorted(points)
    sides = ["right"] * len(points)
    for place, (one, other) in enumerate(pairwise(points)):
        if other[0] / one[0] < _BESIDE and abs(other[1] - one[1]) < _NEAR * (high - low):
            sides[place] = "above" if place and sides[place - 1] != "right" else "left"
    ways = {
        "right": ((8, 0), "left", "center"),
        "left": ((-8, 0), "right", "center"),
        "above": ((0, 8), "center", "bottom"),
    }
    for (speed, value, name, color), side in zip(points, sides, strict=True):
        offset, across, down = ways[side]
        axes.annotate(
            name, (speed, value), xytext=offset, textcoords="offset points", ha=across, va=down, color=color, fontsize=9
        )
