"""What a data set's page shows of its contents: examples of each class, and their mean image."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data.images import in_pieces
from flaxcnn.data.inspection.examples import Examples
from flaxcnn.data.inspection.signatures import averages
from flaxcnn.data.targets import is_classes, leaves, name_leaves

MOST_CLASSES = 40
"""Classes whose examples are shown; a page with hundreds would take many megabytes."""

_EXAMPLES = 6  # of a class
_MEAN_SIDE = 64  # pixels of a mean image, at most: each takes 100 KB while it is summed


class Gallery(NamedTuple):
    """A class with some of its examples.

    Attributes:
        name: of the class, or of all examples where there are no classes.
        images: how many it has, in all splits.
        examples: numbers of some of them, at even distances.
        mean: the mean image, uint8 (H, W, C); None for a class without images.
    """

    name: str
    images: int
    examples: tuple[int, ...]
    mean: npt.NDArray[np.uint8] | None


def galleries(examples: Examples) -> tuple[list[Gallery], int]:
    """Return the first classes with examples and mean images, and how many classes there are.

    Of several targets, those classes or labels are shown that come first. The images are read once, in pieces.
    """
    members_KN, names, total = _members(examples)
    counts = np.count_nonzero(members_KN, axis=1)
    means = _means(examples, members_KN.astype(np.float32), counts)
    found = []
    for name, member, count, mean in zip(names, members_KN, counts.tolist(), means, strict=True):
        shown = min(_EXAMPLES, count)
        chosen = np.flatnonzero(member)[np.arange(shown) * count // max(1, shown)]
        found.append(Gallery(name, count, tuple(chosen.tolist()), mean if count else None))
    return found, total


def _members(examples: Examples) -> tuple[npt.NDArray[np.bool_], list[str], int]:
    """Return which examples the first classes have, bool (K, N), their names, and how many classes there are."""
    dataset = examples.dataset
    for leaf, array, names in name_leaves(dataset.train.targets, dataset.target_names):
        whole = np.concatenate([dict(leaves(split.targets))[leaf] for split in dataset.splits.values()])
        shown = list(map(str, names[:MOST_CLASSES]))
        if is_classes(array):
            return whole == np.arange(len(shown))[:, None], shown, len(names)
        if array.dtype == bool and array.ndim <= 2:
            return whole.reshape(len(whole), -1).T[: len(shown)], shown, len(names)
    return np.ones((1, len(examples)), bool), ["all images"], 1


def _means(
    examples: Examples, members_KN: npt.NDArray[np.float32], counts_K: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """Return the mean image of each class, uint8 (K, H, W, C) of at most 64 pixels a side."""
    height, width, channels = examples.dataset.image_shape
    high, wide = min(height, _MEAN_SIDE), min(width, _MEAN_SIDE)
    down, across = averages(height, high), averages(width, wide)
    sums = np.zeros((len(members_KN), high * wide * channels))
    start = 0
    for split in examples.dataset.splits.values():
        for piece in in_pieces(split.images, most=256):
            count = len(piece)
            rows = down @ piece.reshape(count, height, width * channels).astype(np.float32)
            small = (across @ rows.reshape(count * high, width, channels)).reshape(count, -1)
            sums += members_KN[:, start : start + count] @ small
            start += count
    means = sums / np.maximum(counts_K, 1)[:, None]
    return np.rint(np.clip(means, 0, 255)).astype(np.uint8).reshape(len(means), high, wide, channels)
