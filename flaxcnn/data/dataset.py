"""What every source of images ends in: uint8 images and int32 labels in two splits, checked once, never written to.

Floats are made on the device, from these bytes; nothing here knows where the images came from.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import InitVar, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flaxcnn.data.images import Images, StoredImages, in_pieces
from flaxcnn.errors import DataError

_MOST_EXAMPLES = 2**31 - 1  # positions are int32


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, in a fixed order. Arrays are kept as read-only views.

    Creating one checks the labels as far as they can be without the classes, which are the data set's.

    Attributes:
        images: uint8 (N, H, W, C), an array or, of a large data set, `StoredImages`; N at most 2**31 - 1.
        labels: int32 (N,), each the index of a class.
        places: what to call "images" and "labels" in an error, such as a file's path; not kept.

    Raises:
        DataError: labels that are not int32 (N,) or that are negative, or another number of them than of images.
    """

    images: Images
    labels: npt.NDArray[np.int32]
    places: InitVar[Mapping[str, str] | None] = None

    def __post_init__(self, places: Mapping[str, str] | None) -> None:
        for name in ("images", "labels"):
            if isinstance(getattr(self, name), StoredImages):
                continue
            view = np.asarray(getattr(self, name)).view()
            view.setflags(write=False)
            object.__setattr__(self, name, view)
        called = {"images": "images", "labels": "labels", **(places or {})}
        _check_labels(self, called["labels"], called["images"])

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A train and a test split of one image-classification problem.

    Creating one checks what its splits have not: the images' dtypes and ranks, that no split is empty, labels within
    the classes, and images of one size in both splits.

    Attributes:
        source: what `load` was asked for, such as "mnist" or "idx:/data/fashion".
        train: the examples to learn from.
        test: the examples to measure on.
        class_names: a name for each class; a label is an index into it.
        digests: SHA-256 in hex by name: of each uncompressed file, or of each array's content (`array_digest`).
        places: what to call "train/images", "train/labels", "test/images" and "test/labels" in an error, such as a
            file's path; not kept.

    Raises:
        DataError: at the first thing that does not fit.
    """

    source: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
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
            _check_range(
                split.labels, split.labels >= self.classes, f"0 to {self.classes - 1}", called[f"{name}/labels"]
            )
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
        """Number of classes; labels are 0 to one less than this."""
        return len(self.class_names)


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


def _check_labels(split: Split, where: str, images_where: str) -> None:
    labels = split.labels
    if labels.dtype != np.int32 or labels.ndim != 1:
        raise DataError(
            "labels of the wrong kind", where=where, expected="int32 (N,)", found=f"{labels.dtype} {labels.shape}"
        )
    if len(labels) != len(split.images):
        raise DataError(
            "image and label counts differ",
            where=where,
            expected=f"{len(split.images)} labels, as {images_where} has images",
            found=len(labels),
        )
    if len(labels) > _MOST_EXAMPLES:
        raise DataError(
            "too many examples", where=where, expected=f"at most {_MOST_EXAMPLES:,}", found=f"{len(labels):,}"
        )
    _check_range(labels, labels < 0, "0 or more", where)


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
