"""A lock on a run's folder for one process at a time. The system releases it when the process ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flaxcnn.errors import RunFolderError
from flaxcnn.files import cannot_write, open_own
from flaxcnn.runs.folder.kinds import LOCK


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock while entered. The file stays: whoever removed it could not know that nobody waits.

    Raises:
        RunFolderError: another process that lives holds it, it is a link, or the folder cannot be written to.
    """
    path = folder / LOCK
    try:
        file = open_own(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read(32).decode("ascii", "replace").strip() or "unknown"
            raise RunFolderError(
                "another process is training in this folder",
                where=folder,
                found=f"process {holder}",
                fix="wait until it has ended, or stop it",
            ) from error
        except OSError as error:
            raise RunFolderError(
                f"cannot be locked: {error.strerror}",
                where=path,
                elsewhere="a folder on a disk that has locks",
            ) from error
        try:
            file.truncate(0)
            os.write(file.fileno(), f"{os.getpid()}\n".encode())  # nothing is left to be written when it is closed
        except OSError as error:
            raise cannot_write(path, error) from error
        yield
