"""The metadata of a prepared data set: `dataset_info.json`, `features.json` and its class names.

TFDS's own reader imports the module that `features.json` names and so runs its code. This reader only compares names:
it knows three of TFDS's feature classes and ignores features of any other class.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, TypedDict

from flaxcnn.data.sources.decoding import CHANNELS
from flaxcnn.errors import DataError
from flaxcnn.files import read_json, read_text
from flaxcnn.files.schema import MismatchError, conform

MAX_EXAMPLES = 1 << 27
"""The most examples of a split: 134 million, of which the labels take 512 MiB."""
MAX_SHARDS = 1 << 16
"""The most files of a split; TFDS makes them of some 1 GiB."""
MAX_CLASSES = 1 << 20
"""The most classes, a million; ImageNet has 21,841 at most."""

_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_FEATURES = "tensorflow_datasets.core.features"
_DICT = f"{_FEATURES}.features_dict.FeaturesDict"
_IMAGE = f"{_FEATURES}.image_feature.Image"
_LABEL = f"{_FEATURES}.class_label_feature.ClassLabel"
_LONGEST_NAME = 255
_NUMBER = re.compile(r"[0-9]{1,18}")

_Number = int | str  # in JSON, protocol buffers write 64 bits as text


class _Split(TypedDict, total=False):
    name: str
    shardLengths: list[_Number]
    filepathTemplate: str


class _Info(TypedDict, total=False):
    name: str
    fileFormat: str
    alternativeFileFormats: list[str]
    splits: list[_Split]


class _Shape(TypedDict, total=False):
    dimensions: list[_Number]


class _Image(TypedDict, total=False):
    shape: _Shape | list[int | None]
    dtype: str


class _Label(TypedDict, total=False):
    numClasses: _Number
    num_classes: int | None


class _Nested(TypedDict, total=False):
    features: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Shard:
    """One of the files of a split."""

    path: Path
    examples: int


@dataclass(frozen=True)
class Description:
    """A prepared data set.

    Attributes:
        folder: of one version.
        image: the name of the image feature.
        channels: of its images, 1 (gray) or 3 (RGB).
        label: the name of the label feature.
        class_names: a name for each class.
        splits: the files of each split, in order; those without an example are left out.
    """

    folder: Path
    image: str
    channels: int
    label: str
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[Shard, ...]]


def read_description(folder: Path) -> Description:
    """Read the description of a prepared data set.

    Args:
        folder: of one version.

    Raises:
        DataError: a file is missing, damaged or lies outside the folder, the set is not in array_record format, lacks
            a split, or its features are not one 8-bit image and one label.
    """
    splits = _splits(_read(folder / "dataset_info.json", _Info), folder)
    path = folder / "features.json"
    features = _features(_read(path, dict[str, Any]), path)
    image, label = (_one_of(features, kind, usual, folder) for kind, usual in ((_IMAGE, "image"), (_LABEL, "label")))
    channels = _channels(_content(features[image], "image", _Image, path), image, folder)
    class_names = _class_names(_content(features[label], "classLabel", _Label, path), label, folder)
    return Description(folder, image, channels, label, class_names, splits)


def _read(path: Path, kind: Any) -> Any:
    try:
        return read_json(path, kind, within=path.parent, error=DataError)
    except FileNotFoundError as error:
        raise DataError(
            "no description of the data set", where=path, expected="a file as TFDS writes it", found="none"
        ) from error


def _splits(info: _Info, folder: Path) -> Mapping[str, tuple[Shard, ...]]:
    """Return the files of each split, once it is known that they are array_record files."""
    formats = sorted({info.get("fileFormat", "tfrecord"), *info.get("alternativeFileFormats", ())})
    if "array_record" not in formats:
        command = f"tfds convert_format --dataset_version_dir={folder} --out_file_format=array_record"
        raise DataError(
            "a format that takes TensorFlow to read",
            where=folder,
            expected="array_record",
            found=", ".join(formats),
            fix=f"convert it with `pip install 'flaxcnn[tensorflow]'` and `{command}`",
        )
    splits = {split.get("name", ""): split for split in info.get("splits", ())}
    if missing := {"train", "test"} - set(splits):
        raise DataError(
            f"no split '{max(missing)}'",
            where=folder,
            expected="splits 'train' and 'test'",
            found=", ".join(splits) or "none",
        )
    name = info.get("name", "")
    return MappingProxyType({split: _shards(splits[split], name, folder) for split in ("train", "test")})


def _shards(split: _Split, dataset: str, folder: Path) -> tuple[Shard, ...]:
    where = f"{folder / 'dataset_info.json'} split '{split['name']}'"
    lengths = [_number(each, where, "the examples of a file", MAX_EXAMPLES) for each in split.get("shardLengths", ())]
    if len(lengths) > MAX_SHARDS or sum(lengths) > MAX_EXAMPLES:
        raise DataError(
            "too much in one split",
            where=where,
            expected=f"at most {MAX_SHARDS:,} files and {MAX_EXAMPLES:,} examples",
            found=f"{len(lengths):,} and {sum(lengths):,}",
        )
    template = split.get("filepathTemplate") or _TEMPLATE
    names = (
        _file_name(template, dataset, split["name"], number, len(lengths), where) for number in range(len(lengths))
    )
    return tuple(Shard(folder / name, examples) for name, examples in zip(names, lengths, strict=True) if examples)


def _file_name(template: str, dataset: str, split: str, number: int, count: int, where: str) -> str:
    """Return the name of a split's file, below the data set's folder."""
    digits = max(5, len(str(count)))
    known = {
        "DATASET": dataset,
        "SPLIT": split,
        "FILEFORMAT": "array_record",
        "SHARD_INDEX": f"{number:0{digits}}",
        "NUM_SHARDS": f"{count:0{digits}}",
        "SHARD_X_OF_Y": f"{number:0{digits}}-of-{count:0{digits}}",
    }
    name = template
    if max(len(template), len(dataset)) <= _LONGEST_NAME:
        for key, value in known.items():  # not `str.format`, which takes any attribute and any width
            name = name.replace(f"{{{key}}}", value)
    if not _names_a_file(name):
        raise DataError(
            "not the name of a file", where=where, expected="a path in the data set's folder", found=f"'{name[:100]}'"
        )
    return name


def _names_a_file(name: str) -> bool:
    """Return whether a name from a description is that of a file below a folder."""
    path = PurePosixPath(name)
    possible = name.isprintable() and 0 < len(name) <= 4 * _LONGEST_NAME
    return possible and bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _features(top: Mapping[str, Any], path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return the features by name, each as TFDS describes it."""
    if _class_of(top) != _DICT:
        raise DataError(
            "no named features",
            where=path,
            expected=f"an Image and a ClassLabel in a {_DICT}",
            found=_class_of(top) or "none",
        )
    if "featuresDict" in top:
        nested: _Nested = _conform(top["featuresDict"], _Nested, path)
        return nested.get("features", {})
    return _conform(top.get("content"), dict[str, dict[str, Any]], path)


def _class_of(feature: Mapping[str, Any]) -> str:
    # The second name was that of TFDS before 4.5, which wrote a class's arguments instead of a protocol buffer.
    name = feature.get("pythonClassName", feature.get("type"))
    return name if isinstance(name, str) else ""


def _content(feature: Mapping[str, Any], field: str, kind: Any, path: Path) -> Any:
    return _conform(feature.get(field, feature.get("content")), kind, path)


def _conform(value: Any, kind: Any, path: Path) -> Any:
    try:
        return conform(value, kind)
    except MismatchError as mismatch:
        raise DataError("damaged", where=path, expected=mismatch.expected, found=mismatch.found) from mismatch


def _one_of(features: Mapping[str, Mapping[str, Any]], kind: str, usual_name: str, folder: Path) -> str:
    """Return the name of the feature of a class, the only one or the one of the usual name."""
    # The exact class: an image of labels, one for each pixel, is a subclass of an image.
    names = [name for name, feature in features.items() if _class_of(feature) == kind]
    if usual_name in names:
        return usual_name
    if len(names) != 1:
        found = [f"{name} ({_class_of(feature).rpartition('.')[2]})" for name, feature in sorted(features.items())]
        raise DataError(
            f"{len(names)} features could be the {usual_name}",
            where=folder,
            expected=f"one {kind.rpartition('.')[2]}, or one of several named '{usual_name}'",
            found=", ".join(found[:20]) or "none",
        )
    return names[0]


def _channels(image: _Image, name: str, folder: Path) -> int:
    shape = image.get("shape", [])
    dimensions = shape if isinstance(shape, list) else shape.get("dimensions", [])
    dtype = image.get("dtype", "uint8")
    for channels in CHANNELS:
        if dtype == "uint8" and len(dimensions) == 3 and str(dimensions[-1]) == str(channels):
            return channels
    raise DataError(
        f"images of the wrong kind in feature '{name}'",
        where=folder,
        expected="uint8 with 1 channel (gray) or 3 (RGB)",
        found=f"{dtype} with {dimensions[-1] if dimensions else 'no'}",
    )


def _class_names(label: _Label, name: str, folder: Path) -> tuple[str, ...]:
    """Return the names of the classes: those of their file, or their numbers where there is none."""
    path = folder / f"{name}.labels.txt"
    if not _names_a_file(path.name) or path.parent != folder:
        raise DataError("not the name of a feature", where=folder / "features.json", found=f"'{name[:100]}'")
    declared = label.get("numClasses", label.get("num_classes"))
    count = (
        None if declared is None else _number(declared, folder / "features.json", "the number of classes", MAX_CLASSES)
    )
    try:
        text = read_text(path, 64 * MAX_CLASSES, within=folder, error=DataError)
    except FileNotFoundError:
        return tuple(map(str, range(count or 0)))
    names = tuple(filter(None, map(str.strip, text.split("\n"))))
    if count is not None and len(names) != count:
        raise DataError("another number of classes", where=path, expected=f"{count} names", found=len(names))
    if odd := next((each for each in names if any(unicodedata.category(sign) == "Cc" for sign in each)), None):
        raise DataError("a class name with a control character", where=path, expected="text", found=f"'{odd[:100]}'")
    return names


def _number(value: _Number, where: object, what: str, most: int) -> int:
    if not _NUMBER.fullmatch(str(value)) or int(value) > most:
        raise DataError(f"{what} out of range", where=where, expected=f"0 to {most:,}", found=f"{str(value)[:40]}")
    return int(value)
