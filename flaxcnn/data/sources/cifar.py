"""`cifar10:DIR` and `cifar100:DIR`: the binary version of CIFAR-10 and CIFAR-100.

An image is a record: its label, of CIFAR-100 the coarse and the fine one, a byte each, then 32×32 red, green and blue
pixels, row by row. Source: A. Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data.dataset import Dataset, Split
from flaxcnn.data.options import Request
from flaxcnn.errors import ConfigError, DataError, nearest
from flaxcnn.files import read_bytes, read_text, user_path

USES = frozenset({"target"})

MAX_BYTES = 1 << 30
"""The largest file that is read: 1 GiB. The largest of the original, CIFAR-100's train.bin, has 147 MiB."""

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
_MOST_NAMES = 1 << 16  # bytes


class _Labels(NamedTuple):
    """A byte of each record: how many classes it numbers, and the file of their names."""

    classes: int
    names: str


class _Version(NamedTuple):
    """What one of the two data sets consists of.

    Attributes:
        folder: that its archive makes.
        archive: its name.
        labels: the bytes before an image, in their order.
        files: of each split, and how many images each has in the original.
        pickled: what tells the version for Python: a file of it, and the folder that its archive makes.
    """

    folder: str
    archive: str
    labels: dict[str, _Labels]
    files: dict[str, dict[str, int]]
    pickled: tuple[str, ...]


_VERSIONS = {
    "cifar10": _Version(
        "cifar-10-batches-bin",
        "cifar-10-binary.tar.gz",
        {"label": _Labels(10, "batches.meta.txt")},
        {
            "train": {f"data_batch_{number}.bin": 10_000 for number in range(1, 6)},
            "test": {"test_batch.bin": 10_000},
        },
        ("data_batch_1", "cifar-10-batches-py"),
    ),
    "cifar100": _Version(
        "cifar-100-binary",
        "cifar-100-binary.tar.gz",
        {"coarse": _Labels(20, "coarse_label_names.txt"), "fine": _Labels(100, "fine_label_names.txt")},
        {"train": {"train.bin": 50_000}, "test": {"test.bin": 10_000}},
        ("train", "cifar-100-python"),
    ),
}
_DEFAULT = {"cifar10": ("label",), "cifar100": ("fine",)}


def load(request: Request) -> Dataset:
    """Return CIFAR-10 or CIFAR-100 from its folder, or from the one in which its archive was unpacked.

    Raises:
        ConfigError: a target that it does not have.
        DataError: a file is missing, of another size, or holds a label out of range.
    """
    kind = request.source.partition(":")[0]
    version = _VERSIONS[kind]
    if len(version.labels) == 1:
        request.options.refuse_others(frozenset(), f"{kind}:DIR")
    wanted = request.options.target or _DEFAULT[kind]
    for name in wanted:
        if name not in version.labels or wanted.count(name) > 1:
            expected = " or ".join(version.labels) + ", or both"
            fix = nearest(name, version.labels)
            raise ConfigError("unknown target", where="data.target", expected=expected, found=f"'{name}'", fix=fix)
    folder = user_path(request.name, "data.source")
    if (folder / version.folder).is_dir():
        folder /= version.folder
    _require_files(folder, version)
    names = {name: _names(folder, version.labels[name]) for name in wanted}
    splits, notes = {}, []
    for split, files in version.files.items():
        records = []
        for file, count in files.items():
            records.append(_records(folder / file, version, folder))
            if len(records[-1]) != count:
                notes.append(f"{folder / file} has {len(records[-1]):,} images; the original has {count:,}")
        splits[split] = _split(np.concatenate(records), list(version.labels), wanted)
    target_names: Any = names if len(wanted) > 1 else names[wanted[0]]
    return Dataset(request.source, splits["train"], splits["test"], target_names, notes=tuple(notes))


def _require_files(folder: Path, version: _Version) -> None:
    """Raise DataError that names all missing files at once."""
    try:
        present = sorted(os.listdir(folder))
    except OSError as error:
        found = (error.strerror or str(error)).lower()
        expected = f"the folder of {version.archive}"
        raise DataError("cannot read the folder", where=folder, expected=expected, found=found) from error
    wanted = [file for files in version.files.values() for file in files]
    if missing := [file for file in wanted if file not in present]:
        pickled = any(name in present for name in version.pickled)
        raise DataError(
            "the version for Python, whose pickles could run code"
            if pickled
            else f"{len(missing)} of {len(wanted)} files missing",
            where=folder,
            expected=", ".join(missing),
            found=", ".join(present[:6]) + (f" and {len(present) - 6} more" if len(present) > 6 else "") or "no file",
            fix=f"unpack the binary version, {version.archive}",
        )


def _records(path: Path, version: _Version, folder: Path) -> npt.NDArray[np.uint8]:
    """Return a file's records, uint8 (N, bytes of one)."""
    size = len(version.labels) + _PIXELS
    try:
        content = read_bytes(path, MAX_BYTES, within=folder, error=DataError)
    except FileNotFoundError as error:
        raise DataError("no such file", where=path, expected=f"a file of {version.archive}") from error
    if not content or len(content) % size:
        raise DataError(
            "not whole records", where=path, expected=f"a multiple of {size:,} bytes", found=f"{len(content):,}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    for place, (name, (classes, _)) in enumerate(version.labels.items()):
        wrong = np.flatnonzero(records[:, place] >= classes)
        if len(wrong):
            raise DataError(
                f"{'' if name == 'label' else f'{name} '}labels out of range",
                where=path,
                expected=f"0 to {classes - 1}",
                found=f"{records[wrong[0], place]} at position {wrong[0]:,} ({len(wrong):,} such labels)",
            )
    return records


def _split(records: npt.NDArray[np.uint8], labels: Sequence[str], wanted: Sequence[str]) -> Split:
    planes = records[:, len(labels) :].reshape(-1, 3, _SIDE, _SIDE)
    images = np.ascontiguousarray(np.moveaxis(planes, 1, -1))
    targets = {name: records[:, labels.index(name)].astype(np.int32) for name in wanted}
    return Split(images, targets if len(wanted) > 1 else targets[wanted[0]])


def _names(folder: Path, labels: _Labels) -> tuple[str, ...]:
    """Return the names of the classes, their numbers where there is no file of them."""
    path = folder / labels.names
    try:
        text = read_text(path, _MOST_NAMES, within=folder, error=DataError)
    except FileNotFoundError:
        return tuple(map(str, range(labels.classes)))
    names = tuple(filter(None, map(str.strip, text.splitlines())))
    if len(set(names)) != labels.classes or len(names) != labels.classes:
        raise DataError(
            "not the names of the classes",
            where=path,
            expected=f"{labels.classes} different names, a line each",
            found=f"{len(names)} names, {len(set(names))} different",
        )
    return names
