"""True and predicted boxes of many images as flat arrays, and which of them overlap.

Which detection finds which true box is `flaxcnn.tasks.detection.matching`'s.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.errors import DataError
from flaxcnn.tasks.task import Predicted

_PAIRS = 2**22  # of a detection and a true box that are looked at together: some 200 MB


class Truths(NamedTuple):
    """The G true boxes of all images, one image after the other.

    Attributes:
        images: int64 (G,), ascending.
        places: among the image's targets, int64 (G,).
        classes: int64 (G,).
        boxes: y0, x0, y1, x1 in pixels of the fitted image, float64 (G, 4).
        areas: in pixels of the original image, float64 (G,).
    """

    images: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    areas: npt.NDArray[np.float64]


class Detections(NamedTuple):
    """The P detections of all images: class by class with falling score; equal ones by image, then by place, as COCO.

    Attributes:
        images: int64 (P,).
        places: among the image's predictions, int64 (P,).
        classes: int64 (P,), ascending.
        scores: more than 0, float64 (P,).
        boxes: y0, x0, y1, x1 in pixels of the fitted image, float64 (P, 4).
        areas: in pixels of the original image, float64 (P,).
        ranks: how many detections of the same image and class come before, int64 (P,).
    """

    images: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64]
    areas: npt.NDArray[np.float64]
    ranks: npt.NDArray[np.int64]


class Objects(NamedTuple):
    """What is in `images` images, N, and what was found there, of `classes` classes, K."""

    truths: Truths
    detections: Detections
    images: int
    classes: int

    @property
    def first(self) -> npt.NDArray[np.int64]:
        """The most confident detection of each image that has one, (at most N,); of equal ones the first."""
        found = self.detections
        order = np.lexsort((found.places, -found.scores, found.images))
        return order[np.unique(found.images[order], return_index=True)[1]]


class Pairs(NamedTuple):
    """Q pairs of a detection and a true box that overlap, sorted by detection and then by true box.

    Attributes:
        detections: positions in `Detections`, int64 (Q,).
        truths: positions in `Truths`, int64 (Q,).
        ious: intersection over union, float64 (Q,).
    """

    detections: npt.NDArray[np.int64]
    truths: npt.NDArray[np.int64]
    ious: npt.NDArray[np.float64]


def objects_of(predicted: Predicted) -> Objects:
    """Return the boxes of predictions and targets.

    Args:
        predicted: targets "boxes" float32 (N, M, 4) as y0, x0, y1, x1 in pixels of the fitted image, "classes" int32
            (N, M), -1 where there is no box, and "scale" float32 (N,), pixels of the fitted image per pixel of the
            original; predictions "boxes" float32 (N, D, 4), "scores" float32 (N, D), 0 or less where there is no
            detection, and "classes" int32 (N, D), -1 there; names["classes"], K of them.

    Raises:
        DataError: arrays that do not fit, a class out of range, or a box, a score or a scale that is no number.
    """
    targets, classes = predicted.targets, len(predicted.names["classes"])
    true_boxes, true_classes, scales_N = (_target(targets, name) for name in ("boxes", "classes", "scale"))
    boxes, scores, found_classes = (predicted.prediction(name) for name in ("boxes", "scores", "classes"))
    images = len(true_boxes)
    _require("targets", boxes=true_boxes, classes=true_classes)
    _require("predictions", boxes=boxes, classes=found_classes, scores=scores)
    if scales_N.shape != (images,) or not (np.isfinite(scales_N) & (scales_N > 0)).all() or len(boxes) != images:
        expected, found = f"a positive scale and a row of predictions for each of {images:,} images", scales_N.shape
        raise DataError("not one scale for each image", where="targets", expected=expected, found=found)
    if np.isnan(scores).any():
        raise DataError("not finite", where="predicted scores", expected="0 to 1", found="NaN")
    at = np.nonzero(true_classes >= 0)
    kinds, corners = true_classes[at].astype(np.int64), _corners(true_boxes[at], kinds_name="true")
    _require_known(kinds, classes, "targets")
    truths = Truths(at[0], at[1], kinds, corners, _areas(corners, scales_N[at[0]]))
    image_P, place_P = np.nonzero((scores > 0) & (found_classes >= 0))
    kinds, score_P = found_classes[image_P, place_P].astype(np.int64), scores[image_P, place_P].astype(np.float64)
    _require_known(kinds, classes, "predictions")
    order = np.lexsort((place_P, image_P, -score_P, kinds))
    image_P, place_P, kinds, score_P = image_P[order], place_P[order], kinds[order], score_P[order]
    corners = _corners(boxes[image_P, place_P], kinds_name="predicted")
    ranks = numbered(image_P * classes + kinds)
    detections = Detections(image_P, place_P, kinds, score_P, corners, _areas(corners, scales_N[image_P]), ranks)
    return Objects(truths, detections, images, classes)


def overlapping(objects: Objects, least: float, *, across_classes: bool = False) -> Pairs:
    """Return the pairs of a detection and a true box of the same image whose IoU is at least `least`, more than 0.

    Args:
        objects: the boxes.
        least: the least IoU.
        across_classes: whether the two may be of different classes.
    """
    truths, found = objects.truths, objects.detections
    key_G, key_P = truths.images, found.images
    if not across_classes:
        key_G, key_P = key_G * objects.classes + truths.classes, key_P * objects.classes + found.classes
    order_G = np.argsort(key_G, kind="stable")
    first_P = np.searchsorted(key_G[order_G], key_P, side="left")
    count_P = np.searchsorted(key_G[order_G], key_P, side="right") - first_P
    kept = []
    for part in _parts(count_P):
        counts = count_P[part]
        of_detection = np.repeat(np.arange(len(count_P))[part], counts)
        within = np.arange(len(of_detection)) - np.repeat(np.cumsum(counts) - counts, counts)
        of_truth = order_G[first_P[of_detection] + within]
        ious = iou(found.boxes[of_detection], truths.boxes[of_truth])
        near = ious >= least
        kept.append((of_detection[near], of_truth[near], ious[near]))
    return Pairs(*(np.concatenate(arrays) for arrays in zip(*kept, strict=True)))


def iou(one_Qx4: np.ndarray, other_Qx4: np.ndarray) -> np.ndarray:
    """Return the intersection over union of pairs of boxes y0, x0, y1, x1, float64 (Q,); 0 of boxes without area.

    >>> iou(np.asarray([[0.0, 0, 2, 2]]), np.asarray([[1.0, 0, 3, 2]])).round(4).tolist()
    [0.3333]
    """
    sides = np.minimum(one_Qx4[:, 2:], other_Qx4[:, 2:]) - np.maximum(one_Qx4[:, :2], other_Qx4[:, :2])
    both = np.where((sides > 0).all(1), sides[:, 0] * sides[:, 1], 0.0)
    union = extents(one_Qx4) + extents(other_Qx4) - both
    return both / np.where(union > 0, union, 1)


def extents(boxes_Qx4: np.ndarray) -> np.ndarray:
    """Return the areas of boxes y0, x0, y1, x1, float64 (Q,)."""
    return (boxes_Qx4[:, 2] - boxes_Qx4[:, 0]) * (boxes_Qx4[:, 3] - boxes_Qx4[:, 1])


def numbered(keys_P: np.ndarray) -> np.ndarray:
    """Return how many earlier elements have the same key, int64 (P,).

    >>> numbered(np.asarray([7, 3, 7, 7, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(keys_P, kind="stable")
    sorted_P = keys_P[order]
    numbers = np.empty(len(keys_P), np.int64)
    numbers[order] = np.arange(len(keys_P)) - np.searchsorted(sorted_P, sorted_P, side="left")
    return numbers


def _parts(counts_P: np.ndarray) -> Iterator[slice]:
    """Yield slices, one or more, whose counts have a bounded sum."""
    before_P = np.cumsum(counts_P) - counts_P
    starts = np.flatnonzero(np.diff(before_P // _PAIRS, prepend=-1)).tolist() or [0]
    for start, end in zip(starts, [*starts[1:], len(counts_P)], strict=True):
        yield slice(start, end)


def _areas(boxes_Qx4: np.ndarray, scales_Q: np.ndarray) -> np.ndarray:
    return extents(boxes_Qx4) / scales_Q.astype(np.float64) ** 2


def _target(targets: Any, name: str) -> np.ndarray:
    if not isinstance(targets, Mapping) or name not in targets:
        found = ", ".join(targets) if isinstance(targets, Mapping) else type(targets).__name__
        raise DataError("targets of another task", where="targets", expected="boxes, classes, scale", found=found)
    return np.asarray(targets[name])


def _require(where: str, boxes: np.ndarray, **arrays: np.ndarray) -> None:
    if boxes.ndim != 3 or boxes.shape[-1] != 4 or any(array.shape != boxes.shape[:2] for array in arrays.values()):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in {"boxes": boxes, **arrays}.items())
        expected = f"boxes (N, M, 4) and {', '.join(arrays)} (N, M)"
        raise DataError("boxes and classes do not fit", where=where, expected=expected, found=shapes)


def _require_known(classes_Q: np.ndarray, classes: int, where: str) -> None:
    if classes_Q.size and classes_Q.max() >= classes:
        raise DataError("no such class", where=where, expected=f"-1 to {classes - 1}", found=int(classes_Q.max()))


def _corners(boxes_Qx4: np.ndarray, kinds_name: str) -> np.ndarray:
    """Return boxes as float64; raises DataError if one is not finite or ends before it begins."""
    corners = boxes_Qx4.astype(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(corners).all(1) & (corners[:, :2] <= corners[:, 2:]).all(1)))
    if wrong.size:
        expected = "finite y0, x0, y1, x1 with y0 <= y1 and x0 <= x1"
        raise DataError(f"no {kinds_name} box", where=f"box {wrong[0]}", expected=expected, found=corners[wrong[0]])
    return corners
