"""What tells that a file has changed, without reading it."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from flaxcnn.files import lies_in

Stamp: TypeAlias = tuple[int, int, int, int]
"""What changes with a file: its size, its times of modification and of change in ns, and its inode."""

_INODE = (1 << 63) - 1  # so that it fits a signed integer


def stamps_of(root: Path, paths: Sequence[str]) -> list[Stamp | str]:
    """Return of each file below a root its stamp, or why it cannot be read.

    A link that leads out of the root is refused, and so is what is no regular file: a pipe would be waited for. A
    folder's links are followed once for all files in it.
    """
    real, whole = os.path.realpath(root), str(root)
    folders: dict[str, bool] = {}  # whether each lies below the root

    def stamp(path: str) -> Stamp | str:
        if "\0" in path:
            return "a path cannot hold a null byte"
        full = os.path.join(whole, path)
        folder = os.path.dirname(full)
        if folder not in folders:
            folders[folder] = lies_in(os.path.realpath(folder), real)
        try:
            status = os.lstat(full) if folders[folder] else None
            if status is None or not stat.S_ISREG(status.st_mode):
                if not lies_in(os.path.realpath(full), real):
                    return "lies outside the folder" if path.startswith(("/", "..")) else "a link out of the folder"
                status = os.stat(full)
        except OSError as error:
            return (error.strerror or str(error)).lower()
        if not stat.S_ISREG(status.st_mode):
            return "not a regular file"
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & _INODE

    return [stamp(path) for path in paths]
