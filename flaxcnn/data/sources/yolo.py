"""`yolo:DATA.yaml` or `yolo:DIR`: boxes in YOLO's format (https://docs.ultralytics.com/datasets/detect/).

DATA.yaml           names of the classes; train, val and test: folders of images, or lists of them, below `path`
images/train/1.jpg  an image
labels/train/1.txt  its objects, a line each: class cx cy w h, in fractions of the image; or class x y x y …, a polygon

An image without a file of labels has no objects.
"""

import math
import os
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from flaxcnn.data.dataset import Dataset
from flaxcnn.data.options import Request
from flaxcnn.data.photographs.decoding import EXTENSIONS, Area
from flaxcnn.data.photographs.objects import FRACTIONS, Annotated, Object
from flaxcnn.data.photographs.scanning import fault_of
from flaxcnn.data.sources.annotated import USES as _USES
from flaxcnn.data.sources.annotated import AnnotatedImage, Annotations, check_classes, missing, prepare_annotated
from flaxcnn.data.sources.box_units import refuse_corners
from flaxcnn.data.sources.folder import walk
from flaxcnn.errors import DataError
from flaxcnn.files import checked, read_text, user_path

USES = _USES | {"dir"}

_MOST_YAML = 1 << 18  # bytes; 10,000 names have some 200 KiB
_MOST_LABELS = 1 << 24  # bytes of one file of labels
_MOST_LIST = 1 << 28  # bytes of a list of images
_BEYOND = 0.01  # of the image, by which rounded coordinates may reach out of it, as Ultralytics allows
_EXPECTED = "a data.yaml, or a folder that has one"


def load(request: Request) -> Dataset:
    """Return the data set of a data.yaml; raises as `read_yolo` and `prepare_annotated`."""
    return prepare_annotated(annotations(request), request)


def annotations(request: Request) -> Annotations:
    """Return what the files of a request say; raises as `read_yolo`."""
    folder = request.options.dir
    root = None if folder is None else user_path(os.fspath(folder), "data.dir")
    return read_yolo(user_path(request.name, "data.source"), root)


def read_yolo(path: Path, folder: Path | None = None) -> Annotations:
    """Return what is annotated in the images that a data.yaml names.

    Args:
        path: the file, or its folder.
        folder: that all images lie in, and that the file's paths begin in; None for the file's own.

    Raises:
        DataError: nothing of that form, a damaged data.yaml, boxes that are corners, or images that are not there or
            lie elsewhere.
    """
    file = _yaml_of(path)
    root = file.parent if folder is None else folder
    told = _read_yaml(file)
    classes = check_classes(_names(told.get("names"), file), f"{file}, names")
    _check_count(told.get("nc"), classes, file)
    images: list[AnnotatedImage] = []
    bad: dict[str, str] = {}
    without = 0
    for key, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        for named in _paths(told.get(key), f"{file}, {key}"):
            place = _find(root, _text(told, "path"), named, f"{file}, {key}")
            found = list(_images(root, place))
            bad |= _alone(root, place, found)
            for image in found:
                try:
                    lines = read_text(root / labels_of(image), _MOST_LABELS, within=root, error=DataError)
                except FileNotFoundError:
                    without += 1
                    lines = ""
                except DataError as error:
                    bad[image] = fault_of(error)
                    continue
                objects = [
                    _object(line, len(classes), number)
                    for number, line in enumerate(lines.splitlines(), start=1)
                    if line.strip()
                ]
                if faults := [one for one in objects if isinstance(one, str)]:
                    bad[image] = faults[0]
                sound = tuple(one for one in objects if isinstance(one, Object))
                images.append(AnnotatedImage(image, Annotated(sound, FRACTIONS), split))
    _check_boxes(images, file)
    notes = (f"{without:,} images have no file of labels, and so no objects",) if without else ()
    return Annotations(root, images, classes, bad, notes)


def _yaml_of(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise missing(path, _EXPECTED)
    try:
        found = sorted(each for each in path.iterdir() if each.suffix in (".yaml", ".yml"))
    except OSError as error:
        found_text = (error.strerror or str(error)).lower()
        raise DataError("cannot read the folder", where=path, expected=_EXPECTED, found=found_text) from error
    called = [each for each in found if each.stem == "data"] or found
    if len(called) != 1:
        listed = ", ".join(each.name for each in called[:3]) or "none"
        raise DataError("no single data.yaml", where=path, expected=_EXPECTED, found=listed, fix="name the file")
    return called[0]


class _Loader(yaml.BaseLoader):  # type: ignore[misc]  # which has no types
    """Reads YAML whose scalars all are text: a class may be called `no`. Aliases, which can multiply, are refused."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


def _read_yaml(path: Path) -> dict[str, Any]:
    text = read_text(path, _MOST_YAML, error=DataError)
    try:
        found = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise DataError("damaged", where=path, expected="YAML without aliases", found=reason) from error
    return checked(found, dict[str, Any], where=path, error=DataError)


def _names(found: Any, file: Path) -> list[str]:
    """Return the classes' names: a list, or a map of their numbers."""
    listed = [found.get(str(number)) for number in range(len(found))] if isinstance(found, dict) else found
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    if not isinstance(listed, list) or len(names) < len(listed):
        expected = "names: a list, or a map of all numbers from 0"
        raise DataError("no names of the classes", where=file, expected=expected, found=str(found))
    return names


def _paths(found: Any, where: str) -> list[str]:
    """Return the paths that stand at a split: none, one or a list."""
    paths = found if isinstance(found, list) else [found]
    if not all(path is None or isinstance(path, str) for path in paths):
        raise DataError("no path", where=where, expected="a path, or a list of these", found=str(found))
    return [path for path in paths if path not in (None, "", "~", "null")]


def _text(told: dict[str, Any], key: str) -> str:
    found = told.get(key)
    return found if isinstance(found, str) else ""


def _find(root: Path, base: str, named: str, where: str) -> Path:
    """Return the file or folder that a path names: below `path`, or below the root, where that is elsewhere.

    Roboflow writes `../train/images` for train/images; Ultralytics understands it so, too.

    Raises:
        DataError: it is not there, or lies outside of the root.
    """
    outside = None
    real_root = os.path.realpath(root)
    for start in (root / base, root):
        for path in (named, named.removeprefix("../")):
            if "\0" in f"{start}{path}" or not os.path.exists(start / path):
                continue
            real = Path(os.path.realpath(start / path))
            if real.is_relative_to(real_root):
                return real
            outside = outside or real
    if outside is None:
        raise DataError("no such file or folder", where=where, expected=f"a path below {root}", found=named)
    raise DataError(
        "lies outside of the folder", where=where, expected=f"a path below {root}", found=outside,
        fix="give the folder that has all of them as --data.dir",
    )  # fmt: skip


def _images(root: Path, place: Path) -> Iterator[str]:
    """Yield the images of a folder, or of a list, each by its path below the root."""
    real_root = os.path.realpath(root)
    if place.is_dir():
        for path, _ in walk(place):
            if os.path.splitext(path)[1].lower() in EXTENSIONS:
                yield os.path.relpath(place / path, real_root).replace(os.sep, "/")
        return
    for line in filter(None, map(str.strip, read_text(place, _MOST_LIST, error=DataError).splitlines())):
        # A line that begins with ./ is relative to the list's folder, others to the root.
        start = place.parent if line.startswith("./") else Path(real_root)
        yield os.path.relpath(os.path.normpath(start / line), real_root).replace(os.sep, "/")


def labels_of(image: str) -> str:
    """Return where an image's labels are: in labels/ instead of the last images/, or else beside it.

    >>> labels_of("sets/images/train/1.jpg")
    'sets/labels/train/1.txt'
    """
    above, between, below = f"/{os.path.splitext(image)[0]}".rpartition("/images/")
    return f"{above}{between.replace('images', 'labels')}{below}".lstrip("/") + ".txt"


def _alone(root: Path, place: Path, images: Sequence[str]) -> dict[str, str]:
    """Return the files of labels beside a folder of images that belong to none of them, with the reason of each.

    A list names some images of a folder; the labels of others are no fault. So is a text that lies among images, and
    classes.txt, which LabelImg writes.
    """
    if not place.is_dir():
        return {}
    above = os.path.relpath(place, os.path.realpath(root)).replace(os.sep, "/")
    folder = posixpath.dirname(labels_of(f"{above}/image"))
    if folder == above or not (root / folder).is_dir():
        return {}
    expected = {labels_of(image) for image in images}
    files = [f"{folder}/{path}" for path, links in walk(root / folder) if path.endswith(".txt") and not links]
    named = [path for path in files if posixpath.basename(path) != "classes.txt"]
    return {path: "no image of this name" for path in named if path not in expected and os.path.getsize(root / path)}


def _check_count(count: Any, classes: Sequence[str], file: Path) -> None:
    """Raise DataError where `nc`, the number of classes, is another than that of the names."""
    if count is not None and count != str(len(classes)):
        expected = f"nc: {len(classes)}, as there are names"
        raise DataError("classes that differ", where=file, expected=expected, found=f"nc: {count}")


def _check_boxes(images: Sequence[AnnotatedImage], file: Path) -> None:
    """Refuse boxes that are corners in fractions of the image."""
    listed = [(image.path, one.box) for image in images for one in image.annotated.objects]
    sides_K4 = np.asarray([box for _, box in listed], np.float64).reshape(-1, 4)[:, [1, 0, 3, 2]]
    given_K4 = np.concatenate([(sides_K4[:, :2] + sides_K4[:, 2:]) / 2, sides_K4[:, 2:] - sides_K4[:, :2]], axis=1)

    def called(place: int) -> str:
        return f"{' '.join(f'{side:.6g}' for side in given_K4[place])} for {listed[place][0]}"

    ones_K2 = np.ones((len(listed), 2))
    refuse_corners(given_K4, sides_K4, ones_K2, called, file, "class cx cy w h, cx and cy of the box's middle")


def _object(text: str, classes: int, place: int) -> Object | str:
    """Return the object of a line, or what is wrong with it."""
    line = f"line {place}: {text[:80]}"
    try:
        number, *sides = map(float, text.split())
    except ValueError:
        return f"no numbers ({line})"
    if number not in range(classes):
        return f"no class of the names ({line})"
    if len(sides) == 4:
        x, y, width, height = sides
        box = Area(y - height / 2, x - width / 2, y + height / 2, x + width / 2)
    elif len(sides) >= 6 and len(sides) % 2 == 0:
        box = Area(min(sides[1::2]), min(sides[::2]), max(sides[1::2]), max(sides[::2]))
    else:
        return f"neither class cx cy w h nor a polygon ({line})"
    if not all(math.isfinite(side) and -_BEYOND <= side <= 1 + _BEYOND for side in sides):
        pixels = ", but it seems in pixels" if all(map(math.isfinite, sides)) and max(sides) > 2 else ""
        return f"not in fractions of the image{pixels} ({line})"
    return Object(int(number), box)
