"""Find odd image files by their headers and their last bytes: their pixels are not looked at."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from flaxcnn.data.image_files import FileInfo, ImageFiles
from flaxcnn.data.photographs.decoding import EXTENSIONS
from flaxcnn.errors import DataError
from flaxcnn.files import open_regular

Odd = tuple[str, str, list[tuple[str, str]]]
"""A kind of odd file, in the plural; what to do; and each such file's path with what is odd."""

_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_TAIL = 1 << 16  # bytes at the end of a file in which its end is looked for: some cameras append their own data
_FEW = 8  # pixels of a side, or a quarter of what is usual
_EXTREME = 3.0  # aspect ratio that is not usual, and twice what is


def odd_files(files: ImageFiles) -> Iterator[Odd]:
    """Yield each kind of odd file that there is.

    A file is truncated where a JPEG or PNG file has no end marker (decoders fill in what is missing). It is small where
    its shorter side has less than 8 pixels, or less than a quarter of the files' median. Its shape is extreme where one
    side is 3 times the other, and its ratio twice the files' median ratio.
    """
    headers = files.headers
    if not headers:
        return
    shorter = {path: min(info.height, info.width) for path, info in headers.items()}
    ratios = {path: max(info.height, info.width) / max(1, shorter[path]) for path, info in headers.items()}
    least = max(_FEW, float(np.median(list(shorter.values()))) / 4)
    most = max(_EXTREME, 2 * float(np.median(list(ratios.values()))))
    truncated = [
        (path, f"no end of a {info.format} file") for path, info in headers.items() if _is_cut(files.root, path, info)
    ]
    renamed = [
        (path, f"a {info.format} file")
        for path, info in headers.items()
        if EXTENSIONS.get(os.path.splitext(path)[1].lower(), info.format) != info.format
    ]
    small = [(path, _size(headers[path])) for path in headers if shorter[path] < least]
    extreme = [(path, _size(headers[path])) for path in headers if ratios[path] > most]
    for what, advice, found in (
        ("truncated files", "A part of the picture may be missing. Copy them again from where they came.", truncated),
        (
            "files of another format than their extension says",
            "They are decoded by their content. Rename them.",
            renamed,
        ),
        ("very small images", "They are enlarged, and have little detail: thumbnails or failed crops.", small),
        (
            "images of extreme shapes",
            "Cropping drops most of them, stretching distorts them: see --data.fit.",
            extreme,
        ),
    ):
        if found:
            yield what, advice, sorted(found)


def _size(info: FileInfo) -> str:
    return f"{info.width}×{info.height}"


def _is_cut(root: Path, path: str, info: FileInfo) -> bool:
    """Return whether a file lacks the end that its format has."""
    end = _ENDS.get(info.format)
    if end is None:
        return False
    try:
        with open_regular(root / path, within=root, error=DataError) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _TAIL))
            return end not in file.read(_TAIL)
    except (DataError, FileNotFoundError):  # gone since it was scanned; who reads its pixels says so
        return False
