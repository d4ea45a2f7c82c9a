"""The data set that every source produces: uint8 images with targets in two splits, checked once and read-only.

The device converts the bytes to floats. Nothing here depends on the source of the images.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from flaxcnn.data.image_files import ImageFiles
from flaxcnn.data.images import Images, StoredImages, choose, in_pieces
from flaxcnn.data.targets import check_targets, choose_targets, is_classes, is_object_classes, leaves, read_only
from flaxcnn.errors import DataError

_MOST_EXAMPLES = 2**31 - 1  # positions are int32


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their targets, in a fixed order. Arrays are stored as read-only views.

    The constructor checks everything that does not depend on the task or the classes.

    Attributes:
        images: uint8 (N, H, W, C), an array or, for a large data set, `StoredImages`; N is at most 2**31 - 1.
        targets: int32 (N,) class numbers, float32 or bool arrays with N rows, or a dictionary of these. In a
            dictionary, an example may lack a target: -1 for a class number, NaN for a number. Of objects it has
            "boxes", float32 (N, M, 4) as y0, x0, y1, x1 in pixels of the image, and "classes", int32 (N, M); NaN and
            -1 where an image has fewer than M. Of image files also "scale", float32 (N,): pixels of the image for
            one of the file's.
        groups: group numbers, int32 (N,); None for no groups. Examples of one group (a person, a plant, a session) are
            never divided between splits, and confidence intervals resample whole groups.
        names: names of the examples, such as file paths; None for no names.
        origins: names for "images" and "labels" in errors, such as file paths; not stored.

    Raises:
        DataError: targets of another type, class numbers below 0, numbers that are not finite, or counts that differ
            from the number of images.
    """

    images: Images
    targets: Any
    groups: npt.NDArray[np.int32] | None = None
    names: tuple[str, ...] | None = None
    origins: InitVar[Mapping[str, str] | None] = None

    def __post_init__(self, origins: Mapping[str, str] | None) -> None:
        if not isinstance(self.images, StoredImages):
            object.__setattr__(self, "images", read_only(self.images))
        object.__setattr__(self, "targets", read_only(self.targets))
        called = {"images": "images", "labels": "targets", **(origins or {})}
        check_targets(self.targets, len(self.images), called["labels"], called["images"])
        if len(self.images) > _MOST_EXAMPLES:
            raise DataError(
                "too many examples",
                where=called["images"],
                expected=f"at most {_MOST_EXAMPLES:,}",
                found=f"{len(self.images):,}",
            )
        _check_values(self.targets, called["labels"])
        if self.groups is not None:
            object.__setattr__(self, "groups", read_only(self.groups))
            check_targets(self.groups, len(self.images), "groups", called["images"])
            if self.groups.dtype != np.int32 or self.groups.ndim != 1:
                found = f"{self.groups.dtype} {self.groups.shape}"
                raise DataError("groups of the wrong kind", where="groups", expected="int32 (N,)", found=found)
        if self.names is not None and len(self.names) != len(self.images):
            expected = f"{len(self.images)}, as {called['images']} has images"
            raise DataError("image and name counts differ", where="names", expected=expected, found=len(self.names))

    def __len__(self) -> int:
        return len(self.images)

    def choose(self, positions: npt.NDArray[np.integer[Any]]) -> "Split":
        """Return some of the examples. Arrays are copied; images on disk stay on disk."""
        return Split(
            choose(self.images, positions),
            choose_targets(self.targets, positions),
            None if self.groups is None else self.groups[positions],
            None if self.names is None else tuple(self.names[position] for position in positions),
        )

    def first(self, count: int) -> "Split":
        """Return the first `count` examples. Arrays are views; images on disk stay on disk."""
        stored = isinstance(self.images, StoredImages)
        return Split(
            choose(self.images, np.arange(count)) if stored else self.images[:count],
            choose_targets(self.targets, slice(count)),
            None if self.groups is None else self.groups[:count],
            None if self.names is None else self.names[:count],
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set with a training and a test split.

    The constructor checks what `Split` does not: the images' dtype and rank, that no split is empty, that class numbers
    are within the classes, that each column has a name, that both splits have the same image size and kind of targets,
    and that they share no group. The task checks whether the targets fit it.

    Attributes:
        source: the argument of `load`, such as "mnist" or "idx:/data/fashion".
        train: the training examples.
        test: the test examples.
        target_names: a name for each class (indexed by class number), for each of several labels, or for each number.
            For a dictionary of targets, a dictionary of these.
        digests: SHA-256 digests in hex, by name, of each uncompressed file or of each array's content. Default:
            `split_digests` of both splits. A run records them and resumes only with the same data.
        validation: examples for choices during training, where the source has such a split.
        notes: what the user has to know of how the source was understood, a line each.
        preparation: the options of the source that it chose itself, by name, such as the size that images were fitted
            to: with them it gives the same images of other files, too.
        files: the image files that it was made of; None where it was made of something else.
        origins: names for "train/images", "train/labels", "test/images" and "test/labels" in errors, such as file
            paths; not stored.

    Raises:
        DataError: a check fails.
    """

    source: str
    train: Split
    test: Split
    target_names: Any  # tuple[str, ...], or a mapping of these
    digests: Mapping[str, str] = field(default_factory=dict)
    validation: Split | None = None
    notes: tuple[str, ...] = ()
    preparation: Mapping[str, Any] = field(default_factory=dict)
    files: ImageFiles | None = None
    origins: InitVar[Mapping[str, str] | None] = None

    def __post_init__(self, origins: Mapping[str, str] | None) -> None:
        called = {
            f"{split}/{part}": f"{self.source} {split} {part}"
            for split in ("train", "test", "validation")
            for part in ("images", "labels")
        }
        called.update(origins or {})
        for name, split in self.splits.items():
            _check_images(split.images, called[f"{name}/images"])
        for name, split in list(self.splits.items())[1:]:
            _check_same_kind(self.train.targets, split.targets, called["train/labels"], called[f"{name}/labels"])
        for name, split in self.splits.items():
            _check_names(split.targets, self.target_names, called[f"{name}/labels"])
        for (first, one), (second, other) in combinations(self.splits.items(), 2):
            if one.images.shape[1:] != other.images.shape[1:]:
                raise DataError(
                    f"{first} and {second} images of different shapes",
                    where=called[f"{second}/images"],
                    expected=f"{_by(self.image_shape)} as in {called[f'{first}/images']}",
                    found=_by(other.images.shape[1:]),
                )
            _check_groups(one.groups, other.groups, first, f"{self.source} {second} groups")
        if not self.digests:
            made = [split_digests(name, split) for name, split in self.splits.items()]
            object.__setattr__(self, "digests", {key: digest for each in made for key, digest in each.items()})

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name: "train", "test" and, where there is one, "validation"."""
        found = {"train": self.train, "test": self.test}
        return found if self.validation is None else {**found, "validation": self.validation}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        _, height, width, channels = self.train.images.shape
        return height, width, channels

    @property
    def classes(self) -> int:
        """The number of target names; for one label per image, the number of classes."""
        return len(self.target_names)

    @property
    def has_classes(self) -> bool:
        """Whether the targets are one class number per image."""
        return holds_classes(self.train.targets)


def holds_classes(targets: Any) -> bool:
    """Return whether targets are one class number per example, int32 (N,)."""
    return isinstance(targets, np.ndarray) and is_classes(targets)


def split_digests(name: str, split: Split) -> dict[str, str]:
    """Return the `array_digest` of everything in a split that affects results, by name.

    The names are "NAME/images", "NAME/targets" (for a dictionary of targets "NAME/targets/KEY"), and "NAME/groups" if
    there are groups. Example names do not affect results and have no digest.

    Args:
        name: the name of the split, "train" or "test".
        split: the split.
    """
    return {f"{name}/images": array_digest(split.images), **target_digests(name, split)}


def target_digests(name: str, split: Split) -> dict[str, str]:
    """Return `split_digests` without the images' digest."""
    arrays = {f"{name}/targets/{key}".rstrip("/"): array for key, array in leaves(split.targets)}
    if split.groups is not None:
        arrays[f"{name}/groups"] = split.groups
    return {key: array_digest(array) for key, array in arrays.items()}


def check_class_range(labels: npt.NDArray[np.int32], classes: int, where: str) -> None:
    """Raise DataError at the first class number outside 0 to `classes` - 1."""
    _check_range(labels, (labels < 0) | (labels >= classes), f"0 to {classes - 1}", where)


def array_digest(array: npt.NDArray[np.generic] | StoredImages) -> str:
    """Return the SHA-256 digest in hex of an array's dtype, shape and elements in C order, equal on every machine.

    Images on disk are read in pieces; their digest equals that of the same images in an array.

    >>> array_digest(np.zeros((2, 3), np.uint8)) == array_digest(np.zeros((3, 2), np.uint8))
    False
    """
    digest = start_digest(array.dtype, array.shape)
    for piece in in_pieces(array) if isinstance(array, StoredImages) else (array,):
        little_endian = np.ascontiguousarray(piece, piece.dtype.newbyteorder("<"))
        digest.update(little_endian.reshape(-1).data)
    return digest.hexdigest()


def start_digest(dtype: np.dtype[Any], shape: tuple[int, ...]) -> "hashlib._Hash":
    """Start an `array_digest`; update it with the array's elements, little-endian, in C order."""
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


def _check_values(targets: Any, where: str) -> None:
    """Raise DataError at the first class number or number that no task accepts."""
    may_lack = isinstance(targets, Mapping)
    for name, array in leaves(targets):
        place = f"{where}/{name}" if name else where
        if is_classes(array):
            least = -1 if may_lack else 0
            expected = "0 or more, or -1 where the example lacks this target" if may_lack else "0 or more"
            _check_range(array, array < least, expected, place)
        elif is_object_classes(name, array):
            _check_range(array, (array < -1).any(axis=1), "0 or more, or -1 where there is no object", place)
        elif array.dtype == np.float32:
            outside = np.isinf(array) if may_lack else ~np.isfinite(array)
            expected = "finite numbers, or NaN where the example lacks this target" if may_lack else "finite numbers"
            _check_range(array, outside.reshape(len(array), -1).any(axis=1), expected, place)


def _check_range(labels: npt.NDArray[Any], outside: npt.NDArray[np.bool_], expected: str, where: str) -> None:
    wrong = np.flatnonzero(outside)
    if len(wrong):
        what, such = ("labels out of range", "labels") if is_classes(labels) else ("not finite", "examples")
        found = f"{labels[wrong[0]]} at position {wrong[0]} ({len(wrong)} such {such})"
        raise DataError(what, where=where, expected=expected, found=found)


def _check_names(targets: Any, names: Any, where: str, key: str = "") -> None:
    """Raise DataError if the names do not fit the targets."""
    if isinstance(targets, Mapping) != isinstance(names, Mapping) or (
        isinstance(names, Mapping) and names.keys() != targets.keys()
    ):
        raise DataError(
            "target_names do not match the targets",
            where=where,
            expected=f"a dictionary with {_keys(targets)}" if isinstance(targets, Mapping) else "a tuple of names",
            found=f"a dictionary with {_keys(names)}" if isinstance(names, Mapping) else type(names).__name__,
        )
    if isinstance(targets, Mapping):
        for name in sorted(targets):
            _check_names(targets[name], names[name], f"{where}/{name}", name)
    elif is_classes(targets):
        _check_range(targets, targets >= len(names), f"0 to {len(names) - 1}", where)
    elif is_object_classes(key, targets):
        _check_range(targets, (targets >= len(names)).any(axis=1), f"0 to {len(names) - 1}", where)
    elif targets.ndim <= 2:
        columns = targets.shape[1] if targets.ndim == 2 else 1
        if len(names) != columns:
            raise DataError(
                "column and name counts differ", where=where, expected=f"{columns} target_names", found=len(names)
            )


def _check_same_kind(train: Any, test: Any, train_where: str, test_where: str) -> None:
    """Raise DataError if the targets of the two splits differ in anything but their lengths."""
    kinds = [
        {name: f"{array.dtype} {('N', *array.shape[1:])}".replace("'", "") for name, array in leaves(targets)}
        for targets in (train, test)
    ]
    if kinds[0] != kinds[1]:
        ours, theirs = (", ".join(f"{name} {kind}".strip() for name, kind in each.items()) for each in kinds)
        expected = f"{ours} as in {train_where}"
        raise DataError("train and test targets of different kinds", where=test_where, expected=expected, found=theirs)


def _check_groups(
    train: npt.NDArray[np.int32] | None, test: npt.NDArray[np.int32] | None, first: str, where: str
) -> None:
    """Raise DataError if the splits share a group: test results would then reward memorised groups."""
    if train is None or test is None:
        return
    both = np.intersect1d(train, test)
    if len(both):
        raise DataError(
            "a group in both splits",
            where=where,
            expected=f"no group of the {'training' if first == 'train' else first} split",
            found=f"group {both[0]}" + (f" and {len(both) - 1:,} more" if len(both) > 1 else ""),
            fix="move whole groups, or number the groups of the two splits apart if they are not the same",
        )


def _keys(mapping: Mapping[str, Any]) -> str:
    return ", ".join(f"'{key}'" for key in sorted(mapping)) or "no key"


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(str(extent) for extent in shape)
