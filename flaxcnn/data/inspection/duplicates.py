"""Find duplicate images in a data set: a test image that is also a training image measures memorisation.

Exact copies are found by their pixels. Near copies of training images among the test images are found by correlation,
which ignores changes of brightness and contrast. Shifted, flipped or cropped copies are not found. Nothing is removed.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data.dataset import Dataset, Split
from flaxcnn.data.images import Images, choose, in_pieces
from flaxcnn.data.targets import choose_targets, target_rows

SAME_PICTURE = 0.997
"""Correlation from which on two images count as nearly the same.

Chosen by looking at the nearest pairs of test and training images (at 28×28):
    Fashion-MNIST: the 13 pairs above it, up to 0.99995, are one photograph with other tones or a few other pixels, or
        one piece of clothing photographed twice; at 0.996 and below come trousers and shirts of another cut, and
        0.99 would count 89.
    MNIST: none above it; the nearest pair of all, two strokes of the digit 1, is at 0.992.
Copies of each one's first 1,000 test images, saved as JPEG of quality 75, are above it in half the cases (medians
0.9977 on MNIST, 0.9973 on Fashion-MNIST); all are with Gaussian noise of 2 gray levels, or darkened to 70% and lifted
by 30 levels.
"""

_LARGEST_SIDE = 32  # larger images are averaged down to this: 1,024 numbers tell pictures apart
_BLOCK = 2**25  # correlations at a time: 128 MiB
_MOST_IMAGES = 2**14  # in a block: 64 MiB


class Pair(NamedTuple):
    """A test image and the training image that it is a copy of, or nearly, with their targets (`target_rows`)."""

    test: int  # its place in the test split
    train: int  # its place in the training split
    correlation: float  # 1 for a copy
    test_label: Any
    train_label: Any


class Repeats(NamedTuple):
    """How many images of a split are copies of an earlier one of the same split."""

    images: int
    relabelled: int  # those of them whose target is not that of the first of the copies


@dataclass(frozen=True)
class Duplicates:
    """The images that a data set holds more than once. A test image is in at most one pair.

    Attributes:
        train: copies within training.
        test: copies within test.
        exact: test images that stand in training too, in test's order; the training image is the first copy with
            another target than the test image's, or the first of all where every copy has the same.
        near: the other test images whose nearest training image correlates by `SAME_PICTURE` or more, most similar
            first.
    """

    train: Repeats
    test: Repeats
    exact: tuple[Pair, ...]
    near: tuple[Pair, ...]


def find_duplicates(dataset: Dataset) -> Duplicates:
    """Find copies within and between the splits, and test images that are nearly one of training.

    Near are images by the Pearson correlation of their pixels: of the mean over channels, and of images higher or
    wider than 32 the means of 32 strips in that direction. An image of a single gray level correlates with none.

    Every test image is compared with every training image: 10,000 × 60,000 of 28×28 take 5 to 12 s on 2 CPU cores.
    Memory is at most 4 KiB for each test image, 150 bytes for each training image and some 350 MiB: images that stay on
    disk are read in pieces, twice.

    Args:
        dataset: any; its images are of one size in both splits.

    Returns:
        Counts and pairs.
    """
    train_digests, test_digests = (image_digests(split.images) for split in (dataset.train, dataset.test))
    exact = _copies(dataset, train_digests, test_digests)
    others = np.setdiff1d(np.arange(len(dataset.test)), [pair.test for pair in exact])
    return Duplicates(
        train=_repeats(dataset.train, train_digests),
        test=_repeats(dataset.test, test_digests),
        exact=exact,
        near=_near(dataset, others),
    )


def image_digests(images_NHWC: Images) -> list[bytes]:
    """Return a digest of 16 bytes of each image's pixels; images of one shape are equal where their digests are."""
    # At 16 bytes, two different images among a billion have the same digest with a probability of 1e-21.
    return [
        hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        for piece in in_pieces(images_NHWC)
        for image in piece
    ]


def _repeats(split: Split, digests: list[bytes]) -> Repeats:
    first: dict[bytes, Any] = {}
    images = relabelled = 0
    for digest, label in zip(digests, target_rows(split.targets), strict=True):
        if digest in first:
            images += 1
            relabelled += label != first[digest]
        else:
            first[digest] = label
    return Repeats(images, relabelled)


def _copies(dataset: Dataset, train_digests: list[bytes], test_digests: list[bytes]) -> tuple[Pair, ...]:
    train_labels, test_labels = target_rows(dataset.train.targets), target_rows(dataset.test.targets)
    positions: dict[bytes, list[int]] = {digest: [] for digest in test_digests}
    for position, digest in enumerate(train_digests):
        if digest in positions:
            positions[digest].append(position)
    pairs = []
    for test, (digest, label) in enumerate(zip(test_digests, test_labels, strict=True)):
        if copies := positions[digest]:
            train = next((position for position in copies if train_labels[position] != label), copies[0])
            pairs.append(Pair(test, train, 1.0, label, train_labels[train]))
    return tuple(pairs)


def _near(dataset: Dataset, tests: npt.NDArray[np.int64]) -> tuple[Pair, ...]:
    """Return the pairs of these test images with their nearest training image, where that is near enough."""
    if not len(tests):
        return ()
    tests_TD = np.concatenate(list(_directions(choose(dataset.test.images, tests), _MOST_IMAGES)))
    nearest_T, highest_T = np.zeros(len(tests), np.int64), np.full(len(tests), -np.inf, np.float32)
    start = 0
    for trains_BD in _directions(dataset.train.images, min(max(1, _BLOCK // len(tests)), _MOST_IMAGES)):
        correlations_TB = tests_TD @ trains_BD.T
        best_T = np.argmax(correlations_TB, axis=1)
        best_correlations_T = np.take_along_axis(correlations_TB, best_T[:, None], axis=1)[:, 0]
        nearer_T = best_correlations_T > highest_T
        nearest_T[nearer_T] = start + best_T[nearer_T]
        highest_T[nearer_T] = best_correlations_T[nearer_T]
        start += len(trains_BD)
    order = np.argsort(-highest_T, stable=True)
    order = order[highest_T[order] >= SAME_PICTURE]
    found, nearest = tests[order], nearest_T[order]
    correlations = np.minimum(highest_T[order], 1)
    labels = (
        target_rows(choose_targets(split.targets, at))
        for split, at in ((dataset.test, found), (dataset.train, nearest))
    )
    return tuple(map(Pair._make, zip(found.tolist(), nearest.tolist(), correlations.tolist(), *labels, strict=True)))


def _directions(images_NHWC: Images, most: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield, for at most so many images at a time, their gray pixels centred and of length 1: (B, H × W), 0 for flat.

    The product of two of them is the correlation.
    """
    for piece in in_pieces(images_NHWC, most):
        # Sums, not means, over the channels: integers, so that the mean of equal pixels is exact and a flat image is 0.
        gray_NHW = np.sum(piece, axis=-1, dtype=np.float32)
        pixels_ND = _strips(_strips(gray_NHW, 1), 2).reshape(len(gray_NHW), -1)
        pixels_ND -= np.mean(pixels_ND, axis=1, keepdims=True)
        lengths_N1 = np.linalg.norm(pixels_ND, axis=1, keepdims=True)
        lengths_N1[lengths_N1 == 0] = 1
        yield pixels_ND / lengths_N1


def _strips(gray_NHW: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """Average an axis that is longer than `_LARGEST_SIDE` over as many strips, whose widths differ by 1 at most."""
    extent = gray_NHW.shape[axis]
    if extent <= _LARGEST_SIDE:
        return gray_NHW
    edges = np.arange(_LARGEST_SIDE + 1) * extent // _LARGEST_SIDE
    widths = np.diff(edges).reshape((-1, 1) if axis == 1 else (-1,)).astype(np.float32)
    return np.add.reduceat(gray_NHW, edges[:-1], axis=axis) / widths
