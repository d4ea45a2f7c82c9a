"""A run's folder: create it, write files atomically, read them back. docs/runs.md describes the files."""

import glob
import json
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from flaxcnn.errors import RunFolderError
from flaxcnn.files import cannot_write, open_own, read_json, read_json_lines, sync, sync_open, user_path
from flaxcnn.pictures import PictureError, drawn
from flaxcnn.runs.folder.kinds import Kind, kind_of, use_of

_JSON_BYTES = 4 << 20  # of a JSON file, at most: 1,000 classes' weights, or the sessions of years, take less than 1 MiB
CRASH = "crash"  # in a run's folder: of the step at which it diverged
PARTIAL = "partial"  # in the name of a file that is not whole yet


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
        # The ending stays last, since matplotlib and NumPy go by it; the process's name, since several may write.
        temporary = path.with_name(f".{path.stem}.{PARTIAL}-{socket.gethostname()}-{os.getpid()}{path.suffix}")
        _remove_leftovers(path)
        try:
            try:
                write(temporary)
                sync(temporary)
                temporary.replace(path)
                sync(self.path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise cannot_write(path, error) from error

    def write_picture(self, name: str, draw: Callable[[BinaryIO], None], warn: Callable[[str], None]) -> bool:
        """Write a picture whole, and return True; one that cannot be drawn costs a warning. Raises as `write` does."""
        try:
            picture = drawn(name, draw)
        except PictureError as error:
            warn(f"warning: {error}")
            return False
        self.write(name, lambda path: _write_bytes(path, picture))
        return True

    def write_text(self, name: str, text: str) -> None:
        """Write a text file whole; raises as `write` does."""
        self.write(name, lambda path: _write_text(path, text))

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file whole; raises as `write` does."""
        self.write_text(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def append_row(self, name: str, row: Mapping[str, Any]) -> None:
        """Append one line of JSON and bring it to the disk; raises as `write` does."""
        path = self.path / name
        try:
            with open_own(path) as file:
                file.write(as_line(row).encode())
                file.flush()
                sync_open(file.fileno())
        except OSError as error:
            raise cannot_write(path, error) from error

    def read_json(self, name: str, kind: Any = dict[str, Any]) -> Any:
        """Read a JSON file.

        Args:
            name: the file's.
            kind: what it has to hold, as `flaxcnn.files.parse_json` takes it.

        Raises:
            RunFolderError: it is missing, cannot be read, is damaged or holds something else.
        """
        path = self.path / name
        try:
            return read_json(path, kind, most=_JSON_BYTES)
        except FileNotFoundError as error:
            raise RunFolderError("file missing from this run", where=path, fix="name a run that ended") from error

    def write_rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a file whole that `append_row` goes on with; raises as `write` does."""
        self.write_text(name, "".join(map(as_line, rows)))

    def read_rows(self, name: str, count: int, kind: Any = dict[str, Any]) -> list[Any]:
        """Read the first `count` lines of a file that `append_row` wrote; what follows may be half a line.

        Args:
            name: the file's.
            count: how many.
            kind: of each line's value, as for `read_json`.

        Raises:
            RunFolderError: the file is missing, has fewer lines, or one of them is damaged or holds something else.
        """
        path = self.path / name
        try:
            rows = read_json_lines(path, count, kind)
        except FileNotFoundError as error:
            raise RunFolderError("file missing from this run", where=path) from error
        if len(rows) < count:
            raise RunFolderError("rows are missing", where=path, expected=f"{count} whole lines", found=len(rows))
        return rows


def as_line(row: Mapping[str, Any]) -> str:
    """Return a row as a line of JSON, its line end included."""
    return json.dumps(row, allow_nan=False) + "\n"


def _remove_leftovers(path: Path) -> None:
    """Remove what processes of this machine that were killed left of a file, as far as possible."""
    start = f".{path.stem}.{PARTIAL}-{socket.gethostname()}-"
    for each in path.parent.glob(f"{glob.escape(start)}*{glob.escape(path.suffix)}"):
        pid = each.stem.removeprefix(start)
        try:
            os.kill(int(pid), 0)
        except (ValueError, OverflowError, ProcessLookupError):
            with suppress(OSError):  # no file, or one that may not be deleted
                each.unlink()
        except OSError:  # another user's, and alive
            continue


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def make_run_folder(out: str | None, config_name: str, root: Path = Path("runs")) -> RunFolder:
    """Make the folder of a new run, or return that of a run to go on with.

    Args:
        out: the folder that the user asked for; None for the next free `runs/CONFIG-NNN`.
        config_name: the config's name, for that.
        root: where numbered runs stand.

    Raises:
        RunFolderError: the folder holds something that is not a run, or it cannot be made.
    """
    if out is None:
        return RunFolder(_next_free(root, config_name))
    path = user_path(out, "--out")
    try:
        path.mkdir(parents=True, exist_ok=True)
        holds = sorted(each.name for each in path.iterdir())
    except (FileExistsError, NotADirectoryError) as error:
        raise RunFolderError("not a folder", where=path, expected="a folder", fix="name another --out") from error
    except OSError as error:
        raise cannot_write(path, error) from error
    kind = kind_of(path)
    if kind not in (None, Kind.RUN):
        raise RunFolderError(f"holds {kind}", where=path, expected="a run or nothing", fix="name another --out")
    if holds and kind is None:
        raise RunFolderError("holds files but no run", where=path, found=_listing(holds), fix="name another --out")
    return RunFolder(path)


def open_run_folder(path: str) -> RunFolder:
    """Return a run's folder that exists.

    Raises:
        RunFolderError: there is none, or it holds no run.
    """
    folder = _existing(path)
    kind = kind_of(folder)
    if kind is Kind.RUN:
        return RunFolder(folder)
    if kind is None:
        fix, wanted = _runs_near(folder), "a folder that flaxcnn train made"
        raise RunFolderError("not a run folder", where=folder, expected=wanted, fix=fix)
    raise RunFolderError(f"the folder of {kind}, not of a run", where=folder, fix=use_of(kind, folder))


def open_crash_folder(path: str) -> RunFolder:
    """Return the folder that a diverged run left.

    Raises:
        RunFolderError: there is none.
    """
    folder = _existing(path)
    kind, what = kind_of(folder), "not a crash folder"
    if kind is Kind.CRASH:
        return RunFolder(folder)
    if kind is Kind.RUN and kind_of(folder / CRASH) is Kind.CRASH:
        what, fix = "the folder of a run, not of its crash", use_of(Kind.CRASH, folder / CRASH)
    elif kind is Kind.RUN:
        what, fix = "this run left no crash: no step of it diverged", ""
    elif kind is None:
        fix = f"name RUN/{CRASH}, which a diverged run leaves"
    else:
        what, fix = f"the folder of {kind}, not of a crash", use_of(kind, folder)
    raise RunFolderError(what, where=folder, fix=fix)


def _existing(path: str) -> Path:
    folder = user_path(path, "the folder")
    if not folder.is_dir():
        raise RunFolderError(
            "no such run folder", where=folder, found="a file" if folder.exists() else None, fix=_runs_near(folder)
        )
    return folder


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
    try:
        runs = sorted(each.name for each in folder.parent.iterdir() if kind_of(each) is Kind.RUN)
    except OSError:  # there is no such folder, or it may not be listed
        runs = []
    return f"runs in {folder.parent}: {_listing(runs[::-1])}" if runs else "train one with: flaxcnn train"
