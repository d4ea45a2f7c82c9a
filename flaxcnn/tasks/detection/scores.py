"""Metrics of detections, for weighted images (resampling counts): COCO's, and those at a threshold."""

from collections.abc import Collection, Mapping
from itertools import pairwise

import numpy as np

from flaxcnn.tasks.arithmetic import mean_where
from flaxcnn.tasks.detection.average_precision import Ranked
from flaxcnn.tasks.detection.boxes import Objects
from flaxcnn.tasks.detection.matching import AT_50, AT_75, MOST, RANGES, Matches, matched
from flaxcnn.tasks.detection.operating_point import outcome_at, precision_recall_f1
from flaxcnn.tasks.task import Metric

_HIGHER = Metric(higher_is_better=True, fraction=True)
_PRECISIONS: Mapping[str, tuple[str, int | None]] = {
    "ap": ("all", None),
    "ap50": ("all", AT_50),
    "ap75": ("all", AT_75),
    "ap_small": ("small", None),
    "ap_medium": ("medium", None),
    "ap_large": ("large", None),
}  # the range of sizes, and the IoU threshold; None for the mean over all
_RECALLS: Mapping[str, tuple[str, int]] = {
    "ar1": ("all", 1),
    "ar10": ("all", 10),
    "ar100": ("all", MOST),
    "ar_small": ("small", MOST),
    "ar_medium": ("medium", MOST),
    "ar_large": ("large", MOST),
}  # the range of sizes, and how many detections of an image and class count
METRICS: Mapping[str, Metric] = {
    **dict.fromkeys(_PRECISIONS, _HIGHER),
    **dict.fromkeys(_RECALLS, _HIGHER),
    "precision": _HIGHER,
    "recall": _HIGHER,
    "f1": _HIGHER,
    "count_error": Metric(higher_is_better=False, unit="objects"),
    "main_box": _HIGHER,
}


class DetectionScores:
    """COCO's twelve numbers as pycocotools has them, and what detections come to at a threshold.

    A mean over classes leaves out those without a true box of the size. Precision, recall and F1 are those of all boxes
    together at an IoU of 0.5; a metric that is 0 / 0 is NaN. `count_error` is the mean over images of the absolute
    error of the number of objects, of all classes together. `main_box` is the share of the images with a true box whose
    most confident detection finds one.

    Args:
        objects: the boxes (`flaxcnn.tasks.detection.boxes.objects_of`).
        thresholds: a detection counts from this score on: one score, or one of each class (K,).
        matches: of `matched` with COCO's thresholds and ranges; None to compute them.
    """

    def __init__(self, objects: Objects, thresholds: float | np.ndarray, matches: Matches | None = None):
        self._images, self._classes = objects.images, objects.classes
        matches = matched(objects) if matches is None else matches
        truths, found = objects.truths, objects.detections
        self._sought_NxK = {
            name: self._counted(truths.images, truths.classes, matches.sought[:, place])
            for place, name in enumerate(RANGES)
        }
        right_PxTxA = matches.counted & (matches.truths >= 0)
        self._recalled_NxK = {
            name: self._counted(
                found.images, found.classes, right_PxTxA[:, :, list(RANGES).index(of)].mean(1) * (found.ranks < most)
            )
            for name, (of, most) in _RECALLS.items()
        }
        self._ranked: dict[str, list[Ranked]] = {name: [] for name in RANGES}
        ranked = np.flatnonzero(found.ranks < MOST)
        ends = np.searchsorted(found.classes[ranked], np.arange(self._classes + 1))
        for start, end in pairwise(ends):
            own = ranked[start:end]
            for place, name in enumerate(RANGES):
                columns = right_PxTxA[own, :, place], matches.counted[own, :, place]
                self._ranked[name].append(Ranked(found.images[own], *columns))
        outcome = outcome_at(objects, matches, thresholds)
        self._right_N, self._said_N, self._true_N = (
            counts.sum(1).astype(np.float64)
            for counts in (outcome.right_counts, outcome.said_counts, outcome.true_counts)
        )
        self._main_N = np.zeros(self._images)
        self._main_N[found.images[objects.first]] = matches.right[objects.first]

    def measure(self, counts_BxN: np.ndarray, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """Return each metric for each of B countings of the images, (B,), and `ap_of_each` and `ap50_of_each`, (B, K).

        Args:
            counts_BxN: how often each image counts, int32, at least one of a row more than 0; (B, N).
            names: of the metrics that are wanted, None for all: average precisions take most of the time.
        """
        weights_BxN = counts_BxN.astype(np.float64)
        sought = {name: weights_BxN @ counts_NxK for name, counts_NxK in self._sought_NxK.items()}
        right_B, said_B, true_B = (weights_BxN @ each for each in (self._right_N, self._said_N, self._true_N))
        precision, recall, f1 = precision_recall_f1(right_B, said_B, true_B)
        with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of a metric that is not defined
            measured = {
                "precision": precision,
                "recall": recall,
                "f1": f1,
                "count_error": weights_BxN @ np.abs(self._said_N - self._true_N) / weights_BxN.sum(1),
                "main_box": weights_BxN @ self._main_N / (weights_BxN @ (self._true_N > 0)),
            }
        for name, (of, _) in _RECALLS.items():
            if names is None or name in names:
                recalled = weights_BxN @ self._recalled_NxK[name]
                measured[name] = mean_where(sought[of] > 0, recalled / np.maximum(sought[of], 1))
        each = {"ap_of_each", "ap50_of_each"}
        for of in RANGES:
            own = {name: at for name, (range_, at) in _PRECISIONS.items() if range_ == of}
            if names is None or not own.keys().isdisjoint(names) or (of == "all" and not each.isdisjoint(names)):
                of_classes = zip(self._ranked[of], sought[of].T, strict=True)
                areas_BxKxT = np.stack([ranked.areas(counts_BxN, boxes_B) for ranked, boxes_B in of_classes], 1)
                for name, at in own.items():
                    areas_BxK = areas_BxKxT.mean(2) if at is None else areas_BxKxT[:, :, at]
                    measured[name] = mean_where(sought[of] > 0, areas_BxK)
                if of == "all":
                    measured |= {"ap_of_each": areas_BxKxT.mean(2), "ap50_of_each": areas_BxKxT[:, :, AT_50]}
        return measured

    def _counted(self, images_Q: np.ndarray, classes_Q: np.ndarray, weights_Q: np.ndarray) -> np.ndarray:
        """Return the sum of weights of each image and class, float64 (N, K)."""
        cells = images_Q * self._classes + classes_Q
        size = self._images * self._classes
        return np.bincount(cells, weights_Q.astype(np.float64), size).reshape(self._images, self._classes)
