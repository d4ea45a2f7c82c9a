"""Drawing with matplotlib under its own defaults, by Agg, into memory: the one place where it is set up.

What a user's matplotlibrc or `MPLBACKEND` says is meant for other pictures, and may need a window, LaTeX or a package
that is not here. Without pyplot, there is no window and no global state.
"""

import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from flaxcnn.errors import FlaxcnnError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    return file.getvalue()


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
    backend = os.environ.pop("MPLBACKEND", None)  # read when matplotlib is imported, which fails if it is not installed
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # of a class's name: a box stands in its place
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False
        yield
