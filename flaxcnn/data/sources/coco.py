"""`coco:FILE.json` or `coco:DIR`: boxes in COCO's format (https://cocodataset.org/#format-data).

FILE.json                                   images beside it, in images/ beside it, or in --data.dir
DIR/annotations/instances_train2017.json    as COCO's own files, with train2017/ or images/train2017/; the same of val
DIR/train/_annotations.coco.json            as Roboflow exports them, beside the images; also valid/ and test/
DIR/train.json                              with train/; also val.json and test.json
"""

import json
import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np

from flaxcnn.data.dataset import Dataset
from flaxcnn.data.options import Request
from flaxcnn.data.photographs.decoding import Area
from flaxcnn.data.photographs.objects import Annotated, Object
from flaxcnn.data.sources.annotated import USES as _USES
from flaxcnn.data.sources.annotated import AnnotatedImage, Annotations, check_classes, missing, prepare_annotated
from flaxcnn.data.sources.box_units import refuse_corners, refuse_fractions
from flaxcnn.data.sources.folder import SPLIT_FOLDERS
from flaxcnn.errors import DataError, nearest
from flaxcnn.files import checked, read_json, user_path

USES = _USES | {"dir"}

_MOST_BYTES = 1 << 29  # of a file: COCO's own training file of 2017 has 448 MiB
_TRIED = 20  # images by which their folder is found
_EXPECTED = "a COCO JSON file, or a folder with annotations/instances_train*.json or train/_annotations.coco.json"


class _Image(TypedDict):
    id: int | str
    file_name: str
    height: NotRequired[int | None]
    width: NotRequired[int | None]


class _Category(TypedDict):
    id: int | str
    name: str
    supercategory: NotRequired[str | None]


class _File(NamedTuple):
    """A file of annotations.

    Attributes:
        path: of the file.
        split: that its images belong to; None for no split.
        folders: below the root in which its images may be.
    """

    path: Path
    split: str | None
    folders: tuple[str, ...]


class _Told(NamedTuple):
    """What a file says: its annotations by their image's id."""

    images: list[_Image]
    categories: list[_Category]
    annotations: dict[Any, list[Mapping[str, Any]]]


def load(request: Request) -> Dataset:
    """Return the data set of COCO's files; raises as `read_coco` and `prepare_annotated`."""
    return prepare_annotated(annotations(request), request)


def annotations(request: Request) -> Annotations:
    """Return what the files of a request say; raises as `read_coco`."""
    folder = request.options.dir
    images = None if folder is None else user_path(os.fspath(folder), "data.dir")
    return read_coco(user_path(request.name, "data.source"), images)


def read_coco(path: Path, folder: Path | None = None) -> Annotations:
    """Return what is annotated in a file, or in the files of a folder.

    Classes are the categories in the order of their ids, those that only a later file has behind the others. A category
    is known by its name: the files of two splits may give it two ids, which a note says.

    Args:
        path: the file or folder.
        folder: that the images' names begin in; None to look for it.

    Raises:
        DataError: nothing of that form, a damaged file, an id twice, boxes that are corners or fractions, or an object
            of a class that the file of the training split does not have.
    """
    root, files = _files(path, folder)
    told = [_read(file.path) for file in files]
    for file, each in zip(files, told, strict=True):
        _check_boxes(file.path, each)
    notes = _compared(files, told)
    classes = _classes(told)
    numbers = {name: number for number, name in enumerate(classes)}
    images: list[AnnotatedImage] = []
    bad: dict[str, str] = {}
    for file, each in zip(files, told, strict=True):
        below = _folder_of(root, file.folders, each.images)
        of_id = {category["id"]: numbers.get(category["name"], -1) for category in each.categories}
        for image in each.images:
            name = posixpath.normpath(posixpath.join(below, image["file_name"]))
            found = [_object(one, of_id) for one in each.annotations.pop(image["id"], [])]
            if faults := [one for one in found if isinstance(one, str)]:
                bad[name] = faults[0]
            size = (image.get("height") or 0, image.get("width") or 0)
            objects = tuple(one for one in found if isinstance(one, Object))
            images.append(AnnotatedImage(name, Annotated(objects, size if all(size) else None), file.split))
        if each.annotations:
            (stray, first), count = next(iter(each.annotations.items())), sum(map(len, each.annotations.values()))
            such = f"such as {_called(first[0])} of image {stray!r}"
            bad[f"{file.path.name}, {count:,} annotations"] = f"of images that it does not list, {such}"
    return Annotations(root, images, classes, bad, notes)


def _files(path: Path, folder: Path | None) -> tuple[Path, list[_File]]:
    """Return the folder that all images lie in, and the files of annotations."""
    if path.is_file():
        if folder is not None:
            return folder, [_File(path, None, ("",))]
        name = path.stem.removeprefix("instances_")
        if path.parent.name == "annotations":  # whose images lie beside this folder
            below = ("", "images", f"images/{name}", name, "annotations", "annotations/images")
            return path.parent.parent, [_File(path, None, below)]
        return path.parent, [_File(path, None, ("", "images", name))]
    if not path.is_dir():
        raise missing(path, _EXPECTED)
    root = path if folder is None else folder
    found: dict[str, list[_File]] = {}
    for file, name in _candidates(path):
        for word, split in SPLIT_FOLDERS.items():
            if name.lower().rstrip("0123456789_-") == word:
                folders = (f"images/{name}", name, "images", "")
                found.setdefault(split, []).append(_File(file, split, folders if folder is None else ("", *folders)))
    for split, files in found.items():
        if len(files) > 1:
            listed = " and ".join(str(file.path.relative_to(path)) for file in files[:3])
            fix = "name one of them, or move the others out of the folder"
            raise DataError(f"several files of the {split} split", where=path, expected="one", found=listed, fix=fix)
    if not found:
        raise DataError("no annotations", where=path, expected=_EXPECTED, found="neither")
    return root, [found[split][0] for split in ("train", "validation", "test") if split in found]


def _candidates(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of annotations in a folder, each with what may be the name of its split."""
    try:
        for file in sorted((folder / "annotations").glob("instances_*.json")):
            yield file, file.stem.removeprefix("instances_")
        for each in sorted(folder.iterdir()):
            if (each / "_annotations.coco.json").is_file():
                yield each / "_annotations.coco.json", each.name
            elif each.suffix == ".json":
                yield each, each.stem
    except OSError as error:
        found = (error.strerror or str(error)).lower()
        raise DataError("cannot read the folder", where=folder, expected=_EXPECTED, found=found) from error


def _folder_of(root: Path, folders: Sequence[str], images: Sequence[_Image]) -> str:
    """Return the first folder that has one of the first images; the first of all where none has."""
    tried = [name for image in images[:_TRIED] if not posixpath.isabs(name := image["file_name"])]
    return next((each for each in folders if any(os.path.isfile(root / each / name) for name in tried)), folders[0])


def _read(path: Path) -> _Told:
    found = read_json(path, most=_MOST_BYTES, error=DataError)
    images = checked(found.get("images"), list[_Image], where=f"{path}, images", error=DataError)
    categories = checked(found.get("categories"), list[_Category], where=f"{path}, categories", error=DataError)
    for name, records in (("images", images), ("categories", categories)):
        ids = [each["id"] for each in records]
        if len(set(ids)) < len(ids):
            twice = next(each for each, count in Counter(ids).items() if count > 1)
            raise DataError(f"an id twice in {name}", where=path, expected="different ids", found=repr(twice))
    check_classes([each["name"] for each in categories], f"{path}, categories")
    annotations: dict[Any, list[Mapping[str, Any]]] = {}
    for place, one in enumerate(
        checked(found.get("annotations"), list[Any], where=f"{path}, annotations", error=DataError)
    ):
        if not _is_annotation(one):
            expected = "an object with image_id, category_id and bbox, four numbers"
            raise DataError("damaged", where=f"{path}, annotations[{place}]", expected=expected, found=json.dumps(one))
        annotations.setdefault(one["image_id"], []).append(one)
    return _Told(images, sorted(categories, key=lambda each: (isinstance(each["id"], str), each["id"])), annotations)


def _is_annotation(one: Any) -> bool:
    """Return whether an annotation has what is read of it. COCO has a million of them: `checked` would take minutes."""
    return (
        isinstance(one, dict)
        and type(one.get("image_id")) in (int, str)
        and type(one.get("category_id")) in (int, str)
        and isinstance(one.get("bbox"), list)
        and len(one["bbox"]) == 4
        and all(type(side) in (int, float) for side in one["bbox"])
    )


def _classes(told: Sequence[_Told]) -> tuple[str, ...]:
    """Return the names of all categories but one that is the others' supercategory and has no annotation.

    Roboflow writes such a category, the name of the project.
    """
    used: set[str] = set()
    parents: dict[str, set[str | None]] = {}
    for each in told:
        names = {category["id"]: category["name"] for category in each.categories}
        used |= {names.get(one["category_id"], "") for objects in each.annotations.values() for one in objects}
        for category in each.categories:
            parents.setdefault(category["name"], set()).add(category.get("supercategory"))
    return tuple(
        name
        for name in parents
        if name in used or not any(name in above for other, above in parents.items() if other != name)
    )


def _check_boxes(path: Path, told: _Told) -> None:
    """Refuse a file whose boxes are fractions, or corners; this its sizes of images tell, where it has them."""
    every = [one for found in told.annotations.values() for one in found]
    every_K4 = np.asarray([one["bbox"] for one in every], np.float64).reshape(-1, 4)
    ends_K2 = every_K4[:, :2] + every_K4[:, 2:]
    refuse_fractions(np.concatenate([every_K4[:, :2], ends_K2], axis=1), lambda place: _called(every[place]), path)
    sizes = {image["id"]: (image.get("width") or 0, image.get("height") or 0) for image in told.images}
    listed = [one for image, found in told.annotations.items() if all(sizes.get(image, (0, 0))) for one in found]
    given_K4 = np.asarray([one["bbox"] for one in listed], np.float64).reshape(-1, 4)
    sizes_K2 = np.asarray([sizes[one["image_id"]] for one in listed], np.float64).reshape(-1, 2)
    refuse_corners(
        given_K4,
        np.concatenate([given_K4[:, :2], given_K4[:, :2] + given_K4[:, 2:]], axis=1),
        sizes_K2,
        lambda place: (
            f"{_called(listed[place])} in an image {sizes_K2[place, 0]:g} wide and {sizes_K2[place, 1]:g} high"
        ),
        path,
        "bbox of x, y, width, height",
    )


def _compared(files: Sequence[_File], told: Sequence[_Told]) -> tuple[str, ...]:
    """Return notes on categories that differ between the files of splits.

    Raises:
        DataError: there is an object of a class that the first file, the training split's where there is one, lacks.
    """
    known = {category["name"]: category["id"] for category in told[0].categories}
    notes = []
    for file, each in zip(files[1:], told[1:], strict=True):
        names = {category["id"]: category["name"] for category in each.categories}
        if strange := [one for found in each.annotations.values() for one in found if not _is_known(one, names, known)]:
            name = names[strange[0]["category_id"]]
            others = f", and {len(strange) - 1:,} more annotations" if len(strange) > 1 else ""
            raise DataError(
                "classes that differ between the files",
                where=file.path,
                expected=f"the categories of {files[0].path.name}",
                found=f"'{name}' at {_called(strange[0])}{others}",
                fix=nearest(name, known) or "give all files the same categories",
            )
        if moved := [name for number, name in names.items() if known.get(name, number) != number]:
            notes.append(
                f"{len(moved):,} categories, such as '{moved[0]}', have other ids in {file.path.name} than in"
                f" {files[0].path.name}: they are known by their names"
            )
        if absent := [name for name in known if name not in names.values()]:
            notes.append(
                f"{len(absent):,} categories of {files[0].path.name} are not in {file.path.name}, such as '{absent[0]}'"
            )
    return tuple(notes)


def _is_known(one: Mapping[str, Any], names: Mapping[Any, str], known: Mapping[str, Any]) -> bool:
    """Return whether the first file has an annotation's class, or its own file has none for it, which is told later."""
    return names.get(one["category_id"]) in known or one["category_id"] not in names


def _object(one: Mapping[str, Any], numbers: Mapping[Any, int]) -> Object | str:
    """Return an object, or what is wrong with its annotation."""
    x, y, width, height = one["bbox"]
    if one["category_id"] not in numbers:
        return f"an object of category {one['category_id']!r}, which is not listed ({_called(one)})"
    if width <= 0 or height <= 0:
        return f"a box of no extent, or of corners in the wrong order ({_called(one)}, of x, y, width, height)"
    return Object(numbers[one["category_id"]], Area(y, x, y + height, x + width), bool(one.get("iscrowd")))


def _called(one: Mapping[str, Any]) -> str:
    """Return what to call an annotation in an error."""
    number = one.get("id")
    called = f"annotation {number}" if isinstance(number, int | str) else "an annotation without id"
    return f"{called}, bbox [{', '.join(f'{side:.6g}' for side in one['bbox'])}]"
