"""The manifest of a folder: the size and SHA-256 of every file in it, and the check that nothing of it changed."""

import hashlib
import json
from pathlib import Path
from typing import Any

from flaxcnn.errors import RunFolderError

NAME = "manifest.json"


class DamagedCheckpointError(RunFolderError):
    """A checkpoint that is not what was saved: its message names the file, and what is wrong with it."""


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


def check_manifest(folder: Path) -> None:
    """Check that every file that the manifest lists is there with the bytes that it had.

    A file that the manifest does not list is none of the checkpoint's and changes nothing.

    Raises:
        DamagedCheckpointError: at the first file that is missing, unreadable, or of another size or SHA-256.
    """
    files = read_json(folder / NAME).get("files")
    if not isinstance(files, dict) or not files:
        raise DamagedCheckpointError("damaged", where=folder / NAME, expected="a list of files")
    for name, written in files.items():
        if not isinstance(written, dict) or written.keys() != {"bytes", "sha256"}:
            raise DamagedCheckpointError("damaged", where=folder / NAME, expected=f"the size and SHA-256 of {name}")
        path = folder / name
        try:
            size = path.stat().st_size
            if size != written["bytes"]:
                what = "truncated" if size < written["bytes"] else "longer than it was"
                raise DamagedCheckpointError(what, where=path, expected=f"{written['bytes']} bytes", found=size)
            digest = _sha256(path)
        except FileNotFoundError as error:
            raise DamagedCheckpointError("file missing", where=path) from error
        except OSError as error:
            raise DamagedCheckpointError(f"cannot read: {error.strerror}", where=path) from error
        if digest != written["sha256"]:
            raise DamagedCheckpointError("SHA-256 changed", where=path, expected=written["sha256"], found=digest)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write an object as JSON; raises OSError."""
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read an object that `write_json` wrote.

    Raises:
        DamagedCheckpointError: the file is missing, cannot be read, or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DamagedCheckpointError("file missing", where=path) from error
    except OSError as error:
        raise DamagedCheckpointError(f"cannot read: {error.strerror}", where=path) from error
    except (ValueError, RecursionError) as error:
        raise DamagedCheckpointError(f"not JSON: {error}", where=path) from error
    if not isinstance(value, dict):
        raise DamagedCheckpointError("damaged", where=path, expected="a JSON object", found=type(value).__name__)
    return value


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
