"""Charts of a page, as SVG inside it. They hold no text: labels are beside them, in the page's own size of letters."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flaxcnn.pages.html import text

_WIDTH, _HEIGHT = 320, 80


def histogram(
    values: npt.NDArray[np.floating] | Sequence[float], low: float, high: float, bins: int = 32, log: bool = False
) -> str:
    """Return a histogram of numbers.

    Args:
        values: the numbers; NaN is left out.
        low: the left end of the axis.
        high: the right end.
        bins: how many bars there are.
        log: whether the bars are even in the numbers' logarithm, which are then greater than 0.
    """
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if log:
        numbers, low, high = np.log(numbers), float(np.log(low)), float(np.log(high))
    if not high > low:
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(numbers, bins, (low, high))
    most = max(1, int(np.max(counts)))
    step = _WIDTH / bins
    bars = "".join(
        f'<rect x="{place * step:.1f}" y="{_HEIGHT * (1 - count / most):.1f}" width="{step * 0.9:.1f}"'
        f' height="{_HEIGHT * count / most:.1f}"/>'
        for place, count in enumerate(counts.tolist())
        if count
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="histogram">'
        f"{bars}</svg>"
    )


def heat_map(counts_HxW: npt.NDArray[np.integer]) -> str:
    """Return a map of counts: a square for each, the darker the more, the first row at the top."""
    height, width = counts_HxW.shape
    most = max(1, int(np.max(counts_HxW)))
    squares = "".join(
        f'<rect x="{x}" y="{y}" width="1" height="1" fill-opacity="{count / most:.3g}"/>'
        for (y, x), count in np.ndenumerate(counts_HxW)
        if count
    )
    return f'<svg class="heat" viewBox="0 0 {width} {height}" role="img" aria-label="heat map">{squares}</svg>'


def chart(title: str, svg: str, low: str = "", high: str = "") -> str:
    """Return a chart with a title above it, and what its horizontal axis begins and ends with below it."""
    ends = f'<span class="ends"><span>{text(low)}</span><span>{text(high)}</span></span>' if low or high else ""
    return f'<figure class="chart"><figcaption>{text(title)}</figcaption>{svg}{ends}</figure>'


def share(fraction: float) -> str:
    """Return a bar of a fraction, 0 to 1."""
    return f'<span class="bar"><span style="width:{100 * min(1.0, max(0.0, fraction)):.1f}%"></span></span>'
