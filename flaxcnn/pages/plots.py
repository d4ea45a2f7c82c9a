"""Plots of a page, as SVG inside it: they follow the page's colours, light and dark, and its width."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flaxcnn.pages.html import text
from flaxcnn.pages.parts import Plot, Series

_WIDTH, _HEIGHT = 480, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 10, 44
_COLORS = 10
_MARGIN = 0.04  # of an axis, beyond the outermost points
_TICKS = 6


def plot(given: Plot) -> str:
    """Return a plot with its title and its legend."""
    points = [_finite(each, given.log) for each in given.series]
    x_axis = _Axis.of([xs for xs, _ in points], given.x_limits, False)
    y_axis = _Axis.of([ys for _, ys in points], given.y_limits, given.log)
    drawn, legend, color = [], [], 0
    for series, (xs, ys) in zip(given.series, points, strict=True):
        if series.color is None:
            shown, color = color % _COLORS, color + 1
        else:
            shown = series.color
        name = f"c{shown}" if shown >= 0 else "grey"
        at = _LEFT + (_WIDTH - _LEFT - _RIGHT) * x_axis.place(xs)
        down = _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * y_axis.place(ys)
        drawn.append(_drawn(series.kind, name, at, down))
        if series.name:
            legend.append(f'<span><i class="{name} {series.kind}"></i>{text(series.name)}</span>')
    keys = f'<div class="legend">{"".join(legend)}</div>' if legend else ""
    return (
        f'<figure class="plot"><figcaption>{text(given.title)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(given.title)}">'
        f"{_frame(given, x_axis, y_axis)}{''.join(drawn)}</svg>{keys}</figure>"
    )


class _Axis:
    """An axis from low to high, its numbers or their logarithms evenly spaced."""

    def __init__(self, low: float, high: float, log: bool):
        self.low, self.high, self.log = low, high, log

    @classmethod
    def of(cls, values: Sequence[npt.NDArray[np.float64]], limits: tuple[float, float] | None, log: bool) -> "_Axis":
        if limits is not None:
            return cls(*limits, log)
        every = np.concatenate([each[np.isfinite(each)] for each in values]) if values else np.zeros(0)
        low, high = (float(np.min(every)), float(np.max(every))) if len(every) else (0.0, 1.0)
        if log:
            low, high = (math.log10(low), math.log10(high)) if len(every) else (0.0, 1.0)
        room = _MARGIN * (high - low) or max(0.5 * abs(high), 1e-6)
        low, high = low - room, high + room
        return cls(10**low, 10**high, log) if log else cls(low, high, log)

    def place(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return where numbers lie, 0 to 1."""
        if self.log:
            low, high = math.log10(self.low), math.log10(self.high)
            return np.asarray((np.log10(values) - low) / (high - low), np.float64)
        return np.asarray((values - self.low) / (self.high - self.low), np.float64)

    def ticks(self) -> list[float]:
        """Return round numbers on the axis, some six."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            for steps in ((1,), (1, 3), (1, 2, 5)):
                found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
                found = [each for each in found if self.low <= each <= self.high]
                if len(found) >= 3:
                    return found[:: 1 + len(found) // 8]
        span = self.high - self.low
        step = 10.0 ** math.floor(math.log10(span / _TICKS))
        step *= next(times for times in (1, 2, 5, 10) if times * step * _TICKS >= span)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [step * number for number in range(first, last + 1)]


def _frame(given: Plot, x_axis: _Axis, y_axis: _Axis) -> str:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for value in x_axis.ticks():
        at = _LEFT + (right - _LEFT) * float(x_axis.place(np.float64(value)))  # type: ignore[arg-type]
        parts.append(f'<path class="grid" d="M{at:.1f} {_TOP}V{bottom}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{_number(value)}</text>')
    for value in y_axis.ticks():
        at = bottom - (bottom - _TOP) * float(y_axis.place(np.float64(value)))  # type: ignore[arg-type]
        parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_number(value)}</text>')
    middle = (_TOP + bottom) / 2
    parts.append(f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{text(given.x)}</text>')
    parts.append(
        f'<text x="13" y="{middle}" text-anchor="middle" transform="rotate(-90 13 {middle})">{text(given.y)}</text>'
    )
    return "".join(parts)


def _drawn(kind: str, name: str, at: npt.NDArray[np.float64], down: npt.NDArray[np.float64]) -> str:
    if kind in ("points", "rings"):
        radius = 2.5 if kind == "points" else 5
        return f'<g class="{name} {kind}">' + "".join(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'
            for x, y in zip(at.tolist(), down.tolist(), strict=True)
            if math.isfinite(x) and math.isfinite(y)
        ) + "</g>"  # fmt: skip
    path, begins = [], True
    for x, y in zip(at.tolist(), down.tolist(), strict=True):
        if not (math.isfinite(x) and math.isfinite(y)):
            begins = True
            continue
        path.append(f"{'M' if begins else 'L'}{x:.1f} {y:.1f}")
        begins = False
    return f'<path class="{name} {kind}" d="{"".join(path)}"/>' if path else ""


def _finite(series: Series, log: bool) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return a series' numbers, NaN where one cannot be drawn."""
    xs, ys = np.asarray(series.xs, np.float64), np.asarray(series.ys, np.float64)
    usable = np.isfinite(xs) & np.isfinite(ys) & ((ys > 0) | (not log))
    return np.where(usable, xs, np.nan), np.where(usable, ys, np.nan)


def _number(value: float) -> str:
    """Return a number beside an axis: without the rounding of its steps."""
    return f"{value:,.10g}" if 1e-4 <= abs(value) < 1e7 or value == 0 else f"{value:.3g}"
