"""What a part of a page says, as plain data: tasks make it, a page draws it, and whatever it says is escaped there."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt


class Text(NamedTuple):
    """A paragraph, plain text; `warns` where a reader has to know it before trusting what follows."""

    text: str
    warns: bool = False


class Table(NamedTuple):
    """A table.

    Attributes:
        heads: of the columns.
        rows: cells as text, as many as heads; the first of each row says what the row is about.
        bars: for each row a fraction, 0 to 1, drawn as a bar at its end; None for no bars.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    bars: Sequence[float] | None = None


class Series(NamedTuple):
    """Points of a plot that belong together.

    Attributes:
        name: in the plot's legend; "" for none.
        xs: float (N,).
        ys: float (N,); NaN is left out, and interrupts a line.
        kind: how they are drawn.
        color: which of the ten colours of a page; None for the next one. -1 for grey.
    """

    name: str
    xs: npt.ArrayLike
    ys: npt.ArrayLike
    kind: Literal["line", "faint", "dashed", "points", "rings"] = "line"
    color: int | None = None


class Plot(NamedTuple):
    """A plot of series over one pair of axes.

    Attributes:
        title: above it.
        x, y: what the axes are called.
        series: drawn in their order.
        x_limits, y_limits: of the axes; None for those of the points.
        log: whether the vertical axis is logarithmic, which takes positive numbers.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series]
    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float] | None = None
    log: bool = False


class Matrix(NamedTuple):
    """A matrix of counts, each cell as dark as its share of its row; off the diagonal, relative to the largest.

    Attributes:
        rows, columns: what they are called, such as "label" and "predicted".
        names: of rows and columns, K.
        counts_KxK: integers.
    """

    rows: str
    columns: str
    names: Sequence[str]
    counts_KxK: npt.NDArray[np.integer]  # noqa: N815


Block: TypeAlias = Text | Table | Plot | Matrix


class Part(NamedTuple):
    """A section of a page: a title, and what stands below it. Plots that follow each other stand side by side."""

    title: str
    blocks: Sequence[Block]
