"""A run's folder: made anew, written whole, read back. What stands in which file is in docs/runs.md."""

import errno
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flaxcnn.errors import FlaxcnnError, RunFolderError

_ADVICE = {
    errno.ENOSPC: "make space, or name a folder on another disk with --out",
    errno.EDQUOT: "make space, or name a folder on another disk with --out",
    errno.EFBIG: "raise the limit on the size of files, or name a folder on another disk with --out",
    errno.EACCES: "name a folder that you may write to with --out",
    errno.EPERM: "name a folder that you may write to with --out",
    errno.EROFS: "name a folder that you may write to with --out",
}


class RunFolder:
    """The files of one run.

    Args:
        path: the folder, which exists.
    """

    def __init__(self, path: Path):
        self.path = path

    def write(self, name: str, write: Callable[[Path], None]) -> None:
        """Write one file whole: `write` fills a temporary file, which takes the name once it is on the disk.

        Raises:
            RunFolderError: the disk is full, or the folder cannot be written to.
        """
        path = self.path / name
        # The ending stays last, since matplotlib and NumPy go by it.
        temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
        try:
            try:
                write(temporary)
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                temporary.replace(path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise cannot_write(path, error) from error

    def write_text(self, name: str, text: str) -> None:
        """Write a text file whole; raises as `write` does."""
        self.write(name, lambda path: _write_text(path, text))

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file whole; raises as `write` does."""
        self.write_text(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def append_row(self, name: str, row: Mapping[str, Any]) -> None:
        """Append one line of JSON; raises as `write` does."""
        path = self.path / name
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
        except OSError as error:
            raise cannot_write(path, error) from error

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file that holds an object.

        Raises:
            RunFolderError: it is missing, cannot be read, or is damaged.
        """
        path = self.path / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunFolderError("file missing from this run", where=path, fix="name a run that ended") from error
        except OSError as error:
            raise RunFolderError(f"cannot read: {error.strerror}", where=path) from error
        except ValueError as error:
            raise RunFolderError(f"damaged: {error}", where=path, expected="JSON") from error
        if not isinstance(value, dict):
            raise RunFolderError("damaged", where=path, expected="a JSON object", found=type(value).__name__)
        return value

    def read_rows(self, name: str) -> list[dict[str, Any]]:
        """Read the lines of a file that `append_row` wrote; raises as `read_json` does."""
        path = self.path / name
        try:
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except FileNotFoundError as error:
            raise RunFolderError("file missing from this run", where=path) from error
        except OSError as error:
            raise RunFolderError(f"cannot read: {error.strerror}", where=path) from error
        except ValueError as error:
            raise RunFolderError(f"damaged: {error}", where=path, expected="a line of JSON for each row") from error


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def create_run_folder(out: str | None, config_name: str, root: Path = Path("runs")) -> RunFolder:
    """Make the folder of a new run.

    Args:
        out: the folder that the user asked for; None for the next free `runs/CONFIG-NNN`.
        config_name: the config's name, for that.
        root: where numbered runs stand.

    Raises:
        RunFolderError: the folder already holds something, or it cannot be made.
    """
    if out is None:
        return RunFolder(_next_free(root, config_name))
    path = Path(out).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        holds = sorted(each.name for each in path.iterdir())
    except (FileExistsError, NotADirectoryError) as error:
        raise RunFolderError(
            "a file stands there", where=path, expected="a folder", fix="name another --out"
        ) from error
    except OSError as error:
        raise cannot_write(path, error) from error
    if holds:
        what = "already holds a run" if "config.json" in holds else "not empty"
        raise RunFolderError(what, where=path, found=_listing(holds), fix="name another --out; nothing was overwritten")
    return RunFolder(path)


def open_run_folder(path: str) -> RunFolder:
    """Return a run's folder that exists.

    Raises:
        RunFolderError: there is none, or it holds no run.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise RunFolderError("no such run folder", where=folder, fix=_runs_near(folder))
    if not (folder / "config.json").is_file():
        raise RunFolderError("not a run folder", where=folder, expected="config.json in it", fix=_runs_near(folder))
    return RunFolder(folder)


def cannot_write(path: Path, error: OSError) -> FlaxcnnError:
    """Return the error for a file or folder that the system would not write, with what to do about it."""
    advice = _ADVICE.get(error.errno or 0, "name another folder with --out")
    return RunFolderError(f"cannot write: {error.strerror or error}", where=path, fix=advice)


def _next_free(root: Path, config_name: str) -> Path:
    try:
        root.mkdir(parents=True, exist_ok=True)
        taken = [re.fullmatch(rf"{re.escape(config_name)}-(\d+)", each.name) for each in root.iterdir()]
        number = max((int(match[1]) for match in taken if match), default=0) + 1
        while True:
            path = root / f"{config_name}-{number:03d}"
            try:
                path.mkdir()
                return path
            except FileExistsError:  # another run took it meanwhile
                number += 1
    except OSError as error:
        raise cannot_write(root, error) from error


def _listing(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _runs_near(folder: Path) -> str:
    parent = folder.parent
    runs = sorted(each.name for each in parent.iterdir() if (each / "config.json").is_file()) if parent.is_dir() else []
    return f"runs in {parent}: {_listing(runs[::-1])}" if runs else "train one with: flaxcnn train"
