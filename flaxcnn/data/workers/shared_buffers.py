"""Shared memory of the loader and its workers: the image positions and the pixels of several chunks."""

import math
import mmap
import os
import sys
import tempfile

import numpy as np


def open_unnamed(name: str) -> int:
    """Open a new empty file that has no name and so cannot be left behind, and return its descriptor.

    It is in memory on Linux, elsewhere in the folder of temporary files. `name` is what Linux shows in /proc.

    Raises:
        OSError: the system does not give one.
    """
    if sys.platform == "linux":
        return os.memfd_create(name)  # not in /dev/shm, of which a container may have 64 MiB
    with tempfile.TemporaryFile(prefix=name) as file:
        return os.dup(file.fileno())


class SharedBuffers:
    """Buffers for chunks, in memory that every process with the file sees.

    Args:
        file: the descriptor of the file behind it, of `size` bytes; may be closed afterwards.
        count: of buffers.
        rows: images that a buffer has room for.
        image_shape: (H, W, C).

    Attributes:
        positions_SR: int64 (count, rows), which images a buffer wants.
        pixels_SRHWC: uint8 (count, rows, H, W, C), what was read.
    """

    def __init__(self, file: int, count: int, rows: int, image_shape: tuple[int, ...]):
        memory = mmap.mmap(file, self.size(count, rows, image_shape))
        self.positions_SR = np.frombuffer(memory, np.int64, count * rows).reshape(count, rows)
        pixels = np.frombuffer(memory, np.uint8, offset=self.positions_SR.nbytes)
        self.pixels_SRHWC = pixels.reshape(count, rows, *image_shape)

    @staticmethod
    def size(count: int, rows: int, image_shape: tuple[int, ...]) -> int:
        """Return how many bytes so many buffers take."""
        return count * rows * (np.dtype(np.int64).itemsize + math.prod(image_shape))
