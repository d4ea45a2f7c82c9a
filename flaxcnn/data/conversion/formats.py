"""The formats that annotations are written in: COCO, Pascal VOC and YOLO, each as its own source reads it.

What is written is boxes and classes. Coordinates have all digits of a double, so that they are read back as they were.
"""

import json
import posixpath
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol
from xml.etree import ElementTree

import yaml

from flaxcnn.data.conversion.names import Rules
from flaxcnn.data.photographs.objects import Object
from flaxcnn.data.sources.annotated import Annotations
from flaxcnn.data.sources.coco import read_coco
from flaxcnn.data.sources.voc import read_voc
from flaxcnn.data.sources.yolo import labels_of, read_yolo

_SHORT = {"train": "train", "validation": "val", "test": "test"}


class Written(NamedTuple):
    """An image as it is written.

    Attributes:
        name: below the folder of its split's images (`flaxcnn.data.conversion.names`).
        split: "train", "validation" or "test"; "" where the source divides nothing.
        height, width: in pixels, upright.
        gray: whether it has no colour.
        objects: in its pixels, within it.
    """

    name: str
    split: str
    height: int
    width: int
    gray: bool
    objects: tuple[Object, ...]


class Format(Protocol):
    """A format of annotations.

    Attributes:
        called: what it is called in a line.
        rules: what it asks of names.
        crowds: whether it has crowds.
    """

    called: str
    rules: Rules
    crowds: bool

    def fault(self, name: str) -> str:
        """Return why the format cannot have a class of this name; "" where it can."""

    def place(self, image: Written) -> str:
        """Return where an image is, below the folder."""

    def write(self, folder: Path, images: Sequence[Written], classes: Sequence[str]) -> None:
        """Write the annotations of images; raises OSError."""

    def source(self, folder: Path, images: Sequence[Written]) -> Path:
        """Return what is read as a source, a file or the folder."""

    def read(self, path: Path) -> Annotations:
        """Return what is annotated there."""


class Coco:
    """COCO: `annotations/instances_SPLIT.json` and `SPLIT/`, or `annotations.json` and `images/`."""

    called, rules, crowds = "COCO", Rules(), True

    def fault(self, name: str) -> str:
        """Return why COCO cannot have a class of this name."""
        return _half(name)

    def place(self, image: Written) -> str:
        """Return where an image is."""
        return posixpath.join(_SHORT[image.split] if image.split else "images", image.name)

    def write(self, folder: Path, images: Sequence[Written], classes: Sequence[str]) -> None:
        """Write a file for each split, or one for all images; ids count from 1 through all files."""
        categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
        of_splits: dict[str, dict[str, list[Mapping[str, object]]]] = {}
        count = 0
        for number, image in enumerate(images, start=1):
            file = of_splits.setdefault(image.split, {"images": [], "annotations": []})
            file["images"].append({"id": number, "file_name": image.name, "width": image.width, "height": image.height})
            for one in image.objects:
                count += 1
                file["annotations"].append(
                    {
                        "id": count,
                        "image_id": number,
                        "category_id": one.number + 1,
                        "bbox": [_number(v) for v in (one.box.left, one.box.top, one.box.width, one.box.height)],
                        "area": _number(one.box.height * one.box.width),
                        "iscrowd": int(one.crowd),
                    }
                )
        for split, told in of_splits.items():
            path = folder / self._file(split)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({**told, "categories": categories}, ensure_ascii=False), encoding="utf-8")

    def source(self, folder: Path, images: Sequence[Written]) -> Path:
        """Return the folder, or its file where there are no splits."""
        return folder if images[0].split else folder / self._file("")

    def read(self, path: Path) -> Annotations:
        """Return what is annotated there."""
        return read_coco(path)

    def _file(self, split: str) -> str:
        return f"annotations/instances_{_SHORT[split]}.json" if split else "annotations.json"


class Voc:
    """Pascal VOC: `Annotations/`, `JPEGImages/`, lists in `ImageSets/Main/`; classes in `labelmap.txt`, as CVAT's."""

    called, crowds = "Pascal VOC", False
    rules = Rules(by_stem=True, in_one_folder=True, no_space=True)

    def fault(self, name: str) -> str:
        """Return why XML, or labelmap.txt, cannot have a class of this name."""
        if name != name.strip():
            return "white space at its ends"
        if any(unicodedata.category(each) == "Cc" or each in "\ufffe\uffff" for each in name):
            return "a control character"
        return "# at its beginning" if name.startswith("#") else _half(name)

    def place(self, image: Written) -> str:
        """Return where an image is."""
        return posixpath.join("JPEGImages", image.name)

    def write(self, folder: Path, images: Sequence[Written], classes: Sequence[str]) -> None:
        """Write a file for each image, the lists of the splits, and the classes."""
        listed: dict[str, list[str]] = {"train": []}  # without it, trainval.txt would be looked for
        for image in images:
            stem = posixpath.splitext(image.name)[0]
            path = folder / "Annotations" / f"{stem}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            tree = _voc_tree(image, classes)
            ElementTree.indent(tree)
            path.write_text(ElementTree.tostring(tree, encoding="unicode") + "\n", encoding="utf-8")
            if image.split:
                listed.setdefault(_SHORT[image.split], []).append(stem)
        if images[0].split:
            lists = folder / "ImageSets" / "Main"
            lists.mkdir(parents=True)
            for split, stems in listed.items():
                (lists / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")
        lines = ["# label:color_rgb:parts:actions", *(f"{name}:::" for name in classes)]
        (folder / "labelmap.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def source(self, folder: Path, images: Sequence[Written]) -> Path:
        """Return the folder."""
        return folder

    def read(self, path: Path) -> Annotations:
        """Return what is annotated there."""
        return read_voc(path)


class Yolo:
    """YOLO: `data.yaml`, and `images/SPLIT/` with `labels/SPLIT/`, or both without splits."""

    called, crowds = "YOLO", False
    rules = Rules(by_stem=True)

    def fault(self, name: str) -> str:
        """Return why YOLO cannot have a class of this name."""
        return _half(name)

    def place(self, image: Written) -> str:
        """Return where an image is."""
        return posixpath.join("images", _SHORT[image.split] if image.split else "", image.name)

    def write(self, folder: Path, images: Sequence[Written], classes: Sequence[str]) -> None:
        """Write a file of labels for each image, empty for one without objects, and data.yaml."""
        for image in images:
            path = folder / labels_of(self.place(image))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(_yolo_line(one, image) for one in image.objects), encoding="utf-8")
        splits = {image.split for image in images}
        places = {short: f"images/{short}" for split, short in _SHORT.items() if split in splits}
        told = {**(places or {"train": "images"}), "nc": len(classes), "names": dict(enumerate(classes))}
        text = yaml.safe_dump(told, allow_unicode=True, sort_keys=False, width=float("inf"))
        (folder / "data.yaml").write_text(text, encoding="utf-8")

    def source(self, folder: Path, images: Sequence[Written]) -> Path:
        """Return data.yaml."""
        return folder / "data.yaml"

    def read(self, path: Path) -> Annotations:
        """Return what is annotated there."""
        return read_yolo(path)


FORMATS: Mapping[str, Format] = {"coco": Coco(), "voc": Voc(), "yolo": Yolo()}
"""By the name of the kind of source that reads each."""


def _voc_tree(image: Written, classes: Sequence[str]) -> ElementTree.Element:
    """Return an annotation. Its first pixel is 1, and the last one belongs to the box (`flaxcnn.data.sources.voc`)."""
    tree = ElementTree.Element("annotation")
    _child(tree, "folder", "JPEGImages")
    _child(tree, "filename", image.name)
    size = _child(tree, "size")
    for name, value in (("width", image.width), ("height", image.height), ("depth", 1 if image.gray else 3)):
        _child(size, name, value)
    for one in image.objects:
        found = _child(tree, "object")
        _child(found, "name", classes[one.number])
        box = _child(found, "bndbox")
        sides = {"xmin": one.box.left + 1, "ymin": one.box.top + 1, "xmax": one.box.right, "ymax": one.box.bottom}
        for name, side in sides.items():
            _child(box, name, _number(side))
    return tree


def _child(tree: ElementTree.Element, name: str, value: object = None) -> ElementTree.Element:
    child = ElementTree.SubElement(tree, name)
    child.text = None if value is None else str(value)
    return child


def _yolo_line(one: Object, image: Written) -> str:
    """Return a line of labels: class cx cy w h in fractions of the image."""
    box = one.box
    x, y = (box.left + box.right) / 2 / image.width, (box.top + box.bottom) / 2 / image.height
    sides = (x, y, box.width / image.width, box.height / image.height)
    return f"{one.number} {' '.join(str(_number(side)) for side in sides)}\n"


def _number(value: float) -> int | float:
    """Return a number as it is written: whole without a point, others with all their digits."""
    return int(value) if float(value).is_integer() else float(value)


def _half(name: str) -> str:
    return "half a character" if any(unicodedata.category(each) == "Cs" for each in name) else ""
