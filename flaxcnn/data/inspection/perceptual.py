"""Find near duplicates: images that are nearly equal after a shift, a mirroring, a resize or a recompression.

Two images are as similar as the best correlation of their outlines (`flaxcnn.data.inspection.signatures`) over shifts,
each measured where the two overlap. Candidates come from 64 numbers of an image, a perceptual hash before it is rounded
to bits, of the image, its mirror image and nine shifts, compared as one matrix product.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data.inspection.signatures import CELLS, FLAT, SIDE, Signatures

NEAR = 0.8
"""Similarity from which on two images are near duplicates.

Measured on photographs of weather, insects, animals and eyes, fitted to 160×160, 846 beside a changed copy each.
Of copies saved as JPEG of quality 30, at a third of the size, mirrored or darkened, 99.5 % to all are found; of those
moved by 5 % to the side and down 87 %, of those enlarged by 3 % 94 %, by 6 % 44 %. Pairs of photographs of other scenes
are at 0.75 at most.
"""
SPARSE_NEAR = 0.98
"""The same for images with little in them, in a set of images that resemble each other, such as written digits or
plankton on empty ground: of MNIST's first 5,000 images the nearest two are at 0.977, of 1,500 plankton images at 0.958.
It holds up to a coverage of 0.35 (`Signatures`), and from there `NEAR` is approached in a straight line, up to 0.5."""

_SHIFT = 10  # pixels of the outline, in each direction: 16 % of the side
_ALIKE = 0.7  # correlation of the numbers from which on two images are compared closely
_CANDIDATES = 8  # of an image, at most
_SPARSE, _DENSE = 0.35, 0.5  # coverages
_RESEMBLING = 0.6  # similarity; a set's images resemble each other where the share `_SHARE` has `_OTHERS` such others
_OTHERS = 3
_SHARE = 0.05
_SAMPLE = 1000  # pairs drawn at random, which say how much any two images of the set resemble each other
_FEW = 8  # images, of which not even that can be said
_CLOSER = 0.4  # near duplicates differ by at most this share of what separates two drawn at random
_SURE = 0.995  # near duplicates in any set
_BLOCK = 2**24  # correlations at a time: 64 MiB
_PAIRS = 256  # compared at a time: some 40 MiB


class NearPair(NamedTuple):
    """Two images that are nearly equal.

    Attributes:
        first, second: their positions, the lower one first.
        similarity: at most 1.
        mirrored: whether one of them is the other's mirror image.
        shift: down and to the right, from the first to the second (or its mirror image), as fractions of the side.
    """

    first: int
    second: int
    similarity: float
    mirrored: bool
    shift: tuple[float, float]


def near_pairs(signed: Signatures) -> list[NearPair]:
    """Return the pairs of near duplicates, the most similar first.

    What a pair needs depends on how similar images of the set are that are drawn at random: those of a fixed camera
    resemble each other without being near duplicates. In a set of images that resemble each other it depends on the
    coverage of the sparser image, too (`SPARSE_NEAR`).

    Each image is compared closely with at most 8 of those that follow it, by the correlation of their cells: of a set
    of more copies some pairs are missing, but none of the images.

    The time grows with the square of N.
    """
    first, second, mirrored = _candidates(signed.cells)
    similarities, shifts = similarity(signed, first, second, mirrored)
    order = np.lexsort((-similarities, second, first))  # of each pair, as it is or mirrored, the better one
    alone = np.ones(len(order), bool)
    alone[1:] = (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)
    order = order[alone]
    first, second, mirrored = first[order], second[order], mirrored[order]
    similarities, shifts = similarities[order], shifts[order]
    resembling = np.tile(similarities >= _RESEMBLING, 2)
    others = np.bincount(np.concatenate([first, second]), resembling, minlength=len(signed.cells))
    needed = np.full(len(first), NEAR)
    if np.mean(others >= _OTHERS) >= _SHARE:
        coverages = np.minimum(signed.coverages[first], signed.coverages[second])
        needed = np.interp(coverages, (_SPARSE, _DENSE), (SPARSE_NEAR, NEAR))
    needed = np.maximum(needed, min(_SURE, 1 - _CLOSER * (1 - usual_similarity(signed))))
    chosen = np.flatnonzero(similarities >= needed)
    chosen = chosen[np.argsort(-similarities[chosen], kind="stable")]
    return [
        NearPair(
            int(first[place]),
            int(second[place]),
            float(similarities[place]),
            bool(mirrored[place]),
            (float(shifts[place, 0]), float(shifts[place, 1])),
        )
        for place in chosen
    ]


def usual_similarity(signed: Signatures) -> float:
    """Return the median similarity of images that are drawn at random; the same each time.

    It is 0 for fewer than eight images, which may all be copies.
    """
    if len(signed.strengths) < _FEW:
        return 0.0
    first, second = np.random.default_rng(0).integers(0, len(signed.strengths), (2, _SAMPLE))
    other = first != second
    return float(np.median(similarity(signed, first[other], second[other])[0]))


def similarity(
    signed: Signatures,
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    mirrored: npt.NDArray[np.bool_] | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the similarity of pairs of images, float32 (M,), and their shifts as fractions of the side, (M, 2).

    Args:
        signed: of all images.
        first: position of one image of each pair, (M,).
        second: position of the other.
        mirrored: where the second is mirrored before; None for nowhere.
    """
    similarities = np.zeros(len(first), np.float32)
    shifts = np.zeros((len(first), 2), np.float32)
    for start in range(0, len(first), _PAIRS):
        chosen = slice(start, start + _PAIRS)
        ones, others = signed.outlines[first[chosen]], signed.outlines[second[chosen]]
        if mirrored is not None:
            others = np.where(mirrored[chosen, None, None], others[:, :, ::-1], others)
        similarities[chosen], shifts[chosen] = _correlations(ones, others)
    weak = np.minimum(signed.strengths[first], signed.strengths[second]) < FLAT
    similarities[weak] = 0
    return similarities, shifts


def _correlations(
    ones: npt.NDArray[np.int8], others: npt.NDArray[np.int8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the highest correlation over shifts, and the shift; float32 (B,) and (B, 2)."""
    from scipy import fft

    padded = (fft.next_fast_len(SIDE + _SHIFT, real=True),) * 2
    a, b = ones.astype(np.float32), others.astype(np.float32)
    product = fft.rfft2(b, padded)
    product *= np.conj(fft.rfft2(a, padded))
    around = np.arange(-_SHIFT, _SHIFT + 1)
    overlaps = fft.irfft2(product, padded)[:, around][:, :, around]
    energies = _energies(a, np.maximum(0, -around), SIDE - np.maximum(0, around))
    energies *= _energies(b, np.maximum(0, around), SIDE - np.maximum(0, -around))
    correlations = (overlaps / np.sqrt(np.maximum(energies, 1.0))).reshape(len(a), -1)
    best = np.argmax(correlations, axis=1)
    found = np.take_along_axis(correlations, best[:, None], axis=1)[:, 0]
    shifts = np.stack(np.divmod(best, len(around)), axis=1) - _SHIFT
    return np.minimum(found, 1).astype(np.float32), (shifts / SIDE).astype(np.float32)


def _energies(
    outlines: npt.NDArray[np.float32], low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return the sum of squares in each rectangle from low to high, of rows and of columns: (B, L, L)."""
    sums = np.zeros((len(outlines), SIDE + 1, SIDE + 1))
    np.cumsum(np.cumsum(outlines**2, axis=1, dtype=np.float64), axis=2, out=sums[:, 1:, 1:])
    rows = sums[:, high] - sums[:, low]
    return rows[:, :, high] - rows[:, :, low]


def _candidates(
    cells: npt.NDArray[np.float16],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return pairs that are worth a close comparison: the first's positions, the second's, whether it is mirrored.

    A pair that is alike both ways is there twice.
    """
    count, numbers = len(cells), CELLS * CELLS
    centre_DN = np.ascontiguousarray(cells[:, 4].reshape(count, numbers).T, np.float32)
    found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]] = []
    start = 0
    while start < count:
        rows = max(1, min(_BLOCK // (count - start) // 4, count - start))
        plain = cells[start : start + rows].astype(np.float32)  # (B, 9, 8, 8)
        after = centre_DN[:, start:]
        best = []
        for turned in (plain, plain[..., ::-1]):  # a shifted image's mirror image is a mirror image, shifted
            highest = np.full((len(plain), after.shape[1]), -1, np.float32)
            for shift in range(9):
                np.maximum(highest, turned[:, shift].reshape(-1, numbers) @ after, out=highest)
            best.append(highest)
        for each in best:
            each[np.tri(*each.shape, dtype=bool)] = -1  # itself, and those before it
        highest = np.maximum(*best)
        kept = min(_CANDIDATES, highest.shape[1])
        columns = np.argpartition(highest, -kept, axis=1)[:, -kept:]  # as many whatever is equal, so memory is bounded
        chosen = np.repeat(np.arange(len(columns)), kept), columns.ravel()
        for mirrored, ours in enumerate(best):
            alike = ours[chosen] >= _ALIKE
            ones, others = (each[alike] + start for each in chosen)
            found.append((ones, others, np.full(len(ones), bool(mirrored))))
        start += rows
    firsts, seconds, turns = zip(*found, strict=True)
    return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(turns)
