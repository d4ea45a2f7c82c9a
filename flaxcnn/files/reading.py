"""Safe readers of untrusted files: regular files only, up to a size limit, with known values.

A run's folder, a data set or a study may come from a stranger. Each reader takes the error class to raise, so that
every fault is one line in the caller's terms. A missing file raises FileNotFoundError, because the fix depends on the
caller.
"""

import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from flaxcnn.errors import FlaxcnnError, RunFolderError
from flaxcnn.files.schema import MismatchError, conform

T = TypeVar("T")
Fault = Callable[..., FlaxcnnError]
"""A kind of error, called as `FlaxcnnError` is."""

JSON_BYTES = 16 << 20
"""What a JSON file takes at most unless its reader says otherwise: 16 MiB."""
JSON_DEPTH = 24
"""So many lists and objects within each other at most; what the library writes has six."""

# Of a pair of surrogates, one; those by which Python spells the bytes of a file's name aside.
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_LINE_BYTES = 1 << 16  # of a line of JSON; a logged row takes some 300
_MOST_INTEGER = 2**64  # a seed, a size or a count; what is larger fits no array and no float


@contextmanager
def open_regular(path: Path, *, within: Path | None = None, error: Fault = RunFolderError) -> Iterator[BinaryIO]:
    """Open a regular file to read its bytes.

    A pipe, a socket or a device is refused and not waited for.

    Args:
        path: the file; links are followed.
        within: a folder that the file has to lie in once all links are followed; None for anywhere.
        error: what to raise.

    Raises:
        FileNotFoundError: there is no such file.
        FlaxcnnError: of the kind `error`: it is no regular file, lies outside, or cannot be opened or read.
    """
    if "\0" in str(path):
        raise error("a path cannot hold a null byte", where=path)
    if within is not None and not lies_in(os.path.realpath(path), os.path.realpath(within)):
        raise error("lies outside", where=path, expected=f"a file in {within}", found=os.path.realpath(path))
    try:
        _require_regular(os.stat(path), path, error)  # first, since opening some devices already does something
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            _require_regular(os.fstat(descriptor), path, error)
            yield file
    except FileNotFoundError:
        raise
    except OSError as cause:
        raise error(f"cannot read: {cause.strerror or cause}", where=path) from cause


def read_bytes(path: Path, most: int, *, within: Path | None = None, error: Fault = RunFolderError) -> bytes:
    """Return a regular file's bytes; raises as `open_regular`, and where there are more than `most`."""
    pieces: list[bytes] = []
    room = most + 1
    with open_regular(path, within=within, error=error) as file:
        descriptor = file.fileno()
        # Of the file's size, since a buffer of the most that it may take costs more time than the reading.
        size = os.fstat(descriptor).st_size + 1
        while room and (piece := os.read(descriptor, min(room, size))):
            pieces.append(piece)
            room -= len(piece)
    if not room:
        raise error("too large", where=path, expected=f"at most {most:,} bytes", found="more")
    return b"".join(pieces)


def lies_in(path: str, folder: str) -> bool:
    """Return whether a path is a folder's or below it; both absolute, with all links followed."""
    return path == folder or path.startswith(os.path.join(folder, ""))


def read_json_lines(path: Path, count: int, kind: Any = dict[str, Any], *, error: Fault = RunFolderError) -> list[Any]:
    """Return the values of a file's first lines of JSON.

    Args:
        path: a regular file.
        count: how many lines at most; what follows may be half a line, and is not looked at.
        kind: of each, as for `parse_json`.
        error: what to raise.

    Returns:
        A value for each whole line; fewer than `count` where there are fewer.

    Raises:
        FileNotFoundError: there is no such file.
        FlaxcnnError: of the kind `error`: a line is damaged or too long, or the file cannot be read.
    """
    values: list[Any] = []
    with open_regular(path, error=error) as file:
        while len(values) < count and (line := file.readline(_LINE_BYTES)):
            where = f"{path}, line {len(values) + 1}"
            if not line.endswith(b"\n"):
                if len(line) == _LINE_BYTES:
                    raise error("line too long", where=where, expected=f"at most {_LINE_BYTES:,} bytes")
                break
            values.append(parse_json(_decoded(line, where, error), kind, where=where, error=error))
    return values


def read_text(path: Path, most: int, *, within: Path | None = None, error: Fault = RunFolderError) -> str:
    """Return a regular file's text in UTF-8; raises as `read_bytes`, and where it is none."""
    return _decoded(read_bytes(path, most, within=within, error=error), path, error)


def read_json(
    path: Path,
    kind: Any = dict[str, Any],
    *,
    most: int = JSON_BYTES,
    within: Path | None = None,
    error: Fault = RunFolderError,
) -> Any:
    """Return what a JSON file holds, as `parse_json` does; raises as it and as `read_text`."""
    return parse_json(read_text(path, most, within=within, error=error), kind, where=path, error=error)


def parse_json(text: str, kind: Any = dict[str, Any], *, where: object, error: Fault = RunFolderError) -> Any:
    """Return the value that a JSON text stands for.

    Args:
        text: strict JSON: finite numbers, integers of 64 bits, and lists and objects nested `JSON_DEPTH` deep at most.
        kind: what it has to be, as `flaxcnn.files.schema.conform` takes it.
        where: the file, for the error.
        error: what to raise.

    Raises:
        FlaxcnnError: of the kind `error`: it is something else.
    """
    try:
        value = json.loads(text, parse_int=_integer, parse_float=_finite, parse_constant=_no_constant)
    except RecursionError as cause:
        raise error("damaged: nested too deep", where=where, expected="JSON") from cause
    except ValueError as cause:
        raise error(f"damaged: {cause}", where=where, expected="JSON") from cause
    return checked(value, kind, where=where, error=error)


def checked(value: Any, kind: Any, *, where: object, error: Fault = RunFolderError) -> Any:
    """Return a value made of what JSON has, as a type; for one that another library parsed.

    Args:
        value: the value.
        kind: as for `parse_json`.
        where: it stands, for the error.
        error: what to raise.

    Raises:
        FlaxcnnError: of the kind `error`: it is of another type, nested deeper than `JSON_DEPTH`, or holds text that
            no encoding can write.
    """
    try:
        _require_sound(value)
    except ValueError as cause:
        raise error(f"damaged: {cause}", where=where, expected="JSON") from cause
    try:
        return conform(value, kind)
    except MismatchError as mismatch:
        place = f" at {mismatch.place}" if mismatch.place else ""
        raise error(f"damaged{place}", where=where, expected=mismatch.expected, found=mismatch.found) from mismatch


def _decoded(data: bytes, where: object, error: Fault) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise error(
            "not text in UTF-8", where=where, found=f"byte {data[cause.start]:#04x} at {cause.start}"
        ) from cause


def _require_regular(status: os.stat_result, path: Path, error: Fault) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        found = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise error("not a regular file", where=path, found=found)


def _require_sound(value: Any) -> None:
    """Raise ValueError where lists and objects are nested deeper than `JSON_DEPTH`, or text holds half a character."""
    level, depth = [value], 0
    while level:
        if depth > JSON_DEPTH:
            raise ValueError(f"nested deeper than {JSON_DEPTH}")
        if any(isinstance(each, str) and _HALF.search(each) for each in level):
            raise ValueError("text with half of a character")
        level = [
            below
            for each in level
            if isinstance(each, dict | list)
            for below in ((*each, *each.values()) if isinstance(each, dict) else each)
        ]
        depth += 1


def _integer(digits: str) -> int:
    if len(digits) > 21 or abs(int(digits)) > _MOST_INTEGER:
        raise ValueError("a whole number of more than 64 bits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number too large for a float")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")
