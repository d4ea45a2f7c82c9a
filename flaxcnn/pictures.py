"""Drawing with matplotlib into memory, with its default settings and the Agg backend; the only place that sets it up.

A user's matplotlibrc or `MPLBACKEND` is meant for other pictures and may need a window, LaTeX or a missing package.
Without pyplot, there is no window and no global state.
"""

import gc
import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from flaxcnn.errors import FlaxcnnError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DPI = 130


class PictureError(FlaxcnnError):
    """A picture that could not be drawn, of results that are there without it."""


def drawn(name: str, draw: Callable[[BinaryIO], None]) -> bytes:
    """Return a picture.

    Args:
        name: its file's, for the error.
        draw: makes a figure with `new_figure` and saves it into the file that it is given.

    Raises:
        PictureError: matplotlib could not, for whatever reason.
    """
    file = io.BytesIO()
    try:
        with _own_defaults():
            draw(file)
    except Exception as error:  # whatever is wrong with an installation: no result hangs on a picture
        raise PictureError(f"not drawn: {type(error).__name__}: {error}", where=name) from error
    gc.collect(1)  # a figure refers to itself, and holds some MB until it is found
    return file.getvalue()


def import_matplotlib() -> None:
    """Import what `drawn` needs of matplotlib, which takes a third of a second; raises as the import does."""
    backend = os.environ.pop("MPLBACKEND", None)  # read when matplotlib is imported, which fails if it is not installed
    try:
        from matplotlib.backends import backend_agg  # noqa: F401
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def new_figure(width: float, height: float, dpi: float | None = None) -> "Figure":
    """Return an empty figure of so many inches, and dots in each, that Agg draws."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def _own_defaults() -> Iterator[None]:
    """Set what matplotlib comes with while entered; dollars are text, as in the name of a class."""
    import_matplotlib()
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # of a class's name: a box stands in its place
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False
        yield


def draw_tiles(
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
    canvas = np.ones((rows * down, columns * across, channels), np.float32)  # matplotlib draws dots of the same size
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
