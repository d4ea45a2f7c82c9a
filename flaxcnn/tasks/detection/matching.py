"""Which detection finds which true box, by COCO's rules, for all IoU thresholds and size ranges at once.

Source: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", 2014 (https://arxiv.org/abs/1405.0312), and its
code, pycocotools/cocoeval.py. Without crowds: targets have none.
"""

from collections.abc import Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.tasks.detection.boxes import Objects, numbered, overlapping

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's IoU thresholds, with the same bits."""
AT_50, AT_75 = 0, 5
"""Positions of 0.5 and 0.75 among them."""

RANGES = MappingProxyType(
    {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
)
"""COCO's ranges of an object's area in pixels of the original image, both ends included; "all" is the first."""

MOST = 100
"""Detections of a class in an image that COCO looks at: those with the highest scores."""


class Matches(NamedTuple):
    """Which true box each of P detections finds, at T IoU thresholds and in A ranges of sizes.

    Attributes:
        truths: position of the true box in `Truths`, -1 for none; int32 (P, T, A).
        counted: False for a detection that is neither right nor wrong, as it, or what it finds, is of another size;
            bool (P, T, A).
        sought: which of G true boxes are of the size, bool (G, A).
    """

    truths: npt.NDArray[np.int32]
    counted: npt.NDArray[np.bool_]
    sought: npt.NDArray[np.bool_]

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Which detections find a true box at an IoU of 0.5, of any size, (P,): the first threshold and range."""
        return self.truths[:, AT_50, 0] >= 0


def matched(
    objects: Objects,
    thresholds: Sequence[float] | np.ndarray = THRESHOLDS,
    ranges: Sequence[tuple[float, float]] = tuple(RANGES.values()),
) -> Matches:
    """Return which true box of its class each detection finds.

    In an image, the detections of a class choose in the order of their scores. Each takes the true box that is still
    free and with which its IoU is largest and at least the threshold, the last one of equal ones. True boxes of another
    size come last; who takes one does not count, and neither does a detection of another size that takes none.

    Every detection is matched, also beyond `MOST`: what comes later changes nothing for what comes before.

    Args:
        objects: the boxes.
        thresholds: T IoU thresholds, more than 0.
        ranges: A ranges of areas in pixels of the original image, both ends included. A true box counts as on
            an end if the rounding of its corners to float32 may have moved it from there, as it does with an object of
            32 × 32 pixels in a letterboxed image.
    """
    found, truths = objects.detections, objects.truths
    thresholds_T, ranges_Ax2 = np.asarray(thresholds, np.float64), np.asarray(ranges, np.float64)
    sought_GxA = _inside(truths.areas, ranges_Ax2, _rounding(truths.boxes))
    inside_PxA = _inside(found.areas, ranges_Ax2, np.zeros(len(found.areas)))
    taken_PxTxA = np.full((len(found.images), len(thresholds_T), len(ranges_Ax2)), -1, np.int32)
    free_GxTxA = np.ones((len(truths.images), *taken_PxTxA.shape[1:]), bool)

    pairs = overlapping(objects, float(np.min(thresholds_T)))
    choosing = np.unique(pairs.detections)  # the first of every image and class choose together, then the second
    turns = numbered(found.images[choosing] * objects.classes + found.classes[choosing])
    turn_Q = turns[np.searchsorted(choosing, pairs.detections)]
    order = np.lexsort((pairs.truths, pairs.ious, pairs.detections, turn_Q))
    detection_Q, truth_Q, iou_Q, turn_Q = (
        array[order] for array in (pairs.detections, pairs.truths, pairs.ious, turn_Q)
    )
    ends = np.searchsorted(turn_Q, np.arange(turns.max(initial=-1) + 2), side="left").tolist()
    for start, end in pairwise(ends):
        truth_R, choosing_R = truth_Q[start:end], detection_Q[start:end]
        reached = iou_Q[start:end, None] >= thresholds_T
        usable = free_GxTxA[truth_R] & reached[:, :, None]
        # The larger, the better: a detection's pairs stand in the order of their IoU, those of the size above the rest.
        place = np.arange(1, end - start + 1)[:, None, None] + (end - start) * sought_GxA[truth_R][:, None]
        firsts = np.flatnonzero(np.diff(choosing_R, prepend=-1))
        best = np.maximum.reduceat(np.where(usable, place, 0), firsts, axis=0)
        chooser, at_threshold, in_range = np.nonzero(best)
        chosen = truth_R[(best[chooser, at_threshold, in_range] - 1) % (end - start)]
        free_GxTxA[chosen, at_threshold, in_range] = False
        taken_PxTxA[choosing_R[firsts[chooser]], at_threshold, in_range] = chosen

    counted = np.broadcast_to(inside_PxA[:, None], taken_PxTxA.shape).copy()
    who, at_threshold, in_range = np.nonzero(taken_PxTxA >= 0)
    counted[who, at_threshold, in_range] = sought_GxA[taken_PxTxA[who, at_threshold, in_range], in_range]
    return Matches(taken_PxTxA, counted, sought_GxA)


def _inside(areas_Q: np.ndarray, ranges_Ax2: np.ndarray, uncertain_Q: np.ndarray) -> np.ndarray:
    """Return which areas may be in which ranges, bool (Q, A), if each is uncertain by a fraction of itself."""
    smallest_Q, largest_Q = areas_Q * (1 - uncertain_Q), areas_Q * (1 + uncertain_Q)
    return (largest_Q[:, None] >= ranges_Ax2[:, 0]) & (smallest_Q[:, None] <= ranges_Ax2[:, 1])


def _rounding(boxes_Gx4: np.ndarray) -> np.ndarray:
    """Return by what fraction of itself the area of a box of float32 corners, and a float32 scale, may be off."""
    moved_Gx4 = np.spacing(np.abs(boxes_Gx4).astype(np.float32)).astype(np.float64) / 2
    sides_Gx2 = boxes_Gx4[:, 2:] - boxes_Gx4[:, :2]
    of_sides_Gx2 = (moved_Gx4[:, 2:] + moved_Gx4[:, :2]) / np.where(sides_Gx2 > 0, sides_Gx2, np.inf)
    return of_sides_Gx2.sum(1) + float(np.finfo(np.float32).eps)
