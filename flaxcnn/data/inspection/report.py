"""Describe a data set as lines of text and as a grid of examples (Figure 1 of the founding paper)."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from flaxcnn.data.dataset import Dataset, Split
from flaxcnn.data.images import in_pieces
from flaxcnn.data.inspection.duplicates import SAME_PICTURE, Duplicates
from flaxcnn.data.targets import (
    choose_targets,
    is_classes,
    is_object_classes,
    leaves,
    name_leaves,
    row_text,
    target_rows,
)
from flaxcnn.errors import DataError
from flaxcnn.pictures import drawn, new_figure

_ROWS, _COLUMNS = 5, 10
_PAIRS = 5  # of near duplicates that are listed
_NAMES = 5  # of classes without an example that are listed


def describe(dataset: Dataset) -> list[str]:
    """Return lines that say what a data set is: shapes, value range and mean, the targets, groups, digests.

    Each array of the targets has a table. Of classes it counts the examples of each, or the objects, of labels those
    where each holds, the splits side by side; one without an example counts 0. Of numbers it has the least, the mean
    and the greatest. Where examples lack the target, they are counted as missing.
    """
    heads = [("source", dataset.source), *((name, _summary(split)) for name, split in dataset.splits.items())]
    if groups := _groups(dataset):
        heads.append(("groups", groups))
    width = max(8, *(len(name) for name, _ in heads))
    lines = [f"{name:<{width}} {told}" for name, told in heads]
    for name, train, names in name_leaves(dataset.train.targets, dataset.target_names):
        arrays = {split: dict(leaves(found.targets))[name] for split, found in dataset.splits.items()}
        if train.ndim <= 2:
            lines += ["", *_table(_rows_of(name, arrays, names))]
    lines.append("")
    width = max(map(len, dataset.digests), default=0)
    lines += [f"{name:<{width}}  sha256 {digest}" for name, digest in dataset.digests.items()]
    return lines


def describe_absent(splits: Mapping[str, Split], target_names: Any) -> str | None:
    """Return a line that names the classes, and the labels, of which a split has no example.

    None where every split has all. Of a dictionary of targets, the array that has them is named.

    >>> split = Split(np.zeros((2, 1, 1, 1), np.uint8), np.asarray([1, 2], np.int32))
    >>> describe_absent({"training": split, "test": split}, ("0", "1", "2"))
    'no training image of 1 of 3 classes (0), no test image of 1 (0)'
    """
    counted: dict[str, tuple[str, Any, list[str]]] = {}
    for split_name, split in splits.items():
        for name, array, names in name_leaves(split.targets, target_names):
            if _has_classes(name, array) or (array.dtype == bool and array.ndim <= 2):
                _, _, parts = counted.setdefault(
                    name, ("classes" if _has_classes(name, array) else "labels", names, [])
                )
                if part := _absent(split_name, array, names, "" if parts else f" of {len(names):,} {counted[name][0]}"):
                    parts.append(part)
    lines = [
        f"{name}: {', '.join(parts)}" if name else ", ".join(parts) for name, (_, _, parts) in counted.items() if parts
    ]
    return "; ".join(lines) or None


def _absent(split: str, array: npt.NDArray[Any], names: Sequence[str], of_all: str) -> str | None:
    absent = [_one_line(name) for name, count in zip(names, counts_of(array, len(names)), strict=True) if not count]
    if not absent:
        return None
    more = f" and {len(absent) - _NAMES:,} more" if len(absent) > _NAMES else ""
    return f"no {split} image of {len(absent):,}{of_all} ({', '.join(absent[:_NAMES])}{more})"


def describe_duplicates(duplicates: Duplicates, target_names: Any) -> list[str]:
    """Return lines that say how many images are there more than once, and which test images are nearest to training.

    A table with a row each for copies within training, within test, test images that stand in training and those that
    nearly do; "relabelled" counts the images among them with another target than their copy. Then the five nearest
    pairs that are not copies, where there are any, with their positions from 0.
    """
    exact, near = duplicates.exact, duplicates.near
    rows = [("duplicates", "images", "relabelled")]
    rows += [
        (name, f"{images:,}", f"{relabelled:,}")
        for name, images, relabelled in (
            ("copies in train", duplicates.train.images, duplicates.train.relabelled),
            ("copies in test", duplicates.test.images, duplicates.test.relabelled),
            ("test in train", len(exact), sum(pair.test_label != pair.train_label for pair in exact)),
            ("test nearly in train", len(near), sum(pair.test_label != pair.train_label for pair in near)),
        )
    ]
    lines = _table(rows)
    if near:
        lines += ["", f"nearest pairs, of correlation {SAME_PICTURE} or more"]
    for pair in near[:_PAIRS]:
        test, train = (row_text(label, target_names) for label in (pair.test_label, pair.train_label))
        # Not 1.00000, which is a copy's.
        lines.append(f"{min(pair.correlation, 0.99999):.5f}  test {pair.test} ({test}), train {pair.train} ({train})")
    return lines


def draw_examples(dataset: Dataset, path: str | os.PathLike[str]) -> None:
    """Write a PNG with a grid of training images, each titled with its class, or whatever its target is.

    They are 50, or all where there are fewer, at even distances through the split, so that a data set sorted by class
    shows its classes. The same data set gives the same picture. A file that is there already is replaced.

    Args:
        dataset: grayscale or RGB.
        path: the file to write.

    Raises:
        DataError: the file cannot be written.
        PictureError: matplotlib cannot draw it.
    """
    picture = drawn(str(path), lambda file: _draw_grid(dataset, file))
    try:
        Path(path).write_bytes(picture)
    except OSError as error:
        raise DataError(
            "cannot write the picture of examples", where=path, found=(error.strerror or str(error)).lower()
        ) from error


def _draw_grid(dataset: Dataset, file: BinaryIO) -> None:
    shown = min(_ROWS * _COLUMNS, len(dataset.train))
    positions = np.arange(shown) * len(dataset.train) // shown
    rows = -(-shown // _COLUMNS)
    figure = new_figure(_COLUMNS, 0.4 + 1.25 * rows, dpi=120)
    figure.suptitle(f"{dataset.source}: {shown} of {len(dataset.train):,} training images", fontsize=11)
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    titles = target_rows(choose_targets(dataset.train.targets, positions))
    for axis, position, title in zip(axes, positions, titles, strict=False):
        image = dataset.train.images[position]
        axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        axis.set_title(_shortened(row_text(title, dataset.target_names)), fontsize=9, pad=3)
    figure.savefig(file, format="png", metadata={"Software": None})


def _summary(split: Split) -> str:
    images = split.images
    height, width, channels = images.shape[1:]
    kind = f"{len(split):,} images {height}×{width}×{channels} {images.dtype}"
    pieces = [(np.min(piece), np.max(piece), int(np.sum(piece, dtype=np.uint64))) for piece in in_pieces(images)]
    lowest, highest, sums = zip(*pieces, strict=True)
    values = f"values {min(lowest)} to {max(highest)}, mean {sum(sums) / images.nbytes:.2f}"
    return f"{kind}, {values}; {_kinds(split.targets)}"


def _kinds(targets: Any) -> str:
    """Return what the targets are, such as "labels int32" or "targets species int32, weight float32"."""
    if not isinstance(targets, Mapping) and is_classes(targets):
        return f"labels {targets.dtype}"
    kinds = [
        f"{name} {array.dtype}".strip()
        + "".join(f"{'×' if place else ' '}{n}" for place, n in enumerate(array.shape[1:]))
        for name, array in leaves(targets)
    ]
    return f"targets {', '.join(kinds)}"


def _groups(dataset: Dataset) -> str:
    parts = []
    for name, split in dataset.splits.items():
        if split.groups is not None:
            sizes = np.unique(split.groups, return_counts=True)[1]
            least, most = np.min(sizes), np.max(sizes)
            images = f"{least:,}" if least == most else f"{least:,} to {most:,}"
            parts.append(f"{len(sizes):,} in {name}, of {images} {'image' if most == 1 else 'images'}")
    return "; ".join(parts)


def _rows_of(name: str, arrays: Mapping[str, npt.NDArray[Any]], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the table of an array of the targets, by split."""
    train = arrays["train"]
    if not _has_classes(name, train) and train.dtype != bool:
        rows: list[tuple[str, ...]] = [(name or "number", "split", "least", "mean", "greatest", "missing")]
        for column, called in enumerate(names):
            for split, array in arrays.items():
                rows.append((called, split, *_spread(array.reshape(len(array), -1)[:, column])))
        return rows
    columns = [counts_of(array, len(names)) for array in arrays.values()]
    rows = [(name or ("class" if _has_classes(name, train) else "label"), *arrays)]
    rows += [(called, *(f"{count:,}" for count in counts)) for called, *counts in zip(names, *columns, strict=True)]
    missing = [np.count_nonzero(array < 0) if is_classes(array) else 0 for array in arrays.values()]
    if any(missing):
        rows.append(("missing", *(f"{count:,}" for count in missing)))
    if is_object_classes(name, train):
        return [*rows, ("objects", *(f"{sum(counts):,}" for counts in columns))]
    return [*rows, ("all", *(f"{len(array):,}" for array in arrays.values()))]


def _spread(numbers: npt.NDArray[Any]) -> list[str]:
    """Return the least, the mean and the greatest of numbers, and how many are missing."""
    present = numbers[~np.isnan(numbers)].astype(np.float64)
    measured = (np.min(present), np.mean(present), np.max(present)) if len(present) else ()
    shown = [f"{value:.6g}" for value in measured] or ["–"] * 3
    return [*shown, f"{len(numbers) - len(present):,}"]


def _has_classes(name: str, array: npt.NDArray[Any]) -> bool:
    return is_classes(array) or is_object_classes(name, array)


def counts_of(array: npt.NDArray[Any], count: int) -> list[int]:
    """Return how many examples, or objects, each class has, or how many examples each label."""
    if array.dtype == np.int32:
        return np.bincount(array[array >= 0], minlength=count).tolist()
    return np.count_nonzero(array.reshape(len(array), -1), axis=0).tolist()


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the rows as lines, the first column to the left and the others to the right."""
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [
        "  ".join([f"{row[0]:<{first}}", *(f"{cell:>{width}}" for cell, width in zip(row[1:], others, strict=True))])
        for row in rows
    ]


def _one_line(name: str) -> str:
    return _shortened(" ".join(name.split()), longest=40)


def _shortened(name: str, longest: int = 14) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"
