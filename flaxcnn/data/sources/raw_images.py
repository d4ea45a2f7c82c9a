"""Images in a file that holds their pixels one image after the other, each read when asked for."""

import math
import os
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flaxcnn.data.images import StoredImages
from flaxcnn.errors import DataError


class RawImages(StoredImages):
    """Images whose pixels are a file's bytes from an offset to its end, in C order.

    They are read, not mapped into memory: random images of 28×28 that the system has cached take 1 to 4 µs each instead
    of 0.2, but a disk's fault or a file cut short meanwhile is an error here and not the end of the process (SIGBUS),
    and nothing counts as this process's memory.

    Args:
        path: the file.
        offset: of the first image, in bytes.
        shape: (N, H, W, C).
        version: its `file_version` when it was checked.
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, int, int, int], version: tuple[int, ...]):
        super().__init__(shape)
        self.path, self._offset, self._version = path.absolute(), offset, version
        self._descriptor: int | None = None

    def read(self, positions_K: npt.NDArray[np.integer[Any]], out_KHWC: npt.NDArray[np.uint8]) -> None:
        """Read images into an array, as `StoredImages.read`: neighbours that follow one another in one go."""
        size = math.prod(self.shape[1:])
        firsts = np.flatnonzero(np.diff(positions_K, prepend=-2) != 1)  # of each row of neighbours
        offsets = self._offset + size * positions_K[firsts].astype(np.int64)
        bounds = size * np.append(firsts, len(positions_K))
        bytes_out = memoryview(out_KHWC.reshape(-1))
        try:
            file = self._open()
            for (start, end), offset in zip(pairwise(bounds.tolist()), offsets.tolist(), strict=True):
                self._fill(file, bytes_out[start:end], offset)
        except OSError as error:
            found = (error.strerror or str(error)).lower()
            expected = "the file of the data set"
            raise DataError("cannot read the file", where=self.path, expected=expected, found=found) from error

    def _fill(self, file: int, wanted: memoryview, offset: int) -> None:
        while wanted:
            count = os.preadv(file, (wanted,), offset)
            if count == 0:
                raise self._changed("truncated")
            wanted, offset = wanted[count:], offset + count

    def _open(self) -> int:
        if self._descriptor is None:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe is not waited for
            weakref.finalize(self, os.close, descriptor)
            if file_version(os.fstat(descriptor)) != self._version:
                raise self._changed("another size or time of change")
            self._descriptor = descriptor
        return self._descriptor

    def _changed(self, found: str) -> DataError:
        return DataError(
            "changed since the data set was loaded",
            where=self.path,
            expected="the same file until the end",
            found=found,
            fix="start again once nothing writes to it",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return RawImages, (self.path, self._offset, self.shape, self._version)


def file_version(status: os.stat_result) -> tuple[int, ...]:
    """Return what differs once a file has been written to or replaced."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
