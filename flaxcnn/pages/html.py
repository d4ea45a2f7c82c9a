"""The HTML that all pages share: the document with its style, text without markup, an image with its caption."""

from collections.abc import Iterable
from html import escape
from importlib.resources import files as resources

import numpy as np
import numpy.typing as npt

from flaxcnn.errors import printable
from flaxcnn.pages.pictures import data_uri

_LONGEST = 300  # characters of a name


def document(title: str, parts: Iterable[str], made_by: str = "") -> bytes:
    """Return a page in UTF-8; it has no script, and refers to nothing outside itself.

    Args:
        title: of the page, as plain text.
        parts: HTML, the content of the page.
        made_by: what the page says that it was made by, for those who look whether it is theirs; "" for nothing.
    """
    style = resources("flaxcnn.pages").joinpath("page.css").read_text("utf-8")
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        *([f'<meta name="generator" content="{text(made_by)}">'] if made_by else ()),
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{text(title)}</title><style>{style}</style></head><body><main>",
        *parts,
        "</main></body></html>",
    ]
    return "\n".join(lines).encode("utf-8")


def text(value: object, longest: int = _LONGEST) -> str:
    r"""Return a value as text for HTML: no markup, nothing unprintable, and not longer than so many characters.

    >>> text("<b>&\x1b")
    '&lt;b&gt;&amp;\\x1b'
    """
    shown = printable(str(value))
    return escape(shown if len(shown) <= longest else f"{shown[: longest - 1]}…")


def tile(pixels_HWC: npt.NDArray[np.uint8], caption: str, name: str = "") -> str:
    """Return a small image with a caption.

    Args:
        pixels_HWC: uint8, as `data_uri` takes it.
        caption: below the image, as plain text.
        name: of the image, which it shows where a pointer rests on it; "" for the caption.
    """
    return f'<figure class="tile">{image(pixels_HWC, name or caption)}<figcaption>{text(caption)}</figcaption></figure>'


def image(pixels_HWC: npt.NDArray[np.uint8], name: str) -> str:
    """Return a small image that is called by a name; its pixels are seen as squares where it has few."""
    label = text(name)
    small = ' class="pixels"' if max(pixels_HWC.shape[:2]) < 64 else ""
    height, width = pixels_HWC.shape[:2]
    return (
        f'<img{small} src="{data_uri(pixels_HWC)}" alt="{label}" title="{label}" width="{width}" height="{height}"'
        ' loading="lazy">'
    )
