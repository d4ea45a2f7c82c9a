"""`folder:DIR`: a folder of image files, with a sub-folder for each class.

DIR/ant/1.jpg                 the test split is drawn by the files' content
DIR/train/ant/1.jpg           with train/, test/ and val/ (or valid/, validation/), as far as they are there
DIR/insect/ant/1.jpg          --data.class_level 2: the classes are insect/ant and so on
"""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from flaxcnn.data.dataset import Dataset
from flaxcnn.data.options import DECODED, DIVIDED, Request
from flaxcnn.data.photographs.decoding import EXTENSIONS
from flaxcnn.data.photographs.listing import Listing
from flaxcnn.data.photographs.prepare import prepare
from flaxcnn.data.photographs.stamps import stamps_of
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.files import user_path

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
USES = DECODED | DIVIDED | {"class_level"}

_MOST_DEPTH = 32  # of folders within each other
_SHOWN = 3


def load(request: Request) -> Dataset:
    """Return the data set of a folder; raises as `list_folder` and `prepare`."""
    root = user_path(request.name, "data.source")
    return prepare(list_folder(root, request.source, request.options.class_level), request)


def list_folder(
    root: Path, source: str, class_level: int = 1, extensions: Collection[str] = EXTENSIONS, noun: str = "image"
) -> Listing:
    """Return the image files of a folder, their classes by the names of the folders that they lie in.

    Files are in the order of their paths. Files with other extensions, and those whose names begin with a dot, are
    ignored and counted. Links to folders are not followed; a link to a file must lead to one within the folder.

    Args:
        root: the folder.
        source: the data set's name.
        class_level: how many levels of folders, below the split's, make a class's name. Files less deep are an error,
            files deeper belong to the class that they lie in.
        extensions: of the files, in lower case.
        noun: what they are, such as "video" for files that hold several images.

    Raises:
        ConfigError: the level is out of range.
        DataError: the folder cannot be read, or holds no images in class folders.
    """
    if not 1 <= class_level <= _MOST_DEPTH:
        raise ConfigError("out of range", where="data.class_level", expected=f"1 to {_MOST_DEPTH}", found=class_level)
    ending = ".jpg" if noun == "image" else ".mp4"
    named, paths, ignored, bad = [], [], [], {}
    for path, links in walk(root):
        name = path.rpartition("/")[2]
        if links:
            bad[path] = "a link to a folder"
        elif name.startswith(".") or os.path.splitext(name)[1].lower() not in extensions:
            ignored.append(path)
        else:
            named.append(path)
    for path, stamp in zip(named, stamps_of(root, named), strict=True):
        if isinstance(stamp, str):
            bad[path] = stamp
        else:
            paths.append(path)
    if not paths and not bad:
        found = f"{len(ignored):,} other files, such as {ignored[0]}" if ignored else "an empty folder"
        expected = f"{noun} files in a folder for each class, such as ant/1{ending}"
        raise DataError(f"no {noun} files", where=root, expected=expected, found=found)
    first = Counter(path.partition("/")[0] for path in paths)
    divided = bool(first) and all(name.lower() in SPLIT_FOLDERS for name in first)
    splits = tuple(SPLIT_FOLDERS[path.partition("/")[0].lower()] for path in paths) if divided else None
    start = 1 if divided else 0
    classes, flat = [], []
    for path in paths:
        parts = path.split("/")[start:-1]
        classes.append("/".join(parts[:class_level]))
        if len(parts) < class_level:
            flat.append(path)
    if flat:
        what = "in no class's folder" if class_level == 1 else f"less deep than data.class_level {class_level}"
        fix = (
            "put them into a folder for each class, or name their classes in a table: csv:FILE"
            if class_level == 1
            else "choose a smaller data.class_level"
        )
        raise DataError(
            f"{len(flat):,} of {len(paths):,} {noun}s {what}",
            where=root,
            expected=f"CLASS/NAME{ending}" if not divided else f"SPLIT/CLASS/NAME{ending}",
            found=", ".join(flat[:_SHOWN]) + (", …" if len(flat) > _SHOWN else ""),
            fix=fix,
        )
    notes = []
    if ignored:
        such = ", ".join(ignored[:_SHOWN]) + (", …" if len(ignored) > _SHOWN else "")
        notes.append(f"{source}: ignored {len(ignored):,} other {'file' if len(ignored) == 1 else 'files'} ({such})")
    return Listing(source, root, tuple(paths), classes, None, None, splits, bad, tuple(notes))


def walk(root: Path) -> Iterator[tuple[str, bool]]:
    """Yield the path of each file below a folder, sorted, with forward slashes, and whether it is a link to a folder.

    Such a link is not followed: it might lead anywhere, and back to where it is.

    Raises:
        DataError: a folder cannot be read, or lies too deep.
    """
    pending = [""]
    found: list[tuple[str, bool]] = []
    while pending:
        below = pending.pop()
        if below.count("/") >= _MOST_DEPTH:
            raise DataError("folders nested too deep", where=root / below, expected=f"at most {_MOST_DEPTH} levels")
        try:
            with os.scandir(root / below) as entries:
                for entry in entries:
                    path = f"{below}/{entry.name}" if below else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if not entry.name.startswith("."):
                            pending.append(path)
                    else:
                        found.append((path, entry.is_symlink() and entry.is_dir()))
        except OSError as error:
            raise DataError(
                "cannot read the folder",
                where=root / below,
                expected="a folder of image files",
                found=(error.strerror or str(error)).lower(),
            ) from error
    yield from sorted(found)
