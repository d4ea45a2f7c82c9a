"""Decode an image file to pixels of one size, 8 bits a channel, upright, gray or RGB.

Pillow decodes, in formats that are named here: it knows some forty, and starts Ghostscript for one of them. The bytes
are untrusted.
"""

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image

from flaxcnn.data.image_files import FileInfo
from flaxcnn.data.options import Fit
from flaxcnn.errors import DataError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Formats that are decoded. GIF and animated WebP: the first frame; TIFF: the first page; PPM: also PGM and PBM."""

EXTENSIONS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG",
    ".png": "PNG", ".bmp": "BMP", ".gif": "GIF", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP",
    ".pgm": "PPM", ".ppm": "PPM", ".pbm": "PPM", ".pnm": "PPM",
}  # fmt: skip
"""Extension -> the format that it promises. A file is decoded by its content, whatever its extension."""

MAX_PIXELS = 1 << 26
"""The largest image that is decoded: 67 million pixels. As RGB it takes 192 MiB."""
MAX_BYTES = 1 << 28
"""The largest file that is read: 256 MiB."""

_LARGEST = f"at most {MAX_PIXELS:,} pixels"
_KNOWN = f"a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file"
_ORIENTATION = 0x0112  # EXIF's tag
_TURNS = {  # EXIF's orientation -> what makes the image upright
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
_FROM_RIGHT, _FROM_BOTTOM = (2, 3, 6, 7), (3, 4, 7, 8)  # orientations whose turn puts the last column, or row, first
_GRAY, _GRAY_16 = ("1", "L", "LA", "La"), ("I;16", "I;16B", "I;16L", "I;16N")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_CENTRAL = 7 / 8  # of each side that is kept for networks that were tested so on ImageNet: 256 pixels become 224
_WHOLE = ("letterbox", "pad")  # which show all of an image, and pad it
_PADDING = 114  # a dark gray, as Ultralytics has it
_REDUCING_GAP = (
    4.0  # a JPEG is decoded at a reduced scale of at least this many times what is wanted: to 2/255 the same
)


class Shape(NamedTuple):
    """What images are decoded to.

    Attributes:
        height, width: in pixels.
        channels: 1 for gray, 3 for RGB.
        fit: how an image of another shape gets this one. "crop": scaled until it covers the size, and cropped in the
            middle. "letterbox": scaled until it lies within, and padded with gray 114. "pad": never enlarged, so that
            what is small stays small, and padded with the median colour of its border, so that its background goes
            on. "stretch": scaled in each direction. "imagenet": as "crop", of which only the middle 7/8 of each side
            are kept.
    """

    height: int
    width: int
    channels: int
    fit: Fit = "crop"


class Area(NamedTuple):
    """A part of an image, in pixels."""

    top: float
    left: float
    bottom: float
    right: float

    @property
    def height(self) -> float:
        """Its extent downwards."""
        return self.bottom - self.top

    @property
    def width(self) -> float:
        """Its extent to the right."""
        return self.right - self.left


class Placement(NamedTuple):
    """How an image is fitted.

    Attributes:
        taken: the part of the upright image that is shown.
        shown: where in the fitted image that part is; whole pixels.
    """

    taken: Area
    shown: Area


def inspect(encoded: bytes, where: str) -> FileInfo:
    """Return what a file's header says; its pixels are not decoded.

    Args:
        encoded: the whole file.
        where: what to call it in an error.

    Raises:
        DataError: it is no image, of a format or a depth that is not decoded, or larger than `MAX_PIXELS`.
    """
    with _opened(encoded, where) as picture:
        height, width = picture.height, picture.width
        if _orientation(picture) >= 5:
            height, width = width, height
        with damage(where):  # some palettes are read with the pixels
            gray = picture.mode in (*_GRAY, *_GRAY_16, "I") or (picture.mode in ("P", "PA") and _gray_palette(picture))
        return FileInfo(picture.format or "", height, width, gray, _bits(picture, where))


def decode_file(encoded: bytes, shape: Shape, where: str) -> npt.NDArray[np.uint8]:
    """Return an image's pixels at one size.

    The image is turned upright as its EXIF says. Alpha is dropped, CMYK converted; 16 bits become 8 by value / 257,
    rounded. It is resized by Pillow's antialiased bicubic filter; a JPEG that is at least eight times as large as
    wanted is decoded at 1/2, 1/4 or 1/8 of its scale first, at no less than four times the size.

    Args:
        encoded: the whole file, of one of `FORMATS`.
        shape: what to decode it to.
        where: what to call it in an error.

    Returns:
        uint8 (height, width, channels).

    Raises:
        DataError: as `inspect`; or the file is damaged or truncated.
    """
    mode = "L" if shape.channels == 1 else "RGB"
    with _opened(encoded, where) as picture:
        sixteen = _bits(picture, where) == 16
        turn = _TURNS.get(_orientation(picture))
        with damage(where):
            whole = _reduce(picture, shape, _orientation(picture)) if picture.format == "JPEG" else None
            picture.load()
            upright = picture if turn is None else picture.transpose(turn)
            if sixteen:
                upright = PIL.Image.fromarray(_eight_bits(np.asarray(upright)))
            if upright.mode != mode:
                upright = upright.convert(mode)
            pixels = np.asarray(fit(upright, shape, whole))
    return pixels.reshape(shape.height, shape.width, shape.channels)


def fit(picture: PIL.Image.Image, shape: Shape, whole: Area | None = None) -> PIL.Image.Image:
    """Return an upright picture of the wanted size.

    Args:
        picture: of mode L or RGB.
        shape: what to fit it to.
        whole: the area of the picture that holds the image; None for all of it.
    """
    if picture.size == (shape.width, shape.height) and shape.fit != "imagenet":
        return picture
    whole = Area(0, 0, picture.height, picture.width) if whole is None else whole
    taken, shown = placement(whole.height, whole.width, shape)
    box = (whole.left + taken.left, whole.top + taken.top, whole.left + taken.right, whole.top + taken.bottom)
    resized = picture.resize((int(shown.width), int(shown.height)), PIL.Image.Resampling.BICUBIC, box=box)
    if resized.size == (shape.width, shape.height):
        return resized
    pixels = np.asarray(resized)
    out = np.empty((shape.height, shape.width, *pixels.shape[2:]), np.uint8)
    out[...] = _border(pixels) if shape.fit == "pad" else _PADDING
    top, left = int(shown.top), int(shown.left)
    out[top : top + resized.height, left : left + resized.width] = pixels
    return PIL.Image.fromarray(out)


def in_original(box: Sequence[float], info: FileInfo, shape: Shape) -> list[float]:
    """Return a box of a fitted image in pixels of the upright original, clipped to it: y0, x0, y1, x1.

    Args:
        box: in pixels of the fitted image.
        info: of the image's file.
        shape: what it was fitted to.
    """
    taken, shown = placement(info.height, info.width, shape)
    down, across = taken.height / shown.height, taken.width / shown.width
    y0, x0, y1, x1 = box
    top, bottom = (min(max(0.0, taken.top + (y - shown.top) * down), info.height) for y in (y0, y1))
    left, right = (min(max(0.0, taken.left + (x - shown.left) * across), info.width) for x in (x0, x1))
    return [top, left, bottom, right]


def _border(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the median colour of an image's first and last row and column, the lower of two, uint8 () or (C,)."""
    around = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return np.sort(around, axis=0)[(len(around) - 1) // 2]


def placement(height: float, width: float, shape: Shape) -> Placement:
    """Return which part of an upright image is shown, and where, once it is fitted.

    >>> placement(100, 200, Shape(50, 50, 3, "crop"))
    Placement(taken=Area(top=0.0, left=50.0, bottom=100.0, right=150.0), shown=Area(top=0, left=0, bottom=50, right=50))
    """
    if shape.fit in _WHOLE:
        scale = scale_of(height, width, shape)
        inner_height = max(1, min(shape.height, round(height * scale)))
        inner_width = max(1, min(shape.width, round(width * scale)))
        above, before = (shape.height - inner_height) // 2, (shape.width - inner_width) // 2
        return Placement(Area(0, 0, height, width), Area(above, before, above + inner_height, before + inner_width))
    shown = Area(0, 0, shape.height, shape.width)
    if shape.fit == "stretch":
        return Placement(Area(0, 0, height, width), shown)
    scale = max(shape.height / height, shape.width / width)
    if shape.fit == "imagenet":
        scale /= _CENTRAL
    down, across = min(height, shape.height / scale), min(width, shape.width / scale)
    top, left = (height - down) / 2, (width - across) / 2
    return Placement(Area(top, left, top + down, left + across), shown)


def scale_of(height: float, width: float, shape: Shape) -> float:
    """Return how many pixels of a fitted image one pixel of an upright image becomes.

    Where the whole image is shown, that is the scale before its sides are rounded to pixels: both sides have it. Where
    the two directions are scaled apart, it is the geometric mean, so that its square is the scale of areas.

    >>> scale_of(100, 200, Shape(50, 50, 3, "letterbox")), scale_of(100, 200, Shape(50, 25, 3, "stretch"))
    (0.25, 0.25)
    """
    if shape.fit in _WHOLE:
        return min(shape.height / height, shape.width / width, 1.0 if shape.fit == "pad" else math.inf)
    taken, shown = placement(height, width, shape)
    return math.sqrt(shown.height / taken.height * (shown.width / taken.width))


def _reduce(picture: PIL.Image.Image, shape: Shape, orientation: int) -> Area | None:
    """Ask for a JPEG at a reduced scale, where it is still `_REDUCING_GAP` times as large as wanted.

    Returns:
        The area that the image will have in the picture, once that is upright: blocks of pixels become one, so the
        last column and row may reach beyond the image. None where nothing is reduced.
    """
    turned = orientation >= 5
    height, width = (shape.width, shape.height) if turned else (shape.height, shape.width)
    scales = width / picture.width, height / picture.height
    scale = min(scales) if shape.fit in _WHOLE else max(scales)
    if shape.fit == "imagenet":
        scale /= _CENTRAL
    least = [max(1, math.ceil(side * scale * _REDUCING_GAP)) for side in picture.size]
    drafted = picture.draft(None, (least[0], least[1]))
    if drafted is None:
        return None
    _, _, across, down = map(float, drafted[1])
    beyond_x, beyond_y = picture.width - across, picture.height - down
    if turned:
        across, down, beyond_x, beyond_y = down, across, beyond_y, beyond_x
    left = beyond_x if orientation in _FROM_RIGHT else 0
    top = beyond_y if orientation in _FROM_BOTTOM else 0
    return Area(top, left, top + down, left + across)


@contextmanager
def _opened(encoded: bytes, where: str) -> Iterator[PIL.Image.Image]:
    with damage(where):
        picture = PIL.Image.open(io.BytesIO(encoded), formats=FORMATS)
    with picture:
        if math.prod(picture.size) > MAX_PIXELS:
            raise DataError(
                "image too large",
                where=where,
                expected=_LARGEST,
                found=f"{picture.width}×{picture.height}",
            )
        yield picture


def _orientation(picture: PIL.Image.Image) -> int:
    """Return EXIF's orientation, 1 to 8; 1 where there is none, or what stands there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged metadata; the pixels may be sound
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _bits(picture: PIL.Image.Image, where: str) -> int:
    mode = picture.mode
    if mode in (*_GRAY, *_COLOUR):
        return 8
    if mode in _GRAY_16 or (mode == "I" and picture.format in ("PNG", "PPM")):  # whose 16 bits older Pillows call so
        return 16
    raise DataError("not 8 or 16 bits a channel", where=where, expected="gray of 8 or 16 bits, or colours", found=mode)


def _eight_bits(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _gray_palette(picture: PIL.Image.Image) -> bool:
    colours = np.asarray(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


@contextmanager
def damage(where: str, expected: str = _KNOWN) -> Iterator[None]:
    """Raise what Pillow raises of an image as an error of the data, which says what was expected."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of odd metadata, once for each image
            yield
    except DataError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise DataError("image too large", where=where, expected=_LARGEST, found=str(error)) from error
    except PIL.UnidentifiedImageError as error:
        raise DataError("no image", where=where, expected=expected, found="an unknown format") from error
    except Exception as error:  # Pillow promises no class for bytes that are not an image
        found = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError("damaged image", where=where, expected=expected, found=found) from error
