"""What a data set holds, as lines to print and as a picture of its examples (Figure 1 of the founding paper)."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from flaxcnn.data.dataset import Dataset, Split
from flaxcnn.data.duplicates import SAME_PICTURE, Duplicates
from flaxcnn.data.images import in_pieces
from flaxcnn.errors import DataError
from flaxcnn.pictures import drawn, new_figure

_ROWS, _COLUMNS = 5, 10
_PAIRS = 5  # of near duplicates that are listed
_NAMES = 5  # of classes without an example that are listed


def describe(dataset: Dataset) -> list[str]:
    """Return lines that say what a data set is: shapes, value range and mean, counts per class, digests.

    The counts are a table with a row for each class, the splits side by side; a class without an example counts 0.
    """
    lines = [f"source   {dataset.source}"]
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        lines.append(f"{name:<8} {_summary(split)}")
    lines += ["", *_counts(dataset), ""]
    width = max(map(len, dataset.digests), default=0)
    lines += [f"{name:<{width}}  sha256 {digest}" for name, digest in dataset.digests.items()]
    return lines


def describe_absent(splits: Mapping[str, Split], class_names: Sequence[str]) -> str | None:
    """Return a line that names the classes of which a split has no example; None where every split has all.

    >>> split = Split(np.zeros((2, 1, 1, 1), np.uint8), np.asarray([1, 2], np.int32))
    >>> describe_absent({"training": split, "test": split}, ("0", "1", "2"))
    'no training image of 1 of 3 classes (0), no test image of 1 (0)'
    """
    parts: list[str] = []
    for name, split in splits.items():
        counts = np.bincount(split.targets, minlength=len(class_names))
        absent = [_one_line(name) for name, count in zip(class_names, counts, strict=True) if not count]
        if absent:
            of_all = "" if parts else f" of {len(class_names):,} classes"
            more = f" and {len(absent) - _NAMES:,} more" if len(absent) > _NAMES else ""
            parts.append(f"no {name} image of {len(absent):,}{of_all} ({', '.join(absent[:_NAMES])}{more})")
    return ", ".join(parts) or None


def describe_duplicates(duplicates: Duplicates, class_names: Sequence[str]) -> list[str]:
    """Return lines that say how many images are there more than once, and which test images are nearest to training.

    A table with a row each for copies within training, within test, test images that stand in training and those that
    nearly do; "relabelled" counts the images among them with another label than their copy. Then the five nearest pairs
    that are not copies, where there are any, with their positions from 0.
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
        test, train = (class_names[label] for label in (pair.test_label, pair.train_label))
        # Not 1.00000, which is a copy's.
        lines.append(f"{min(pair.correlation, 0.99999):.5f}  test {pair.test} ({test}), train {pair.train} ({train})")
    return lines


def draw_examples(dataset: Dataset, path: str | os.PathLike[str]) -> None:
    """Write a PNG with a grid of training images, each titled with the name of its class.

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
    for axis, position in zip(axes, positions, strict=False):
        image = dataset.train.images[position]
        axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        axis.set_title(_shortened(dataset.target_names[dataset.train.targets[position]]), fontsize=9, pad=3)
    figure.savefig(file, format="png", metadata={"Software": None})


def _summary(split: Split) -> str:
    images = split.images
    height, width, channels = images.shape[1:]
    kind = f"{len(split):,} images {height}×{width}×{channels} {images.dtype}"
    pieces = [(np.min(piece), np.max(piece), int(np.sum(piece, dtype=np.uint64))) for piece in in_pieces(images)]
    lowest, highest, sums = zip(*pieces, strict=True)
    values = f"values {min(lowest)} to {max(highest)}, mean {sum(sums) / images.nbytes:.2f}"
    return f"{kind}, {values}; labels {split.targets.dtype}"


def _counts(dataset: Dataset) -> list[str]:
    columns = [
        np.bincount(split.targets, minlength=dataset.classes).tolist() for split in (dataset.train, dataset.test)
    ]
    rows = [("class", "train", "test")]
    rows += [(name, f"{a:,}", f"{b:,}") for name, a, b in zip(dataset.target_names, *columns, strict=True)]
    rows.append(("all", f"{len(dataset.train):,}", f"{len(dataset.test):,}"))
    return _table(rows)


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}" for row in rows]


def _one_line(name: str) -> str:
    return _shortened(" ".join(name.split()), longest=40)


def _shortened(name: str, longest: int = 14) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"
