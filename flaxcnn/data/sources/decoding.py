"""Decode image files to pixels with Pillow, for a few formats and up to a size limit.

Pillow knows some forty formats and starts Ghostscript for one of them, EPS. The bytes are untrusted, so only the
decoders of four formats are used.
"""

import io
import math

import numpy as np
import numpy.typing as npt
import PIL.Image

from flaxcnn.data.photographs.decoding import damage
from flaxcnn.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "GIF")
"""What is decoded, as by TensorFlow's `decode_image`: a GIF's first frame."""

MAX_PIXELS = 1 << 25
"""The largest image that is decoded, 33 million pixels: one of 8K. Decoding it takes some 300 MiB."""

CHANNELS = {1: "L", 3: "RGB"}
"""Channels -> what Pillow calls them."""

_KNOWN = f"a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file"
_EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}


def decode(encoded: bytes, channels: int, where: str, shape: tuple[int, ...] | None = None) -> npt.NDArray[np.uint8]:
    """Decode the bytes of an image file as TensorFlow's decoder does: alpha is dropped, a palette is colours.

    Args:
        encoded: the whole file, of one of `FORMATS`, with 8 bits a channel.
        channels: 1 for gray, 3 for RGB; an image of the other kind is converted.
        where: what to call the image in an error.
        shape: what the image has to have, if that is known; it is compared before a pixel is decoded.

    Returns:
        The pixels, uint8 (H, W, channels).

    Raises:
        DataError: the bytes are of another format or damaged, the image has more than `MAX_PIXELS`, another depth, or
            another shape.
    """
    with damage(where, _KNOWN):
        picture = PIL.Image.open(io.BytesIO(encoded), formats=FORMATS)
    with picture:
        found = (picture.height, picture.width, channels)
        if shape and found != shape:
            raise DataError(
                "images of different sizes",
                where=where,
                expected=f"{'×'.join(map(str, shape))} as in example 0",
                found="×".join(map(str, found)),
                fix="prepare the data set with images of one size",
            )
        if math.prod(picture.size) > MAX_PIXELS:
            raise DataError(
                "image too large",
                where=where,
                expected=f"at most {MAX_PIXELS:,} pixels",
                found="×".join(map(str, found)),
            )
        if picture.mode not in _EIGHT_BIT:
            raise DataError("not an 8-bit image", where=where, expected="8 bits a channel", found=picture.mode)
        wanted = CHANNELS[channels]
        with damage(where, _KNOWN):
            decoded = picture if picture.mode == wanted else picture.convert(wanted)
            pixels: npt.NDArray[np.uint8] = np.asarray(decoded).reshape(found)
    return pixels


def pixels_of(picture: PIL.Image.Image, where: str) -> npt.NDArray[np.uint8]:
    """Return the pixels of a picture that is open: gray as 1 channel, anything else as RGB, without alpha.

    Raises:
        DataError: it has not 8 bits a channel, or is damaged.
    """
    if picture.mode not in _EIGHT_BIT:
        raise DataError("not an 8-bit image", where=where, expected="8 bits a channel", found=picture.mode)
    channels = 1 if picture.mode in ("1", "L", "LA") else 3
    with damage(where, _KNOWN):
        pixels: npt.NDArray[np.uint8] = np.asarray(picture.convert(CHANNELS[channels]))
    return pixels.reshape(picture.height, picture.width, channels)
