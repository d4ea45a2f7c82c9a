"""The manifest of a folder: the size and SHA-256 of every file, and the check that no file changed.

A folder is untrusted, including its manifest. Only regular files in the folder are read, each up to the size in the
manifest, and all together up to the reader's limit.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from flaxcnn.errors import RunFolderError
from flaxcnn.files import open_regular, read_json

NAME = "manifest.json"

_MOST_BYTES = 2 << 20  # of a manifest: some 10,000 files; a process writes five


class DamagedCheckpointError(RunFolderError):
    """A checkpoint that is not what was saved: its message names the file, and what is wrong with it."""


class _Content(NamedTuple):
    bytes: int
    sha256: str


class _Manifest(NamedTuple):
    files: dict[str, _Content]


class ListedFiles:
    """The files that the manifest of a folder lists; no other file of it is ever opened.

    Args:
        folder: the folder.

    Raises:
        DamagedCheckpointError: the manifest is missing or damaged, or the folder is a link.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        if folder.is_symlink():
            raise DamagedCheckpointError("a link", where=folder, expected="a folder that this run wrote")
        self._files: Mapping[str, _Content] = read_object(folder / NAME, _Manifest, most=_MOST_BYTES).files
        for name, content in self._files.items():
            path = PurePosixPath(name)
            plain = name.isprintable() and str(path) == name and not path.is_absolute() and ".." not in path.parts
            if not plain or content.bytes < 0:
                raise DamagedCheckpointError("lists no file of its folder", where=folder / NAME, found=name[:100])

    def check(self, names: Iterable[str] | None = None, *, most: int) -> None:
        """Check that files have the bytes that they had.

        Args:
            names: which; None for all. One that is not listed is missing.
            most: bytes that they may have together.

        Raises:
            DamagedCheckpointError: at the first that is missing, unreadable, or of another size or SHA-256.
        """
        chosen = list(self._files if names is None else names)
        total = sum(self._content(name).bytes for name in chosen)
        if total > most:
            raise DamagedCheckpointError(
                "too large", where=self.folder, expected=f"at most {most:,} bytes", found=total
            )
        for name in chosen:
            expected, found = self._content(name).sha256, self._digest(name)
            if found != expected:
                raise DamagedCheckpointError(
                    "SHA-256 changed", where=self.folder / name, expected=expected[:64], found=found
                )

    def size(self, name: str) -> int:
        """Return the bytes that a file has as the manifest says; raises DamagedCheckpointError where it lists none."""
        return self._content(name).bytes

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Return a part of a file; raises DamagedCheckpointError where there is none."""
        if offset + length > self.size(name):
            raise DamagedCheckpointError("ends early", where=self.folder / name, expected=f"{offset + length} bytes")
        try:
            with open_regular(self.folder / name, within=self.folder, error=DamagedCheckpointError) as file:
                file.seek(offset)
                found = file.read(length)
        except FileNotFoundError as error:
            raise DamagedCheckpointError("file missing", where=self.folder / name) from error
        if len(found) < length:
            raise DamagedCheckpointError("ends early", where=self.folder / name, expected=f"{offset + length} bytes")
        return found

    def _content(self, name: str) -> _Content:
        try:
            return self._files[name]
        except KeyError:
            raise DamagedCheckpointError("file not in the manifest", where=self.folder / NAME, expected=name) from None

    def _digest(self, name: str) -> str:
        path, written = self.folder / name, self._files[name].bytes
        try:
            with open_regular(path, within=self.folder, error=DamagedCheckpointError) as file:
                size = file.seek(0, 2)
                if size != written:
                    what = "truncated" if size < written else "longer than it was"
                    raise DamagedCheckpointError(what, where=path, expected=f"{written} bytes", found=size)
                file.seek(0)
                return _sha256_of(file)
        except FileNotFoundError as error:
            raise DamagedCheckpointError("file missing", where=path) from error


def write_manifest(folder: Path) -> None:
    """Write `manifest.json` for every file that is in a folder.

    Raises:
        OSError: a file cannot be read, or the manifest not written.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in paths
    }
    write_json(folder / NAME, {"files": files})


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write an object as JSON; raises OSError."""
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_object(path: Path, kind: Any = dict[str, Any], **limits: int) -> Any:
    """Read an object that `write_json` wrote, as `flaxcnn.files.read_json` does, whose limits it takes.

    Raises:
        DamagedCheckpointError: the file is missing, cannot be read, or holds something else.
    """
    try:
        return read_json(path, kind, within=path.parent, error=DamagedCheckpointError, **limits)
    except FileNotFoundError as error:
        raise DamagedCheckpointError("file missing", where=path) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return _sha256_of(file)


def _sha256_of(file: BinaryIO) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
