"""Names of image files in a folder that is written: their own, as far as the format and the file system can have them.

A name comes from a stranger's file. What is returned is a path below the folder of the images: without `..`, without
what no text file can hold, and no two of them the same.
"""

import posixpath
import re
from collections.abc import Sequence
from typing import NamedTuple

from flaxcnn.data.photographs.decoding import EXTENSIONS

_ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "GIF": ".gif", "TIFF": ".tif", "WEBP": ".webp", "PPM": ".ppm"}
_UNWRITABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]"
)  # controls, and bytes that are no UTF-8


class Rules(NamedTuple):
    """What a format asks of its images' names.

    Attributes:
        by_stem: an image and its annotation have one name without the extension, which says what is an image.
        in_one_folder: the images of all splits are in one folder.
        no_space: lists divide names by white space.
    """

    by_stem: bool = False
    in_one_folder: bool = False
    no_space: bool = False


class Named(NamedTuple):
    """An image file that needs a name.

    Attributes:
        path: of the file as it is, with forward slashes.
        split: that it belongs to; "" for none.
        format: what it holds, such as "JPEG".
    """

    path: str
    split: str
    format: str


def names_of(files: Sequence[Named], rules: Rules) -> list[str]:
    """Return a name for each file, with forward slashes, below the folder of its split's images, or of all images.

    The folder that all files of a split lie in is left out, and so is that of all splits where the format has one
    folder for them, unless two files would have one name.

    >>> names_of([Named("train/a b.jpg", "train", "JPEG"), Named("val/c.jpg", "validation", "JPEG")], Rules())
    ['a b.jpg', 'c.jpg']
    """
    above = {split: _common([file.path for file in files if file.split == split]) for split in {f.split for f in files}}
    short = [file.path[len(above[file.split]) :] for file in files]
    if rules.in_one_folder and len({_key(name, rules) for name in short}) < len(files):
        short = [f"{file.split}/{name}" if file.split else name for file, name in zip(files, short, strict=True)]
    taken: set[tuple[str, str]] = set()
    found = []
    for file, name in zip(files, short, strict=True):
        plain = _sanitised(name, file.format, rules)
        folder = "" if rules.in_one_folder else file.split
        stem, ending = posixpath.splitext(plain)
        unique, number = plain, 2
        while (folder, _key(unique, rules)) in taken:
            unique, number = f"{stem}_{number}{ending}", number + 1
        taken.add((folder, _key(unique, rules)))
        found.append(unique)
    return found


def _common(paths: Sequence[str]) -> str:
    """Return the folder that all paths lie in, with a slash at its end; "" for none.

    >>> _common(["a/b/1.jpg", "a/b/c/2.jpg"]), _common(["a/1.jpg", "2.jpg"])
    ('a/b/', '')
    """
    folders = [path.split("/")[:-1] for path in paths]
    least, most = min(folders), max(folders)  # what these two share, all between them share
    count = next((n for n, (one, other) in enumerate(zip(least, most, strict=False)) if one != other), len(least))
    return "".join(f"{folder}/" for folder in least[:count])


def _key(name: str, rules: Rules) -> str:
    return posixpath.splitext(name)[0] if rules.by_stem else name


def _sanitised(name: str, kind: str, rules: Rules) -> str:
    """Return a name as the format can have it; the same where it can."""
    parts = [_UNWRITABLE.sub("_", part) for part in name.split("/") if part not in ("", ".", "..")]
    if rules.no_space:
        parts = [re.sub(r"\s", "_", part) for part in parts]
    if rules.by_stem:  # images are looked for by their extension, and not in hidden folders
        parts[:-1] = [f"_{part[1:]}" if part.startswith(".") else part for part in parts[:-1]]
        if posixpath.splitext(parts[-1])[1].lower() not in EXTENSIONS:
            parts[-1] += _ENDINGS[kind]
    return "/".join(parts)
