"""Remove runs: whole folders that the library wrote, that no process works in, and nothing else."""

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from flaxcnn.errors import ConfigError
from flaxcnn.files import cannot_write
from flaxcnn.runs.folder.kinds import Kind, kind_of
from flaxcnn.runs.folder.lock import locked
from flaxcnn.runs.tools.listing import is_used

_REMOVED = (Kind.RUN, Kind.SEEDS, Kind.STUDY)  # of a sweep, whose lock is its database's, nobody knows who uses it


def require_removable(folders: Sequence[Path]) -> None:
    """Raise ConfigError where a folder is not to be removed: no run, a link, or one that a process works in."""
    for folder in folders:
        if folder.is_symlink():
            fix = "name the folder itself"
            raise ConfigError("a link to a folder", where=folder, found=os.readlink(folder), fix=fix)
        kind = kind_of(folder) if folder.is_dir() else None
        if kind not in _REMOVED:
            expected, found = ", ".join(_REMOVED), kind or ("nothing" if not folder.exists() else "something else")
            raise ConfigError("cannot be removed", where=folder, expected=expected, found=found)
        if is_used(folder):
            fix = "stop it first, or wait until it has ended"
            raise ConfigError("a process works in this folder", where=folder, fix=fix)


def remove_runs(folders: Sequence[Path]) -> None:
    """Remove folders that `require_removable` accepts, under their locks.

    A folder takes a hidden name first, so that none is left half removed under its own.

    Raises:
        ConfigError: as `require_removable`.
        RunFolderError: a folder cannot be removed, or a process began to work in it.
    """
    require_removable(folders)
    for folder in folders:
        with ExitStack() as held:
            held.enter_context(locked(folder))
            hidden = folder.with_name(f".{folder.name}.removed-{os.getpid()}")
            try:
                folder.rename(hidden)
                shutil.rmtree(hidden)
            except OSError as error:
                raise cannot_write(folder, error) from error
