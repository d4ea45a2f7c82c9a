"""The picture of an explanation: an image beside its map, below what is said of it."""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from flaxcnn.errors import printable
from flaxcnn.explanations.overlay import overlay, rgb

_LEAST = 224  # pixels of the shorter side; smaller images are enlarged by a whole number, so that pixels stay squares
_GAP, _LINE = 8, 16  # pixels between the two, and of a line of text


def picture(
    image_HWC: npt.NDArray[np.uint8], map_HW: npt.NDArray[np.float32], signed: bool, lines: Sequence[str]
) -> bytes:
    """Return a PNG file with an image, its map over it to the right, and lines of text above.

    Args:
        image_HWC: uint8.
        map_HW: as for `overlay`.
        signed: as for `overlay`.
        lines: of text; what does not fit is cut off, and characters that the font has not become question marks.
    """
    times = max(1, -(-_LEAST // min(image_HWC.shape[:2])))
    sides = [np.kron(each, np.ones((times, times, 1), np.uint8)) for each in (rgb(image_HWC),
             overlay(image_HWC, map_HW, signed))]  # fmt: skip
    height, width = sides[0].shape[:2]
    above = _LINE * len(lines) + (_GAP if lines else 0)
    canvas = PIL.Image.new("RGB", (2 * width + _GAP, above + height), "white")
    for place, side in enumerate(sides):
        canvas.paste(PIL.Image.fromarray(side), (place * (width + _GAP), above))
    draw, font = PIL.ImageDraw.Draw(canvas), PIL.ImageFont.load_default()
    for place, line in enumerate(lines):
        text = printable(line).encode("latin-1", "replace").decode("latin-1")
        draw.text((_GAP // 2, _GAP // 2 + place * _LINE), text, fill="black", font=font)
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()
