"""What is kept of each image to compare it with all others: its outline, a few numbers of it, its tones.

An outline is the gray picture of 64×64, blurred a little, minus the same blurred more. That keeps edges of a few pixels
and drops brightness, gradients and noise, in which strangers resemble each other.
"""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data.images import Images, in_pieces

SIDE = 64
"""Pixels of an outline's side."""
CELLS = 8
"""Cells of an image's numbers and tones, in each direction."""
FLAT = 0.3
"""Gray levels: an outline weaker than this is noise."""

_FINE, _COARSE = 1.0, 3.0  # standard deviations of the outline's blurs, in its pixels
_CROP = 48  # pixels of the outline that the cells cover
_STEP = 5  # pixels of the outline between the shifts of the cells
_CELL_BLURS = 1.5, 8.0


class Signatures(NamedTuple):
    """What is kept of N images for their comparison: 5.4 KB each.

    Attributes:
        outlines: int8 (N, 64, 64), each scaled to its greatest value.
        strengths: float32 (N,), gray levels: the root of the mean square of each outline.
        coverages: float32 (N,), how much of the image its outline covers: the exponential of the entropy of its energy
            over 8×8 cells, divided by 64, and less for images of less than 64 pixels a side, by the root of their side.
            Photographs are at 0.4 to 0.8, written digits at 0.1 to 0.3.
        cells: float16 (N, 9, 8, 8), of length 1 for each shift; 0 for an image of one gray level.
        tones: uint8 (N, 8, 8, C), the mean colours of 8×8 cells.
    """

    outlines: npt.NDArray[np.int8]
    strengths: npt.NDArray[np.float32]
    coverages: npt.NDArray[np.float32]
    cells: npt.NDArray[np.float16]
    tones: npt.NDArray[np.uint8]


def signatures(images_NHWC: Images) -> Signatures:
    """Return the signatures of images, uint8 (N, H, W, C), read once in pieces."""
    height, width, channels = images_NHWC.shape[1:]
    down, across = averages(height, SIDE), averages(width, SIDE)
    detail = np.float32(np.sqrt(min(1.0, min(height, width) / SIDE)))
    found: list[Signatures] = []
    for piece in in_pieces(images_NHWC, most=256):
        count = len(piece)
        rows = down @ piece.reshape(count, height, width * channels).astype(np.float32)
        colours_NSSC = (across @ rows.reshape(count * SIDE, width, channels)).reshape(count, SIDE, SIDE, channels)
        gray_NSS = np.mean(colours_NSSC, axis=-1)
        outlines = _outlines(gray_NSS)
        energies = _over_cells(outlines[..., None] ** 2).reshape(count, -1)
        greatest = np.maximum(np.max(np.abs(outlines), axis=(1, 2), keepdims=True), 1e-6)
        found.append(
            Signatures(
                np.rint(outlines * (127 / greatest)).astype(np.int8),
                np.sqrt(np.mean(energies, axis=1)),
                _coverages(energies) * detail,
                _cells(gray_NSS),
                np.clip(np.rint(_over_cells(colours_NSSC)), 0, 255).astype(np.uint8),
            )
        )
    return Signatures(*map(np.concatenate, zip(*found, strict=True)))


def _outlines(small_NSS: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    fine, coarse = _blur(_FINE), _blur(_COARSE)
    outlines: npt.NDArray[np.float32] = np.asarray(fine @ small_NSS @ fine.T, np.float32)
    outlines -= coarse @ small_NSS @ coarse.T
    return outlines


def _over_cells(values_NSSC: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the means of 8×8 cells, (N, 8, 8, C)."""
    count, channels = len(values_NSSC), values_NSSC.shape[-1]
    side = SIDE // CELLS
    cells = values_NSSC.reshape(count, CELLS, side, CELLS, side, channels)
    return np.mean(cells, axis=(2, 4), dtype=np.float32)


def _coverages(energies: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    shares = energies / np.maximum(np.sum(energies, axis=1, keepdims=True), 1e-12)
    entropies = -np.sum(shares * np.log(np.maximum(shares, 1e-12)), axis=1)
    return (np.exp(entropies) / energies.shape[1]).astype(np.float32)


def _cells(small_NSS: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Return the numbers that candidates are chosen by, for each of nine shifts."""
    rows = list(_crops())
    cells = np.empty((len(small_NSS), 9, CELLS, CELLS), np.float32)
    for place in range(9):
        (fine_y, coarse_y), (fine_x, coarse_x) = rows[place // 3], rows[place % 3]
        cells[:, place] = fine_y @ small_NSS @ fine_x.T - coarse_y @ small_NSS @ coarse_x.T
    cells -= np.mean(cells, axis=(2, 3), keepdims=True)
    lengths = np.sqrt(np.sum(cells**2, axis=(2, 3), keepdims=True))
    return np.where(lengths > FLAT * CELLS, cells / np.maximum(lengths, 1e-6), 0).astype(np.float16)


def _crops() -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Yield, for each shift in one direction, what blurs, crops and averages to cells: two (8, 64)."""
    blurs = [_blur(deviation) for deviation in _CELL_BLURS]
    for shift in (-_STEP, 0, _STEP):
        start = (SIDE - _CROP) // 2 + shift
        pool = np.zeros((CELLS, SIDE), np.float32)
        pool[:, start : start + _CROP] = averages(_CROP, CELLS)
        yield pool @ blurs[0], pool @ blurs[1]


@cache
def _blur(deviation: float) -> npt.NDArray[np.float32]:
    """Return a Gaussian blur of an outline's rows, (64, 64); at the border the image is reflected."""
    reach = int(4 * deviation + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / deviation) ** 2)
    matrix = np.zeros((SIDE, SIDE))
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        place = np.arange(SIDE) + offset
        place = np.where(place < 0, -place - 1, np.where(place >= SIDE, 2 * SIDE - 1 - place, place))
        np.add.at(matrix, (np.arange(SIDE), place), weight)
    return matrix.astype(np.float32)


def averages(extent: int, parts: int) -> npt.NDArray[np.float32]:
    """Return the matrix (parts, extent) that averages pixels over equal parts, with fractions of pixels at borders."""
    edges = np.arange(parts + 1) * (extent / parts)
    pixels = np.arange(extent)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.maximum(covered, 0) * (parts / extent)).astype(np.float32)
