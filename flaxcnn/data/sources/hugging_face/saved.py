"""What a folder that `save_to_disk` wrote declares: its splits, their files, and the features of an example.

DIR/dataset_dict.json           {"splits": ["train", "test"]}; a folder for each. A single split has no such file
DIR/train/state.json            the names of its Arrow files, in order
DIR/train/dataset_info.json     the features
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flaxcnn.errors import DataError
from flaxcnn.files import read_json

_MOST_SPLITS = 1000
_MOST_FILES = 100_000
_LISTS = ("Sequence", "List", "LargeList")


class Feature(NamedTuple):
    """A column.

    Attributes:
        kind: as Hugging Face calls it, such as "Image", "ClassLabel" or "Value"; of a list, that of its items.
        names: of the classes; () without any.
        listed: whether a row has a list of them.
    """

    kind: str
    names: tuple[str, ...] = ()
    listed: bool = False


class SavedSplit(NamedTuple):
    """A split: its name, "" for the only one; its files, below the root; and its features."""

    name: str
    files: tuple[str, ...]
    features: Mapping[str, Feature]


def read_saved(root: Path) -> list[SavedSplit]:
    """Return the splits of a folder, in the order in which it lists them.

    Raises:
        DataError: it is none that `save_to_disk` wrote, or damaged.
    """
    try:
        told = _json(root, "dataset_dict.json")
    except FileNotFoundError:
        return [_split(root, "")]
    names = _list(told.get("splits"))
    if not _are_names(names, _MOST_SPLITS):
        raise _damaged(root / "dataset_dict.json", "the names of the splits", told.get("splits"))
    return [_split(root, name) for name in names]


def _split(root: Path, name: str) -> SavedSplit:
    folder = f"{name}/" if name else ""
    try:
        state, info = (_json(root, f"{folder}{file}") for file in ("state.json", "dataset_info.json"))
    except FileNotFoundError as error:
        raise DataError(
            "no data set that save_to_disk wrote",
            where=root / name,
            expected="state.json and dataset_info.json, and dataset_dict.json above them for several splits",
            found=f"no {Path(error.filename).name}",
            fix="write it with save_to_disk of Hugging Face's datasets",
        ) from error
    if state.get("_indices_data_files"):
        fix = "write it again with save_to_disk of a newer version of datasets"
        raise DataError("rows chosen by a file of indices", where=root / folder / "state.json", fix=fix)
    listed = state.get("_data_files")
    files = [each.get("filename") if isinstance(each, dict) else None for each in _list(listed)]
    if not _are_names(files, _MOST_FILES):
        raise _damaged(root / folder / "state.json", "the names of Arrow files", listed)
    features = info.get("features")
    if not isinstance(features, dict):
        raise _damaged(root / folder / "dataset_info.json", "features", features)
    read = {column: _feature(value) for column, value in features.items()}
    return SavedSplit(name, tuple(f"{folder}{file}" for file in files), read)


def _feature(value: Any) -> Feature:
    """Return a feature; what is none has the kind ""."""
    listed = False
    if isinstance(value, list) and len(value) == 1:
        value, listed = value[0], True
    elif isinstance(value, dict) and value.get("_type") in _LISTS:
        value, listed = value.get("feature"), True
    if not isinstance(value, dict) or not isinstance(value.get("_type"), str):
        return Feature("", listed=listed)
    names = _list(value.get("names"))
    sound = all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names)
    return Feature(value["_type"], tuple(names) if sound else (), listed)


def _json(root: Path, path: str) -> dict[str, Any]:
    told: dict[str, Any] = read_json(root / path, dict[str, Any], within=root, error=DataError)
    return told


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _are_names(values: list[Any], most: int) -> bool:
    """Return whether values are different names of files or folders, which lead nowhere else."""
    return (
        0 < len(values) <= most
        and all(isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\0") for name in values)
        and len(set(values)) == len(values)
    )


def _damaged(where: Path, expected: str, found: object) -> DataError:
    return DataError("damaged", where=where, expected=expected, found=repr(found))
