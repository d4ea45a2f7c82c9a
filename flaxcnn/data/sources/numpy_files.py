"""`npz:FILE` and `npy:FILE`: arrays of images and targets that NumPy saved.

npz   images, labels                                 the test split is drawn by the images' content
      x_train, y_train, x_test, y_test               as Keras names them; x_val and y_val, too, if they are there
      train_images, train_labels, test_images, …     as MedMNIST names them, and val_images, val_labels
npy   FILE has the images, NAME_labels.npy or labels.npy beside it the targets

Targets are what `from_arrays` takes: class numbers, numbers as floats, or labels as bool. No pickle is read.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from flaxcnn.data.dataset import Dataset, Split
from flaxcnn.data.given_targets import targets_of
from flaxcnn.data.images import Images
from flaxcnn.data.options import Request
from flaxcnn.data.sources.arrays import Examples, assemble, check_images, images_of
from flaxcnn.data.sources.raw_images import RawImages, file_version
from flaxcnn.errors import DataError
from flaxcnn.files import open_regular, user_path
from flaxcnn.files.npz import Form, read_elements, read_header, read_npz

USES = frozenset({"test"})

MAX_BYTES = 8 << 30
"""The most that arrays take in memory: 8 GiB."""

_WHOLE = {"": ("images", "labels")}
_DIVIDED = (
    {"train": ("x_train", "y_train"), "test": ("x_test", "y_test"), "validation": ("x_val", "y_val")},
    {
        "train": ("train_images", "train_labels"),
        "test": ("test_images", "test_labels"),
        "validation": ("val_images", "val_labels"),
    },
)


def load(request: Request) -> Dataset:
    """Return the data set of arrays in files.

    Raises:
        DataError: a file is missing or damaged, or its arrays have other names or are of other kinds.
    """
    path = user_path(request.name, "data.source")
    if request.source.startswith("npz:"):
        return _load_npz(path, request)
    examples = Examples(_read_images(path, request.in_memory), _read_targets(path))
    return assemble(request.source, examples, None, request.options.test, None)


def _load_npz(path: Path, request: Request) -> Dataset:
    named: dict[str, tuple[str, str]] = {}
    try:
        arrays = read_npz(
            path,
            lambda forms: named.update(_names_of(forms, path)),
            most=MAX_BYTES,
            what="arrays of numbers that numpy.savez saved",
            error=DataError,
        )
    except FileNotFoundError as error:
        raise _missing(path, "arrays of images and targets") from error
    except MemoryError as error:
        raise DataError("too large for the memory", where=path) from error
    if "" in named:
        examples = Examples(arrays["images"], arrays["labels"])
        return assemble(request.source, examples, None, request.options.test, None)
    wheres = {split: (f"{path} {images}", f"{path} {labels}") for split, (images, labels) in named.items()}
    targets, names = targets_of(
        [arrays[labels] for _, labels in named.values()], None, [labels for _, labels in wheres.values()]
    )
    splits: dict[str, Split] = {}
    origins: dict[str, str] = {}
    for (split, (images, _)), of_split in zip(named.items(), targets, strict=True):
        called = dict(zip(("images", "labels"), wheres[split], strict=True))
        splits[split] = Split(images_of(arrays[images], called["images"]), of_split, origins=called)
        origins |= {f"{split}/{kind}": where for kind, where in called.items()}
    validation = splits.get("validation")
    return Dataset(request.source, splits["train"], splits["test"], names, validation=validation, origins=origins)


def _names_of(forms: Mapping[str, Form], path: Path) -> Mapping[str, tuple[str, str]]:
    """Return split -> the names of its images and targets, "" for all examples; raises DataError for other names."""
    names = set(forms)
    for spelling in (_WHOLE, *_DIVIDED):
        there = {split: pair for split, pair in spelling.items() if names & set(pair)}
        whole = "" in there or {"train", "test"} <= there.keys()
        if whole and names == {name for pair in there.values() for name in pair}:
            return there
    raise DataError(
        "arrays of other names",
        where=path,
        expected=" or ".join(", ".join(_shown(spelling)) for spelling in (_WHOLE, *_DIVIDED)),
        found=", ".join(sorted(names)) or "no array",
        fix="save them under these names, without others",
    )


def _shown(spelling: Mapping[str, tuple[str, str]]) -> list[str]:
    return [name for split, pair in spelling.items() if split != "validation" for name in pair]


def _read_images(path: Path, in_memory: int) -> Images:
    """Return the images of a file; where they take more memory than allowed, and are uint8, they stay there."""
    with _opened(path, "an array of images") as (file, form, fortran):
        if form.nbytes > in_memory and form.dtype == np.uint8 and not fortran:
            check_images(form.dtype, form.shape, path)
            count, height, width, channels = (*form.shape, 1)[:4]
            version = file_version(os.fstat(file.fileno()))
            return RawImages(path, file.tell(), (count, height, width, channels), version)
        images = read_elements(file, _bounded(form, path), fortran)
    return images_of(images, str(path))


def _read_targets(path: Path) -> npt.NDArray[Any]:
    """Return the targets that lie beside a file of images."""
    beside = [path.with_name(f"{path.stem}_labels.npy"), path.with_name("labels.npy")]
    there = [each for each in beside if each.exists() and each != path]
    what = f"{beside[0].name} or {beside[1].name} beside {path.name}"
    with _opened(there[0] if there else beside[0], what) as (file, form, fortran):
        return read_elements(file, _bounded(form, path), fortran)


@contextmanager
def _opened(path: Path, what: str) -> Iterator[tuple[BinaryIO, Form, bool]]:
    """Open a file of an array behind its header; raises DataError where it is none."""
    try:
        with open_regular(path, within=path.parent, error=DataError) as file:
            form, fortran = read_header(file)
            found = os.fstat(file.fileno()).st_size - file.tell()
            if found != form.nbytes:
                fault = "truncated" if found < form.nbytes else "trailing bytes"
                raise DataError(fault, where=path, expected=f"{form.nbytes:,} bytes of {form}", found=f"{found:,}")
            yield file, form, fortran
    except FileNotFoundError as error:
        raise _missing(path, what) from error
    except (EOFError, ValueError, TypeError, MemoryError) as error:
        expected = "an array of numbers that numpy.save saved"
        raise DataError(f"damaged: {str(error) or type(error).__name__}", where=path, expected=expected) from error


def _bounded(form: Form, path: Path) -> Form:
    if form.nbytes > MAX_BYTES:
        raise DataError("too large", where=path, expected=f"at most {MAX_BYTES >> 30} GiB in memory", found=form)
    return form


def _missing(path: Path, what: str) -> DataError:
    return DataError("no such file", where=path, expected=what)
