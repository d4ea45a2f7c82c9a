"""Small pictures inside a page: no other file is needed to see them."""

import base64
import io

import numpy as np
import numpy.typing as npt
import PIL.Image

_SIDE = 128  # pixels; on a page they are shown smaller, for screens with more dots
_EXACT = 64  # images up to this side are kept as they are
_QUALITY = 82  # of a JPEG: some 4 KB


def data_uri(pixels_HWC: npt.NDArray[np.uint8], most: int = _SIDE) -> str:
    """Return an image as a data URI, reduced to at most so many pixels a side.

    Args:
        pixels_HWC: uint8; three or more channels are shown as RGB, the first channel of others as gray.
        most: pixels of the longer side.
    """
    channels = pixels_HWC.shape[2]
    shown = pixels_HWC[:, :, :3] if channels >= 3 else pixels_HWC[:, :, 0]
    picture = PIL.Image.fromarray(np.ascontiguousarray(shown))
    small = max(picture.size) <= _EXACT
    picture.thumbnail((most, most), PIL.Image.Resampling.LANCZOS)
    return _uri(picture, "png") if small else _uri(picture, "jpeg", quality=_QUALITY)


def exact_uri(pixels_HW3: npt.NDArray[np.uint8]) -> str:
    """Return an image, uint8 (H, W, 3), as a data URI, pixel for pixel."""
    return _uri(PIL.Image.fromarray(pixels_HW3), "png")


def _uri(picture: PIL.Image.Image, kind: str, **options: int) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
