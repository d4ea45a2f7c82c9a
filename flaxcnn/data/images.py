"""Images that stay on disk and are read when asked for, and what treats them and plain arrays alike.

A data set that is too large for memory has its images as one of these; a smaller one has an array. Both answer to
`shape`, `dtype`, `len` and to an index along the first axis with an array in memory, so that few readers need to know.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

IN_MEMORY = 256 << 20
"""Images of a split that take more bytes than this, decoded, stay on disk: 256 MiB, five times MNIST."""

_PIECE = 16 << 20  # bytes that a pass over all images holds at a time


class StoredImages(ABC):
    """Images on disk, uint8 (N, H, W, C). Pickled, they are the place where they are, never the pixels.

    `images[key]` reads a new array: (H, W, C) for an integer, (K, H, W, C) for a slice, a one-dimensional array of
    integers or a mask of N booleans, with NumPy's rules and its IndexError. `np.asarray(images)` reads all of them.

    Attributes:
        shape: (N, H, W, C).
        in_workers: whether other processes can read them too, that is whether they can be pickled.
    """

    in_workers = True
    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, shape: tuple[int, int, int, int]):
        self.shape = shape

    @abstractmethod
    def read(self, positions_K: npt.NDArray[np.integer[Any]], out_KHWC: npt.NDArray[np.uint8]) -> None:
        """Read images into an array.

        Args:
            positions_K: which, each from 0 to N - 1, in any order and as often as wanted.
            out_KHWC: where to, contiguous.

        Raises:
            DataError: they cannot be read, or are no longer what they were when the data set was loaded.
        """

    @property
    def nbytes(self) -> int:
        """Bytes that all of them take in memory."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: SupportsIndex | slice | npt.ArrayLike) -> npt.NDArray[np.uint8]:
        positions = self._positions(key)
        out = np.empty((positions.size, *self.shape[1:]), np.uint8)
        self.read(positions.reshape(-1), out)
        return out[0] if positions.ndim == 0 else out

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("images on disk cannot be an array without a copy")
        return self[:].astype(dtype or np.uint8, copy=False)

    def _positions(self, key: SupportsIndex | slice | npt.ArrayLike) -> npt.NDArray[np.integer[Any]]:
        """Return which images an index means: no dimension for an integer, else one."""
        if isinstance(key, slice):
            return np.arange(*key.indices(len(self)))
        if isinstance(key, tuple):
            raise IndexError("images on disk have an index along the first axis only")
        positions = np.asarray(key)
        if positions.dtype == bool and positions.ndim == 1:
            if len(positions) != len(self):
                raise IndexError(f"a mask of {len(positions)} for {len(self)} images")
            return np.flatnonzero(positions)
        if positions.dtype.kind not in "iu" or positions.ndim > 1:
            raise IndexError(f"an index of {positions.dtype} {positions.shape}; expected integers or one mask")
        outside = (positions < -len(self)) | (positions >= len(self))
        if outside.any():
            raise IndexError(f"index {positions[outside].flat[0]} is out of bounds for {len(self)} images")
        positions = positions.astype(np.int64)
        return np.where(positions < 0, positions + len(self), positions)


Images = npt.NDArray[np.uint8] | StoredImages
"""What a split has: all in memory, or read when asked for."""


class Rows(StoredImages):
    """Some of other images on disk, in an order of their own.

    Args:
        base: the images to choose from.
        positions: which of them, (K,), each from 0 to N - 1.
    """

    def __init__(self, base: StoredImages, positions: npt.NDArray[np.integer[Any]]):
        super().__init__((len(positions), *base.shape[1:]))
        self._base: StoredImages = base._base if isinstance(base, Rows) else base
        self.in_workers = base.in_workers
        self._chosen: npt.NDArray[np.integer[Any]] = base._chosen[positions] if isinstance(base, Rows) else positions

    def read(self, positions_K: npt.NDArray[np.integer[Any]], out_KHWC: npt.NDArray[np.uint8]) -> None:
        """Read images into an array, as `StoredImages.read`."""
        self._base.read(self._chosen[positions_K], out_KHWC)


def choose(images: Images, positions: npt.NDArray[np.integer[Any]]) -> Images:
    """Return some images, (K, H, W, C): of an array a copy, of images on disk the places where they are."""
    return Rows(images, positions) if isinstance(images, StoredImages) else images[positions]


def in_pieces(images: Images, most: int | None = None) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield all images in their order, as arrays (K, H, W, C) of some 16 MiB at most and of at least one image.

    Args:
        images: any; of an array the pieces are views.
        most: images in a piece at most, where that matters.
    """
    count = max(1, _PIECE // max(1, math.prod(images.shape[1:])))
    count = min(count, most or count)
    for start in range(0, len(images), count):
        yield images[start : start + count]


def channel_moments(images: Images) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the mean and the standard deviation of each channel of all pixels, of pixels in [0, 1]; float64 (C,).

    They are exact, from whole numbers, so that they do not depend on pieces. A channel that is all alike has the
    deviation 1.
    """
    total = np.zeros(images.shape[-1], np.uint64)
    squares = np.zeros(images.shape[-1], np.uint64)
    for piece in in_pieces(images):
        pixels = piece.reshape(-1, piece.shape[-1]).astype(np.uint32)
        total += pixels.sum(0, dtype=np.uint64)
        squares += (pixels * pixels).sum(0, dtype=np.uint64)
    count = math.prod(images.shape[:-1])
    mean = total.astype(np.float64) / count
    variance = np.maximum(squares.astype(np.float64) / count - mean**2, 0)
    deviation = np.sqrt(variance) / 255
    return mean / 255, np.where(deviation > 0, deviation, 1.0)
