"""Images that stay on disk and are read on demand, and functions that accept both these and plain arrays.

A data set too large for memory uses `StoredImages`; a smaller one uses an array. Both support `shape`, `dtype`, `len`
and indexing along the first axis, which returns an array in memory.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

IN_MEMORY = 256 << 20
"""A split's images stay on disk if they take more decoded bytes than this: 256 MiB, five times MNIST."""

_PIECE = 16 << 20  # bytes in memory at a time during a pass over all images


class StoredImages(ABC):
    """Images on disk, uint8 (N, H, W, C). A pickle holds their location, never the pixels.

    `images[key]` reads a new array: (H, W, C) for an integer, (K, H, W, C) for a slice, a one-dimensional array of
    integers or a mask of N booleans, with NumPy's rules and its IndexError. `np.asarray(images)` reads all images.

    Attributes:
        shape: (N, H, W, C).
        in_workers: whether other processes can read the images too, that is, whether they can be pickled.
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
            positions_K: positions of the images, each from 0 to N - 1, in any order, repeats allowed.
            out_KHWC: the output array, contiguous.

        Raises:
            DataError: the images cannot be read, or changed since the data set was loaded.
        """

    @property
    def nbytes(self) -> int:
        """Size of all images in memory, in bytes."""
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
        """Return the positions that an index selects: zero-dimensional for an integer, else one-dimensional."""
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
"""A split's images: all in memory, or read on demand."""


class Rows(StoredImages):
    """A selection of images on disk, in any order.

    Args:
        base: the images to select from.
        positions: their positions, (K,), each from 0 to N - 1.
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
    """Return some images, (K, H, W, C): a copy of an array's rows, or a selection of images on disk."""
    return Rows(images, positions) if isinstance(images, StoredImages) else images[positions]


def in_pieces(images: Images, most: int | None = None) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield all images in order, as arrays (K, H, W, C) of up to about 16 MiB and at least one image.

    Args:
        images: the images; pieces of an array are views.
        most: maximum number of images in a piece; None for no limit.
    """
    count = max(1, _PIECE // max(1, math.prod(images.shape[1:])))
    count = min(count, most or count)
    for start in range(0, len(images), count):
        yield images[start : start + count]


def channel_moments(images: Images) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return each channel's mean and standard deviation over all pixels, scaled to [0, 1]; float64 (C,).

    The sums are exact integers, so the result does not depend on the pieces. A constant channel has the deviation 1.
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
