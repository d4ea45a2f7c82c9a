"""Image files that are named, or lie in folders that are named: found, read and decoded in batches."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data.image_files import FileInfo
from flaxcnn.data.photographs.decoding import EXTENSIONS, MAX_BYTES, inspect
from flaxcnn.data.sources.folder import walk
from flaxcnn.errors import DataError, FlaxcnnError
from flaxcnn.files import read_bytes, user_path

STDIN = "-"
"""The word for an image on standard input."""

Decode = Callable[[bytes, str], npt.NDArray[np.uint8]]
"""Returns a file's pixels, uint8 (H, W, C), by its bytes and what to call it in an error."""


class Found(NamedTuple):
    """An image file.

    Attributes:
        name: what the user called it, or its folder and its path below it.
        path: of the file; None for standard input.
        within: the folder that it may not lead out of, by a link; None where the user named the file itself.
    """

    name: str
    path: Path | None
    within: Path | None = None


class Opened(NamedTuple):
    """An image, or why there is none.

    Attributes:
        name: as `Found` has it.
        pixels: uint8 (H, W, C); None where it cannot be used.
        fault: why, a line; "" for an image.
        info: what its header says, where that was asked for.
        again: reads its file again, which may have changed; None for one that cannot be used.
    """

    name: str
    pixels: npt.NDArray[np.uint8] | None
    fault: str = ""
    info: FileInfo | None = None
    again: Callable[[], bytes] | None = None


def find_images(words: Sequence[str]) -> list[Found]:
    """Return the images that a user named, in that order; those of a folder in the order of their paths.

    A folder's files are those whose ending promises an image, at any depth; links to folders are not followed, and
    those to files have to lead to one within it.

    Raises:
        DataError: a folder has no images, or cannot be read.
        ConfigError: a word is no path.
    """
    found = []
    for word in words:
        if word == STDIN:
            found.append(Found(STDIN, None))
            continue
        path = user_path(word, "an image")
        if not path.is_dir():
            found.append(Found(word, path))
            continue
        inside = [name for name, links in walk(path) if not links and _is_image(name)]
        if not inside:
            endings = ", ".join(sorted(EXTENSIONS))
            raise DataError("no images in this folder", where=path, expected=f"files that end with {endings}")
        found += [Found(os.path.join(word, name), path / name, path) for name in inside]
    return found


def _is_image(name: str) -> bool:
    last = name.rpartition("/")[2]
    return not last.startswith(".") and os.path.splitext(last)[1].lower() in EXTENSIONS


def opened(
    found: Sequence[Found], decode: Decode, size: int, stdin: BinaryIO, *, inspects: bool = False
) -> Iterator[list[Opened]]:
    """Yield images in batches, in their order; two threads read and decode the next batch meanwhile.

    Args:
        found: the images.
        decode: decodes each.
        size: of a batch.
        stdin: of the process.
        inspects: whether to say what the headers of the files say.
    """

    def open_one(each: Found) -> Opened:
        try:
            encoded = _read(each, stdin)
            info = inspect(encoded, each.name) if inspects else None
            again = partial(_read, each, stdin) if each.path is not None else lambda: encoded
            return Opened(each.name, decode(encoded, each.name), info=info, again=again)
        except FlaxcnnError as error:
            return Opened(each.name, None, str(error).removeprefix(f"{each.name}: "))

    with ThreadPoolExecutor(2) as threads:
        started = [threads.submit(open_one, each) for each in found[:size]]
        for first in range(size, len(found) + size, size):
            following = [threads.submit(open_one, each) for each in found[first : first + size]]
            yield [each.result() for each in started]
            started = following


def _read(each: Found, stdin: BinaryIO) -> bytes:
    if each.path is not None:
        try:
            return read_bytes(each.path, MAX_BYTES, within=each.within, error=DataError)
        except FileNotFoundError as error:
            raise DataError("no such file", where=each.name) from error
    encoded = stdin.read(MAX_BYTES + 1)
    if not encoded:
        raise DataError("standard input is empty", where=each.name)
    if len(encoded) > MAX_BYTES:
        raise DataError("file too large", where=each.name, expected=f"at most {MAX_BYTES:,} bytes", found="more")
    return encoded
