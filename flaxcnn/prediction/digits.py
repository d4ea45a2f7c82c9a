"""Photographed digits prepared as MNIST's were: light on dark, of 20×20 in 28×28, their mass in the middle."""

import numpy as np
import numpy.typing as npt
import PIL.Image

from flaxcnn.data.photographs.decoding import Shape, decode_file, inspect
from flaxcnn.errors import DataError

_SIDE, _BOX = 28, 20
SHAPE = (_SIDE, _SIDE, 1)
"""Of MNIST's images: height, width and channels."""
DIGITS = tuple("0123456789")
"""The names of MNIST's classes."""
_MOST = 1024  # pixels of the longer side that are looked at; a digit needs no more
_LEAST_CONTRAST = 16  # of 255, between ink and paper


def decode_digit(encoded: bytes, where: str) -> npt.NDArray[np.uint8]:
    """Return a digit as MNIST has them, uint8 (28, 28, 1).

    Ink is what Otsu's threshold divides from the paper, which is what most of the image's edge is. The paper becomes 0,
    the ink 255. The ink's box is scaled to 20 pixels, its shape kept, and put into 28×28 so that its centre of mass is
    in the middle. Source: Y. LeCun et al., "The MNIST database of handwritten digits"; N. Otsu, IEEE Transactions on
    Systems, Man, and Cybernetics 9, 1979.

    Args:
        encoded: the whole file of a photograph of one digit.
        where: what to call it in an error.

    Raises:
        DataError: it is no image, or damaged; or nothing is written on it.
    """
    info = inspect(encoded, where)
    scale = min(1.0, _MOST / max(info.height, info.width))
    height, width = (max(1, round(side * scale)) for side in (info.height, info.width))
    gray = decode_file(encoded, Shape(height, width, 1, "stretch"), where)[:, :, 0].astype(np.float64)
    edge = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    if np.median(edge) > float(np.min(gray) + np.max(gray)) / 2:  # dark ink on light paper
        gray = 255 - gray
    threshold = _otsu(gray)
    ink = gray > threshold
    divided = bool(ink.any() and not ink.all())
    paper, written = (float(np.median(gray[part])) for part in (~ink, ink)) if divided else (0.0, 0.0)
    if written - paper < _LEAST_CONTRAST:
        raise DataError("nothing is written on it", where=where, expected="one digit, dark on light or light on dark")
    shade = np.clip((gray - (paper + threshold) / 2) / (written - (paper + threshold) / 2), 0, 1)
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    box = shade[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    small = _scaled(box)
    return _centred(small).reshape(SHAPE)


def is_larger(encoded: bytes, where: str) -> bool:
    """Return whether an image is not of MNIST's size; raises as `decode_digit`."""
    info = inspect(encoded, where)
    return (info.height, info.width) != SHAPE[:2]


def _otsu(gray: npt.NDArray[np.float64]) -> float:
    """Return the threshold that divides 256 gray values into the two classes that differ most."""
    counts, _ = np.histogram(gray, bins=256, range=(0, 256))
    below = np.cumsum(counts)
    sums = np.cumsum(counts * np.arange(256))
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(np.nanargmax(np.where(np.isfinite(between), between, -1.0))) + 0.5


def _scaled(box: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return a box's shades scaled so that its longer side has 20 pixels."""
    scale = _BOX / max(box.shape)
    height, width = (max(1, round(side * scale)) for side in box.shape)
    picture = PIL.Image.fromarray(box.astype(np.float32), "F").resize((width, height), PIL.Image.Resampling.BOX)
    return np.asarray(picture, np.float64)


def _centred(small: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Return 28×28 pixels with the centre of mass of what is given at their middle, as far as it lies within."""
    total = small.sum()
    middles = ((small.sum(1 - axis) * (np.arange(small.shape[axis]) + 0.5)).sum() / total for axis in (0, 1))
    top, left = (
        min(max(round(_SIDE / 2 - middle), 0), _SIDE - side) for middle, side in zip(middles, small.shape, strict=True)
    )
    out = np.zeros((_SIDE, _SIDE))
    out[top : top + small.shape[0], left : left + small.shape[1]] = small
    return np.round(255 * out).astype(np.uint8)
