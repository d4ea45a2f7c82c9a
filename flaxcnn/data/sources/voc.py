"""`voc:DIR`: boxes in Pascal VOC's format (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/, development kit).

DIR/Annotations/2007_1.xml          one for each image
DIR/JPEGImages/2007_1.jpg           of the same name
DIR/labelmap.txt                    names of the classes in their order, `ant:::` a line, as CVAT writes it, or none
DIR/ImageSets/Main/train.txt        names of the training split, likewise val.txt and test.txt, where they are there;
                                    trainval.txt where there is no train.txt

A folder without Annotations/ is read as tools write it: each XML file beside its image, in train/, val/ and test/
where these are there. Coordinates are as the kit has them: the first pixel is 1, and the last one belongs to the box.
"""

import math
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from flaxcnn.data.dataset import Dataset
from flaxcnn.data.options import Request
from flaxcnn.data.photographs.decoding import EXTENSIONS, Area
from flaxcnn.data.photographs.objects import Annotated, Object
from flaxcnn.data.photographs.scanning import fault_of
from flaxcnn.data.sources.annotated import USES as USES
from flaxcnn.data.sources.annotated import AnnotatedImage, Annotations, check_classes, missing, prepare_annotated
from flaxcnn.data.sources.box_units import refuse_fractions
from flaxcnn.data.sources.folder import SPLIT_FOLDERS, walk
from flaxcnn.errors import DataError
from flaxcnn.files import read_text, user_path

_MOST_BYTES = 1 << 20  # of an XML file; of VOC's own the largest has 10 KiB
_MOST_DEPTH = 16  # of elements within each other; VOC has 5
_MOST_LIST = 1 << 26  # bytes of a list of names
_LABELMAP, _BACKGROUND = "labelmap.txt", "background"
_EXPECTED = "a folder with Annotations/ and JPEGImages/, or with XML files beside their images"


class _Told(NamedTuple):
    """What a file says: its objects, with the names of their classes, and the image's height and width."""

    objects: tuple[tuple[str, Area], ...]
    size: tuple[int, int] | None


def load(request: Request) -> Dataset:
    """Return the data set of a folder; raises as `read_voc` and `prepare_annotated`."""
    return prepare_annotated(annotations(request), request)


def annotations(request: Request) -> Annotations:
    """Return what the files of a request say; raises as `read_voc`."""
    return read_voc(user_path(request.name, "data.source"))


def read_voc(root: Path) -> Annotations:
    """Return what is annotated in a folder.

    Classes are those of labelmap.txt, or else the sorted names of all objects, difficult ones included.

    Raises:
        DataError: nothing of that form, a damaged labelmap.txt, boxes that are fractions, or an image in two splits.
    """
    if not root.is_dir():
        raise missing(root, _EXPECTED)
    kit = (root / "Annotations").is_dir()
    images: dict[str, str] = {}  # name -> path
    texts: dict[str, str] = {}
    for path, _ in walk(root):
        stem, extension = os.path.splitext(path)
        if extension.lower() == ".xml" and (not kit or stem.startswith("Annotations/")):
            texts[stem.removeprefix("Annotations/") if kit else stem] = path
        elif extension.lower() in EXTENSIONS and (not kit or stem.startswith("JPEGImages/")):
            images[stem.removeprefix("JPEGImages/") if kit else stem] = path
    if not texts:
        raise DataError("no annotations", where=root, expected=_EXPECTED, found=f"{len(images):,} images")
    splits = _listed(root) if kit else _by_folder(texts)
    read: list[tuple[str, _Told, str | None]] = []
    bad = {name: "no annotation of this name" for name in splits if name not in texts}
    for name, path in texts.items():
        if splits and name not in splits:
            continue
        try:
            told = _read(root, path)
        except DataError as error:
            bad[path] = fault_of(error)
        else:
            if name in images:
                read.append((images[name], told, splits.get(name)))
            else:
                bad[path] = "no image of this name"
    _check_boxes(read, root)
    used = {name for _, told, _ in read for name, _ in told.objects}
    listed = _labelmap(root, used)
    classes = tuple(sorted(used)) if listed is None else listed
    numbers = {name: number for number, name in enumerate(classes)}
    found = []
    for path, told, split in read:
        if strange := [name for name, _ in told.objects if name not in numbers]:
            bad[path] = f"an object of class '{strange[0]}', which labelmap.txt does not list"
        objects = tuple(Object(numbers[name], box) for name, box in told.objects if name in numbers)
        found.append(AnnotatedImage(path, Annotated(objects, told.size), split))
    notes = []
    if without := len(images.keys() - texts.keys()):
        notes.append(f"{without:,} images without annotations are ignored")
    if unlisted := len(texts.keys() - splits.keys()) if splits else 0:
        notes.append(f"{unlisted:,} annotations that no list in ImageSets/Main names are ignored")
    return Annotations(root, found, classes, bad, tuple(notes))


def _check_boxes(read: Sequence[tuple[str, _Told, str | None]], root: Path) -> None:
    """Refuse a folder whose boxes are fractions."""
    every = [(image, name, box) for image, told, _ in read for name, box in told.objects]
    sides_K4 = np.asarray([(box.left + 1, box.top + 1, box.right, box.bottom) for _, _, box in every], np.float64)

    def called(place: int) -> str:
        sides = ", ".join(f"{side:.6g}" for side in sides_K4[place])
        return f"xmin, ymin, xmax, ymax {sides} of {every[place][1]} in {every[place][0]}"

    refuse_fractions(sides_K4.reshape(-1, 4), called, root)


def _labelmap(root: Path, used: Collection[str]) -> tuple[str, ...] | None:
    """Return the classes that labelmap.txt lists; None where there is none.

    `background`, which CVAT lists, is a class only where an object has it.
    """
    try:
        text = read_text(root / _LABELMAP, _MOST_BYTES, within=root, error=DataError)
    except FileNotFoundError:
        return None
    lines = [line.strip() for line in text.split("\n")]
    # name:colour:parts:actions; a name may hold colons itself.
    names = [line.rsplit(":", 3)[0] if line.count(":") >= 3 else line for line in lines if line and line[0] != "#"]
    return check_classes([name for name in names if name != _BACKGROUND or name in used], root / _LABELMAP)


def _listed(root: Path) -> dict[str, str]:
    """Return the split of each name in the lists of the development kit; nothing where there are none."""
    folder = root / "ImageSets" / "Main"
    splits: dict[str, str] = {}
    train = "train" if (folder / "train.txt").exists() else "trainval"
    for name, split in ((train, "train"), ("val", "validation"), ("test", "test")):
        if name == "val" and train == "trainval":
            continue
        try:
            lines = read_text(folder / f"{name}.txt", _MOST_LIST, within=root, error=DataError).split("\n")
        except FileNotFoundError:
            continue
        for line in filter(None, map(str.strip, lines)):
            if splits.setdefault(line, split) != split:
                raise DataError("an image in two splits", where=folder, expected="in one list", found=line)
    return splits


def _by_folder(names: Iterable[str]) -> dict[str, str]:
    """Return the split of each name by the folder that it lies in; nothing where these are no splits."""
    splits = {name: SPLIT_FOLDERS.get(name.partition("/")[0].lower(), "") for name in names}
    return splits if all(splits.values()) else {}


def _read(root: Path, path: str) -> _Told:
    """Return what an XML file says.

    Raises:
        DataError: it is damaged.
    """
    tree = read_xml(root / path, root)
    size = tuple(_number(tree, f"size/{side}", path) for side in ("height", "width"))
    objects: list[tuple[str, Area]] = []
    for one in tree.findall("object"):
        left, top, right, bottom = (_number(one, f"bndbox/{side}", path) for side in ("xmin", "ymin", "xmax", "ymax"))
        name = (one.findtext("name") or "").strip()
        if not name:
            raise DataError("an object without a name", where=path)
        box = f"object {len(objects) + 1}, {name}: xmin {left:.6g}, ymin {top:.6g}, xmax {right:.6g}, ymax {bottom:.6g}"
        if right < left or bottom < top:
            raise DataError("corners in the wrong order", where=path, found=box)
        objects.append((name, Area(top - 1, left - 1, bottom, right)))
    height, width = (int(side) if side == side else 0 for side in size)
    return _Told(tuple(objects), (height, width) if height > 0 and width > 0 else None)


def _number(tree: ElementTree.Element, place: str, where: str) -> float:
    """Return a number in a tree; of a size that is not there, NaN."""
    text = tree.findtext(place)
    if text is None and place.startswith("size/"):
        return math.nan
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"no number at {place}", where=where, expected="a number", found=repr(text))
    return value


class _Bounded(ElementTree.TreeBuilder):
    """Builds a tree of a depth that is bounded."""

    depth = 0

    def start(self, tag: str, attrs: dict[str, str]) -> ElementTree.Element:
        self.depth += 1
        if self.depth > _MOST_DEPTH:
            raise DataError(f"elements nested deeper than {_MOST_DEPTH}")
        return super().start(tag, attrs)

    def end(self, tag: str) -> ElementTree.Element:
        self.depth -= 1
        return super().end(tag)


def read_xml(path: Path, root: Path) -> ElementTree.Element:
    """Return an XML file's tree.

    It has no entities: neither a file nor a megabyte can stand behind a few letters.

    Args:
        path: a file of at most 1 MiB, in UTF-8.
        root: the folder that it has to lie in.

    Raises:
        DataError: it is something else, damaged, nested too deep, or declares its own document type.
    """
    try:
        text = read_text(path, _MOST_BYTES, within=root, error=DataError)
    except FileNotFoundError:
        raise DataError("no such file or directory", where=path) from None
    for word in ("<!DOCTYPE", "<!ENTITY"):
        if word in text:
            raise DataError("declares a document type", where=path, expected="elements alone", found=word)
    parser = ElementTree.XMLParser(target=_Bounded())
    try:
        parser.feed(text)
        return parser.close()
    except ElementTree.ParseError as error:
        raise DataError("damaged", where=path, expected="XML", found=str(error)) from error
