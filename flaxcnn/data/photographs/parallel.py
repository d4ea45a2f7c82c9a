"""One pass over files in processes: each of them reads its share of the files.

Pillow holds Python's lock for most of the time that it decodes a JPEG, and short reads pass it to and fro, so that
several threads are no faster than one. Processes are, but take a while to start.
"""

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from flaxcnn.data.workers.workers import Reader, Workers

PAYS = 1.0
"""Seconds of one core's work from which on it pays to start processes, which takes some 0.3 s."""

_BUFFERS = 3  # of shared memory: one is emptied while others are filled
_BYTES, _MOST = 1 << 22, 64  # of pixels in a process's share of a buffer, and files in it


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_in_processes(
    reader: Reader, count: int, role: str, take: Callable[[range, npt.NDArray[np.uint8], list[Any]], None]
) -> None:
    """Read all of what a reader has, a part after the other.

    Each process holds a few megabytes of it at a time, or a few images where these are larger.

    Args:
        reader: is pickled for the processes.
        count: how many processes.
        role: what each is called in an error.
        take: is called with the positions of a part, in order; its pixels, which are overwritten later; and what the
            processes told of it.

    Raises:
        DataError: a process cannot be started, was killed or failed.
    """
    total = reader.shape[0]
    count = min(count, total)
    rows = count * min(_MOST, max(1, _BYTES // max(1, math.prod(reader.shape[1:]))))
    parts = [range(start, min(start + rows, total)) for start in range(0, total, rows)]
    buffers = min(_BUFFERS, len(parts))
    workers = Workers(reader, count, buffers, rows, role, "make memory free, or give this program fewer cores")

    def start(number: int) -> None:
        if number < len(parts):
            workers.buffers.positions_SR[number % buffers, : len(parts[number])] = parts[number]
            workers.start(number % buffers, len(parts[number]))

    try:
        for number in range(buffers):
            start(number)
        for number, part in enumerate(parts):
            told = workers.wait(number % buffers)
            take(part, workers.buffers.pixels_SRHWC[number % buffers, : len(part)], told)
            start(number + buffers)
    finally:
        workers.close()
