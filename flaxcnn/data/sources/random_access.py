"""Data sets from random-access sources: any object with `len(source)` and `source[position]`.

Examples are TensorFlow Datasets' `data_source`, Grain's data sources and `MapDataset`, Hugging Face's `Dataset` and
PyTorch's map-style `Dataset`. This module imports none of these packages.
"""

import hashlib
import math
import pickle
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from flaxcnn.data.dataset import Dataset, start_digest
from flaxcnn.data.images import IN_MEMORY, StoredImages
from flaxcnn.data.sources.arrays import Examples, assemble, channels_first
from flaxcnn.errors import DataError

Key: TypeAlias = str | int
"""A field of an example: the key in a dictionary, or the position in a tuple."""

_PLACES = {"image": 0, "label": 1}  # positions of the default keys in a tuple


class SourceImages(StoredImages):
    """A source's images, read on demand and checked against their hashes from the first read.

    Args:
        source: an object with `source[position]`.
        key: the image's key in an example.
        shape: (N, H, W, C).
        hashes_N: the images' `_hash`, uint64 (N,).
        where: the source's name in errors.
    """

    def __init__(
        self,
        source: Any,
        key: Key,
        shape: tuple[int, int, int, int],
        hashes_N: npt.NDArray[np.uint64],
        where: str,
    ):
        super().__init__(shape)
        self._source, self._key, self._hashes_N, self._where = source, key, hashes_N, where

    def read(self, positions_K: npt.NDArray[np.integer[Any]], out_KHWC: npt.NDArray[np.uint8]) -> None:
        """Read images into an array, as `StoredImages.read`."""
        for place, position in enumerate(positions_K.tolist()):
            where = f"{self._where} example {position}"
            pixels = _pixels(_field(self._source[position], self._key, "image", where), where)
            if pixels.shape != self.shape[1:] or _hash(pixels) != self._hashes_N[position]:
                raise DataError(
                    "the image changed since the data set was loaded",
                    where=where,
                    expected="the same pixels each time",
                    found="other pixels",
                    fix="remove random transforms from the source; use the augmentation options instead",
                )
            out_KHWC[place] = pixels


def from_source(
    train: Any,
    test: Any = None,
    image: Key = "image",
    target: Key | Mapping[str, Key] = "label",
    *,
    test_fraction: float | None = None,
    group: Key | None = None,
    name: Key | None = None,
    target_names: Any = None,
    source: str = "source",
    in_memory: int = IN_MEMORY,
) -> Dataset:
    """Create a data set from random-access sources of training and test examples.

    This function reads each example once, for its targets, the checks and the digest. Images stay in memory if they fit
    in `in_memory`. Otherwise the loader's worker processes, which receive the pickled source, read them again on
    demand. If the source cannot be pickled, or its class is defined in the running script or notebook, the calling
    process reads them instead, with a warning.

    Args:
        train: an object with `len(train)` and `train[position]`, which returns a dictionary or a tuple (image, label).
            An image is a PIL image or uint8, (H, W, C) or (H, W), all of one size. The source must return the same
            example each time.
        test: the same for the test split.
        image: the image's key in a dictionary or position in a tuple; in a tuple 0 by default.
        target: the target's key or position, in a tuple 1 by default; or {target name: key} for several targets. It has
            one of the types that `from_arrays` accepts, for one example; a dictionary becomes a dictionary of targets.
        test_fraction: as for `from_arrays`, instead of `test`.
        group: the group's key, as for `from_arrays`.
        name: the key of the example's name.
        target_names: as for `from_arrays`; by default the class names that the source declares, if any.
        source: the name of the data set.
        in_memory: a split's images stay in the source if they take more bytes than this.

    Returns:
        The data set.

    Raises:
        ConfigError: neither or both of `test` and `test_fraction` are given.
        DataError: a source has no length, an example lacks a key, images are not uint8 or differ in size, or targets or
            groups are invalid as for `from_arrays`.
    """
    keys = image, target, group, name
    if target_names is None:
        target_names = _declared_names(train, target)
    called = f"{source} train" if test_fraction is None else source
    given = _read(train, keys, in_memory, called)
    tests = None if test is None else _read(test, keys, in_memory, f"{source} test")
    return assemble(source, given, tests, test_fraction, target_names)


def _read(
    source: Any, keys: tuple[Key, Key | Mapping[str, Key], Key | None, Key | None], in_memory: int, where: str
) -> Examples:
    """Read every example once; keep the images in memory if they fit."""
    image, target, group, name = keys
    count = _length(source, where)
    targets: list[Any] = []
    groups: list[Any] = []
    names: list[str] = []
    hashes_N = np.empty(count, np.uint64)
    pixels: npt.NDArray[np.uint8] | None = None
    for position in range(count):
        place = f"{where} example {position}"
        example = source[position]
        found = _pixels(_field(example, image, "image", place), place)
        if pixels is None:
            shape = (count, *found.shape)
            stored = math.prod(shape) > in_memory
            pixels = np.empty((1 if stored else count, *found.shape), np.uint8)
            digest = start_digest(pixels.dtype, shape)
        if found.shape != pixels.shape[1:]:
            raise DataError(
                "images of different sizes",
                where=place,
                expected=f"{'×'.join(map(str, pixels.shape[1:]))} as in example 0",
                found="×".join(map(str, found.shape)),
                fix="resize all images to one size in the source",
            )
        pixels[position % len(pixels)] = found
        digest.update(pixels[position % len(pixels)].data)
        hashes_N[position] = _hash(found)
        if isinstance(target, Mapping):
            targets.append({ours: _plain(_field(example, key, "target", place)) for ours, key in target.items()})
        else:
            targets.append(_plain(_field(example, target, "target", place)))
        if group is not None:
            groups.append(_plain(_field(example, group, "group", place)))
        if name is not None:
            names.append(str(_plain(_field(example, name, "name", place))))
    if pixels is None:
        raise DataError("no images", where=where, expected="at least 1", found=0)
    images: Any = pixels
    if stored:
        images = SourceImages(source, image, shape, hashes_N, where)
        if fault := _why_not_elsewhere(images):
            images.in_workers = False
            warnings.warn(f"{where}: only this process can read its images: {fault}", stacklevel=3)
    return Examples(
        images,
        _gathered(targets),
        groups if group is not None else None,
        names if name is not None else None,
        digest.hexdigest(),
    )


def _length(source: Any, where: str) -> int:
    try:
        count = len(source)
        source.__getitem__  # noqa: B018
    except (TypeError, AttributeError) as error:
        raise DataError(
            "not a random-access source",
            where=where,
            expected="an object with len(source) and source[position]",
            found=type(source).__name__,
        ) from error
    return count


def _field(example: Any, key: Key, what: str, where: str) -> Any:
    """Return an example's value for a key."""
    if isinstance(example, Mapping):
        if key in example:
            return example[key]
        expected, found = repr(key), ", ".join(map(repr, example)) or "no key"
    elif isinstance(example, (tuple, list)):
        place = _PLACES.get(key, key) if isinstance(key, str) else key
        if isinstance(place, int) and -len(example) <= place < len(example):
            return example[place]
        expected, found = (
            f"a position in a tuple for {key!r}" if isinstance(place, str) else f"a value at position {place}",
            (f"a tuple of {len(example)}"),
        )
    else:
        raise DataError(
            "not an example",
            where=where,
            expected="a dictionary or a tuple (image, label)",
            found=type(example).__name__,
        )
    fix = f"give its key with {what}="
    raise DataError(f"an example without {what}", where=where, expected=expected, found=found, fix=fix)


def _pixels(image: Any, where: str) -> npt.NDArray[np.uint8]:
    """Return the pixels of an image, (H, W, C)."""
    if hasattr(image, "getbands"):  # a PIL image
        from flaxcnn.data.sources.decoding import pixels_of  # loading workers that read other images do without Pillow

        return pixels_of(image, where)
    array = np.asarray(image)
    expected, found = "a PIL image, or uint8 (H, W, C) or (H, W)", f"{array.dtype} {array.shape}"
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        if array.dtype == object or array.dtype.kind in "US":
            found = type(image).__name__
        fix = "use uint8 pixels from 0 to 255; the device converts them to floats" if array.dtype.kind == "f" else ""
        raise DataError("an image of the wrong kind", where=where, expected=expected, found=found, fix=fix)
    if array.ndim == 3 and channels_first(array.shape):
        fix = "move the channels to the end: np.moveaxis(image, 0, -1)"
        raise DataError("an image with channels first", where=where, expected=expected, found=found, fix=fix)
    return array[..., None] if array.ndim == 2 else array


def _hash(pixels: npt.NDArray[np.uint8]) -> int:
    return int.from_bytes(hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=8).digest(), "big")


def _plain(value: Any) -> Any:
    """Return a target as a Python value, or as an array if it has several numbers; bytes are decoded to text."""
    if isinstance(value, Mapping):
        return {key: _plain(below) for key, below in value.items()}
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    array = np.asarray(value)
    return array if array.ndim else _plain(array.item()) if array.dtype.kind in "OS" else array[()]


def _gathered(values: Sequence[Any]) -> Any:
    """Return the targets of all examples as one tree: dictionaries of lists for a list of dictionaries."""
    first = values[0]
    if isinstance(first, Mapping):
        keys = sorted({key for value in values if isinstance(value, Mapping) for key in value}, key=str)
        return {
            key: _gathered([value.get(key) if isinstance(value, Mapping) else None for value in values]) for key in keys
        }
    rows = [value for value in values if isinstance(value, np.ndarray)]
    if rows and len(rows) < len(values) and rows[0].dtype.kind == "f":  # an example may lack its numbers
        absent = np.full_like(rows[0], np.nan)
        return [absent if value is None else value for value in values]
    return values


def _declared_names(source: Any, target: Key | Mapping[str, Key]) -> Any:
    """Return the class names that a source declares; None for none.

    TensorFlow Datasets and Hugging Face declare them with the feature, torchvision's sets as `classes`.
    """
    if isinstance(target, Mapping):
        found = {ours: _declared_names(source, key) for ours, key in target.items()}
        return {ours: names for ours, names in found.items() if names is not None} or None
    features = getattr(source, "features", None) or getattr(getattr(source, "dataset_info", None), "features", None)
    try:
        names = features[target].names if features is not None else source.classes
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    is_names = isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names)
    return tuple(names) if is_names else None


def _why_not_elsewhere(images: SourceImages) -> str | None:
    """Return why other processes cannot read the images; None if they can."""
    try:
        _Pickler(_Nowhere()).dump(images)
    except Exception as error:  # what a source's own pickling raises is not known
        return f"{type(error).__name__}: {error}"
    return None


class _Pickler(pickle.Pickler):
    """A pickler that refuses objects defined in `__main__`, which other processes cannot import."""

    def reducer_override(self, value: Any) -> Any:
        if getattr(value, "__module__", None) == "__main__":
            name = getattr(value, "__qualname__", type(value).__qualname__)
            raise pickle.PicklingError(f"{name} is defined in the program itself; a module can be imported elsewhere")
        return NotImplemented


class _Nowhere:
    def write(self, data: bytes) -> int:
        return len(data)
