"""What each file of a listing holds: its digest, format, size and depth, remembered by the file's size and time.

A data set's identity is the content of its files. Reading them all at each start costs seconds for gigabytes, so the
digests are kept: a file whose size, time of change and inode are as they were is not read again, as Git does it.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flaxcnn.data.image_files import FileInfo
from flaxcnn.data.photographs.decoding import inspect
from flaxcnn.data.photographs.encoded import Encoded
from flaxcnn.data.photographs.parallel import PAYS, cores, read_in_processes
from flaxcnn.data.photographs.remembered import Scanned, recall, remember
from flaxcnn.data.photographs.stamps import Stamp
from flaxcnn.errors import DataError, FlaxcnnError

_TICK = 2 * 10**9  # ns: the coarsest time that a file system keeps, FAT's
_BATCH = 32  # files that a thread reads at once: a task of its own for each takes longer than to read it
_FILE, _BYTE = 1e-4, 2.5e-9  # seconds to open a file, and to read and hash a byte


def read_image(encoded: Encoded, path: str) -> Scanned:
    """Return what an image file holds, without a look at its pixels."""
    digest = ""
    try:
        content = encoded.read(path)
        digest = hashlib.blake2b(content, digest_size=32).hexdigest()
        return Scanned(digest, inspect(content, path))
    except DataError as error:
        return Scanned(digest, None, fault_of(error))


def scan(
    encoded: Encoded,
    paths: Sequence[str],
    remembered: Path | None = None,
    read: Callable[[Encoded, str], Scanned] = read_image,
) -> list[Scanned]:
    """Return what each file holds.

    Args:
        encoded: reads them.
        paths: of the files.
        remembered: a file of earlier scans, which this one is added to; None to read every file.
        read: reads a file by its path; what it returns is remembered.

    Returns:
        One for each path. A file that cannot be used has a fault; nothing is raised for it.

    Raises:
        DataError: as `read_in_processes`.
    """
    old = {} if remembered is None else recall(remembered)
    # Changed again within the clock's tick, a file would keep its stamp; so one changed just now is read again.
    recent = time.time_ns() - _TICK
    stamps = encoded.stamps(paths)
    found: dict[str, Scanned] = {}
    unread: list[str] = []
    to_read: set[Stamp] = set()  # of files that may hold several images each
    for path, stamp in zip(paths, stamps, strict=True):
        if isinstance(stamp, str):
            found[path] = Scanned("", None, stamp)
        elif path in old and old[path][0] == stamp:
            found[path] = old[path][1]
        else:
            unread.append(path)
            to_read.add(stamp)
    size = sum(stamp[0] for stamp in to_read)
    found.update(zip(unread, _read_all(encoded, unread, size, read), strict=True))
    kept = {
        path: (stamp, found[path])
        for path, stamp in zip(paths, stamps, strict=True)
        if not isinstance(stamp, str) and max(stamp[1:3]) < recent
    }
    if remembered is not None and kept != old:
        remember(remembered, kept)
    return [found[path] for path in paths]


def _read_all(
    encoded: Encoded, paths: Sequence[str], size: int, read: Callable[[Encoded, str], Scanned]
) -> list[Scanned]:
    """Return what files of so many bytes hold, read in threads, or in processes where there is enough to do."""
    results: list[Scanned] = []
    if read is read_image and cores() > 1 and len(paths) * _FILE + size * _BYTE >= PAYS:

        def take(part: range, pixels: object, told: list[Any]) -> None:
            rows = dict(row for rows in told for row in rows)
            results.extend(_scanned_of(rows[position]) for position in part)

        read_in_processes(_Headers(encoded, paths), cores(), "scanning process", take)
        return results

    def read_batch(batch: Sequence[str]) -> list[Scanned]:
        return [read(encoded, path) for path in batch]

    with ThreadPoolExecutor(cores()) as pool:
        for part in pool.map(read_batch, (paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH))):
            results += part
    return results


class _Headers:
    """Reads what image files hold, and tells it (`flaxcnn.data.workers.workers.Reader`). It has no pixels."""

    def __init__(self, encoded: Encoded, paths: Sequence[str]):
        self.shape = (len(paths), 0, 0, 0)
        self._encoded, self._paths = encoded, paths

    def read(
        self, positions_K: npt.NDArray[np.integer[Any]], out_KHWC: npt.NDArray[np.uint8]
    ) -> list[tuple[int, Scanned]]:
        return [(position, read_image(self._encoded, self._paths[position])) for position in positions_K.tolist()]


def _scanned_of(row: list[Any]) -> Scanned:
    """Return what was scanned, by what a process told of it."""
    digest, info, fault, frames = row
    return Scanned(digest, None if info is None else FileInfo(*info), fault, tuple(frames))


def fault_of(error: FlaxcnnError) -> str:
    """Return an error without its place and its advice, for a list of files."""
    return error.what if error.found is None else f"{error.what} ({error.found})"
