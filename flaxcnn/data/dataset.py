"""What every source of images ends in: uint8 images and their targets in two splits, checked once, never written to.

Floats are made on the device, from these bytes; nothing here knows where the images came from.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import InitVar, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flaxcnn.data.images import Images, StoredImages, choose, in_pieces
from flaxcnn.data.targets import check_targets, choose_targets, read_only
from flaxcnn.errors import DataError

_MOST_EXAMPLES = 2**31 - 1  # positions are int32


@dataclass(frozen=True, eq=False)
class Split:
    """Images and what is to be learned from them, in a fixed order. Arrays are kept as read-only views.

    Creating one checks all that can be checked without knowing the task or the classes.

    Attributes:
        images: uint8 (N, H, W, C), an array or, of a large data set, `StoredImages`; N at most 2**31 - 1.
        targets: int32 (N,) class numbers, float32 or bool arrays with N rows, or a dictionary of these.
        groups: int32 (N,): examples of one group (a person, a plant, a session) are never divided between splits, and
            intervals resample groups; None where each example stands for itself.
        names: of the examples, such as their files' paths; None where they have none.
        places: what to call "images" and "labels" in an error, such as a file's path; not kept.

    Raises:
        DataError: targets of another type, negative class numbers, or another number of anything than of images.
    """

    images: Images
    targets: Any
    groups: npt.NDArray[np.int32] | None = None
    names: tuple[str, ...] | None = None
    places: InitVar[Mapping[str, str] | None] = None

    def __post_init__(self, places: Mapping[str, str] | None) -> None:
        if not isinstance(self.images, StoredImages):
            object.__setattr__(self, "images", read_only(self.images))
        object.__setattr__(self, "targets", read_only(self.targets))
        called = {"images": "images", "labels": "targets", **(places or {})}
        check_targets(self.targets, len(self.images), called["labels"], called["images"])
        if len(self.images) > _MOST_EXAMPLES:
            raise DataError(
                "too many examples",
                where=called["images"],
                expected=f"at most {_MOST_EXAMPLES:,}",
                found=f"{len(self.images):,}",
            )
        if holds_classes(self.targets):
            _check_range(self.targets, self.targets < 0, "0 or more", called["labels"])
        if self.groups is not None:
            object.__setattr__(self, "groups", read_only(self.groups))
            check_targets(self.groups, len(self.images), "groups", called["images"])
            if self.groups.dtype != np.int32 or self.groups.ndim != 1:
                found = f"{self.groups.dtype} {self.groups.shape}"
                raise DataError("groups of the wrong kind", where="groups", expected="int32 (N,)", found=found)
        if self.names is not None and len(self.names) != len(self.images):
            expected = f"{len(self.images)}, as {called['images']} has images"
            raise DataError("not one name for each image", where="names", expected=expected, found=len(self.names))

    def __len__(self) -> int:
        return len(self.images)

    def choose(self, positions: npt.NDArray[np.integer[Any]]) -> "Split":
        """Return some examples: of arrays a copy, of images on disk the places where they are."""
        return Split(
            choose(self.images, positions),
            choose_targets(self.targets, positions),
            None if self.groups is None else self.groups[positions],
            None if self.names is None else tuple(self.names[position] for position in positions),
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A train and a test split of one problem.

    Creating one checks what its splits have not: the images' dtypes and ranks, that no split is empty, class numbers
    within the classes, and images of one size in both splits. Whether the targets fit a task is the task's matter.

    Attributes:
        source: what `load` was asked for, such as "mnist" or "idx:/data/fashion".
        train: the examples to learn from.
        test: the examples to measure on.
        target_names: what the targets' values are called: a name for each class, of which a label is the index; for
            each label of several; or for each number. For a dictionary of targets, a dictionary of these.
        digests: SHA-256 in hex by name: of each uncompressed file, or of each array's content (`array_digest`).
        places: what to call "train/images", "train/labels", "test/images" and "test/labels" in an error, such as a
            file's path; not kept.

    Raises:
        DataError: at the first thing that does not fit.
    """

    source: str
    train: Split
    test: Split
    target_names: Any  # tuple[str, ...], or a mapping of these
    digests: Mapping[str, str]
    places: InitVar[Mapping[str, str] | None] = None

    def __post_init__(self, places: Mapping[str, str] | None) -> None:
        called = {
            f"{split}/{part}": f"{self.source} {split} {part}"
            for split in ("train", "test")
            for part in ("images", "labels")
        }
        called.update(places or {})
        for name, split in (("train", self.train), ("test", self.test)):
            _check_images(split.images, called[f"{name}/images"])
            if holds_classes(split.targets):
                check_class_range(split.targets, self.classes, called[f"{name}/labels"])
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise DataError(
                "train and test images of different shapes",
                where=called["test/images"],
                expected=f"{_by(self.image_shape)} as in {called['train/images']}",
                found=_by(self.test.images.shape[1:]),
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        _, height, width, channels = self.train.images.shape
        return height, width, channels

    @property
    def classes(self) -> int:
        """How many names the targets have: of one label an image, the number of classes."""
        return len(self.target_names)

    @property
    def has_classes(self) -> bool:
        """Whether the targets are one class number for each image."""
        return holds_classes(self.train.targets)


def holds_classes(targets: Any) -> bool:
    """Return whether targets are one class number for each example, int32 (N,)."""
    return isinstance(targets, np.ndarray) and targets.dtype == np.int32 and targets.ndim == 1


def check_class_range(labels: npt.NDArray[np.int32], classes: int, where: str) -> None:
    """Raise DataError at the first class number that is not one of 0 to `classes` - 1."""
    _check_range(labels, (labels < 0) | (labels >= classes), f"0 to {classes - 1}", where)


def array_digest(array: npt.NDArray[np.generic] | StoredImages) -> str:
    """Return the SHA-256 of an array's dtype, shape and elements in C order, in hex; the same on every machine.

    Images on disk are read in pieces; theirs is that of the same images in an array.

    >>> array_digest(np.zeros((2, 3), np.uint8)) == array_digest(np.zeros((3, 2), np.uint8))
    False
    """
    digest = start_digest(array.dtype, array.shape)
    for piece in in_pieces(array) if isinstance(array, StoredImages) else (array,):
        little_endian = np.ascontiguousarray(piece, piece.dtype.newbyteorder("<"))
        digest.update(little_endian.reshape(-1).data)
    return digest.hexdigest()


def start_digest(dtype: np.dtype[Any], shape: tuple[int, ...]) -> "hashlib._Hash":
    """Return what is `array_digest` once it is updated with an array's elements, little-endian, in C order."""
    return hashlib.sha256(f"{dtype.name} {shape}\n".encode())


def _check_images(images: Images, where: str) -> None:
    if images.dtype != np.uint8 or images.ndim != 4:
        raise DataError(
            "images of the wrong kind",
            where=where,
            expected="uint8 (N, H, W, C)",
            found=f"{images.dtype} {images.shape}",
        )
    if 0 in images.shape:
        raise DataError("no images", where=where, expected="every dimension at least 1", found=_by(images.shape))


def _check_range(labels: npt.NDArray[np.int32], outside: npt.NDArray[np.bool_], expected: str, where: str) -> None:
    wrong = np.flatnonzero(outside)
    if len(wrong):
        raise DataError(
            "labels out of range",
            where=where,
            expected=expected,
            found=f"{labels[wrong[0]]} at position {wrong[0]} ({len(wrong)} such labels)",
        )


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(str(extent) for extent in shape)
