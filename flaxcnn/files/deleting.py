"""Delete the contents of a folder without following links, because the folder is untrusted."""

import os
import shutil
from pathlib import Path

from flaxcnn.errors import RunFolderError


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there; of a symbolic link the link only.

    Raises:
        OSError: the system would not.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def refuse_links(path: Path, root: Path) -> None:
    """Check that a path below a folder leads through no symbolic link: what is written or deleted there is in `root`.

    `root` itself may be one, as where a user links a run's folder from another disk.

    Raises:
        RunFolderError: a part of it is a link; says where it leads.
    """
    part = root
    for name in path.relative_to(root).parts:
        part = part / name
        if part.is_symlink():
            raise RunFolderError(
                "a link to elsewhere, where another run's files may be",
                where=part,
                expected="a folder",
                found=os.readlink(part),
                fix=f"move that folder here; to keep a run on another disk, move all of it and link to {root}",
            )
