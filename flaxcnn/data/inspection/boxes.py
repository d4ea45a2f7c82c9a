"""Measure the boxes of a data set in pixels of the original images: sizes, shapes, places, and how they overlap."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data.image_files import ImageFiles

SMALL, LARGE = 32.0**2, 96.0**2
"""Areas in pixels between which COCO calls an object medium (https://cocodataset.org/#detection-eval)."""
OVERLAPS = 0.5
"""The intersection over union from which on two boxes of a class are counted as overlapping."""
DOUBLED = 0.95
"""That from which on they are one object that was annotated twice."""

_AT_ONCE = 1 << 20  # pairs that are compared at once


class Boxes(NamedTuple):
    """The boxes of a data set's files, without crowds, in the order of the files.

    Attributes:
        files: the place of each one's file in `ImageFiles.headers`, int64 (K,).
        places: its place among the objects of its file, from 1, int64 (K,).
        numbers: of its class, int32 (K,).
        boxes: float64 (K, 4), y0, x0, y1, x1 in pixels of the upright image, clipped to it.
        sizes: height and width of its image, float64 (K, 2).
    """

    files: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.float64]

    @property
    def sides(self) -> npt.NDArray[np.float64]:
        """Height and width of each, (K, 2)."""
        return self.boxes[:, 2:] - self.boxes[:, :2]

    @property
    def areas(self) -> npt.NDArray[np.float64]:
        """Of each, in pixels, (K,)."""
        return np.prod(self.sides, axis=1)

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """What fraction of its image each is, (K,)."""
        return self.areas / np.prod(self.sizes, axis=1)

    @property
    def middles(self) -> npt.NDArray[np.float64]:
        """Where the middle of each is, y and x, as fractions of its image, (K, 2)."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2 / self.sizes


def boxes_of(files: ImageFiles) -> Boxes | None:
    """Return the boxes of files; None where nothing is annotated in them."""
    if files.objects is None:
        return None
    counts = files.objects.counts_N
    owners = np.repeat(np.arange(len(counts)), counts)
    places = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    each = np.asarray([(info.height, info.width) for info in files.headers.values()], np.float64).reshape(-1, 2)
    kept = ~files.objects.crowds_K
    sizes = each[owners[kept]]
    boxes = np.clip(files.objects.boxes_K4[kept], 0, np.tile(sizes, 2))
    return Boxes(owners[kept], places[kept], files.objects.numbers_K[kept], boxes, sizes)


def overlaps(boxes: Boxes) -> tuple[npt.NDArray[np.float64], list[tuple[int, int, float]]]:
    """Return how much boxes overlap with others of their class in their image.

    Returns:
        The greatest intersection over union of each box with another, float64 (K,); and the pairs that are one object
        annotated twice, each with its intersection over union.
    """
    greatest = np.zeros(len(boxes.numbers))
    doubled = []
    for members in _alike(boxes):
        rows = max(1, _AT_ONCE // len(members))
        for start in range(0, len(members), rows):
            found = ious(boxes.boxes[members[start : start + rows]], boxes.boxes[members])
            found[np.arange(len(found)), start + np.arange(len(found))] = 0  # itself
            greatest[members[start : start + rows]] = np.max(found, axis=1)
            for one, other in np.argwhere(found >= DOUBLED).tolist():
                if start + one < other:
                    doubled.append((int(members[start + one]), int(members[other]), float(found[one, other])))
    return greatest, doubled


def ious(one_A4: npt.NDArray[np.float64], other_B4: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the intersection over union of boxes with others, float64 (A, B); boxes are y0, x0, y1, x1.

    >>> ious(np.asarray([[0.0, 0, 2, 2]]), np.asarray([[1.0, 1, 3, 3], [0, 0, 2, 2], [2, 2, 3, 3]])).round(4)
    array([[0.1429, 1.    , 0.    ]])
    """
    low = np.maximum(one_A4[:, None, :2], other_B4[:, :2])
    high = np.minimum(one_A4[:, None, 2:], other_B4[:, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=2)
    areas = np.prod(one_A4[:, 2:] - one_A4[:, :2], axis=1)[:, None] + np.prod(other_B4[:, 2:] - other_B4[:, :2], axis=1)
    return both / (areas - both)


def _alike(boxes: Boxes) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the boxes of an image and a class, two or more, by their places."""
    order = np.lexsort((boxes.numbers, boxes.files))
    keys = np.stack([boxes.files[order], boxes.numbers[order]])
    breaks = np.flatnonzero((keys[:, 1:] != keys[:, :-1]).any(axis=0)) + 1
    yield from (members for members in np.split(order, breaks) if len(members) > 1)
