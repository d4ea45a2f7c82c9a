"""A map over its image, as pixels."""

import numpy as np
import numpy.typing as npt

_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
_MOST_OPAQUE = 0.85  # of a map over its image, so that the image remains visible
_SHOWN = 99.5  # the percentile of a map that has the full colour: a single pixel would make the others pale

# Lightness rises evenly: inferno, by N. Smith and S. van der Walt (CC0), at every eighth.
_RISING = ("000004", "1f0c48", "550f6d", "88226a", "ba3655", "e35933", "f98c0a", "f9c932", "fcffa4")
# Blue, white and red, which people who cannot tell red from green tell, too: RdBu, ColorBrewer (Apache 2.0), reversed.
_DIVERGING = (
    *("053061", "2166ac", "4393c3", "92c5de", "d1e5f0", "f7f7f7"),
    *("fddbc7", "f4a582", "d6604d", "b2182b", "67001f"),
)


def overlay(image_HWC: npt.NDArray[np.uint8], map_HW: npt.NDArray[np.float32], signed: bool) -> npt.NDArray[np.uint8]:
    """Return a map in colours over its image in shades of grey, uint8 (H, W, 3).

    Colours are of a map's own scale: maps of two images cannot be compared by them. Where a map is 0, the image alone
    is seen.

    Args:
        image_HWC: uint8; three channels are taken for red, green and blue.
        map_HW: finite numbers.
        signed: whether a map may be negative. Then red speaks for the number, and blue against it; else dark violet
            over red to yellow is little to much.
    """
    strength = scaled(map_HW)
    weights = _MOST_OPAQUE * np.abs(strength)[:, :, None]
    mixed = (1 - weights) * grey(image_HWC)[:, :, None] + weights * colours(strength, signed)
    return np.round(mixed).astype(np.uint8)


def scaled(map_HW: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return a map from -1 to 1, divided by the 99.5th percentile of its absolute values, or else by the largest."""
    absolute = np.abs(map_HW.astype(np.float64))
    most = float(np.percentile(absolute, _SHOWN)) or float(absolute.max()) or 1.0
    return np.clip(map_HW / most, -1, 1)


def colours(strength_HW: npt.NDArray[np.float64], signed: bool) -> npt.NDArray[np.float64]:
    """Return the colours of a map from 0 to 1, or from -1 to 1 where it is signed; float64 (H, W, 3) up to 255."""
    table = np.array([list(bytes.fromhex(each)) for each in (_DIVERGING if signed else _RISING)], np.float64)
    place = (strength_HW + 1) / 2 if signed else strength_HW
    anchors = np.linspace(0, 1, len(table))
    return np.stack([np.interp(place, anchors, channel) for channel in table.T], axis=-1)


def rgb(image_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return three channels: an image's own three, or its first one, as grey."""
    return image_HWC if image_HWC.shape[2] == 3 else np.repeat(image_HWC[:, :, :1], 3, axis=2)


def grey(image_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return an image's lightness, float64 (H, W) up to 255; the mean over channels that are no colours."""
    channels = image_HWC.shape[2]
    found: npt.NDArray[np.float64] = image_HWC @ np.array(_GREY if channels == 3 else [1 / channels] * channels)
    return found
