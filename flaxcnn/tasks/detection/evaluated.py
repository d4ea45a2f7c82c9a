"""Predictions held against their targets once, for scores, a report and pictures alike."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flaxcnn.tasks.detection.average_precision import precision_recall
from flaxcnn.tasks.detection.boxes import Objects, objects_of
from flaxcnn.tasks.detection.matching import MOST, Matches, matched
from flaxcnn.tasks.detection.operating_point import Outcome, best_thresholds, outcome_at
from flaxcnn.tasks.detection.scores import DetectionScores
from flaxcnn.tasks.task import Predicted


class Evaluated(NamedTuple):
    """Boxes, which detection finds which, and what they come to at the thresholds.

    Attributes:
        names: of the classes, K.
        thresholds: the score of each class from which a detection counts, float32 (K,).
        objects: the boxes.
        matches: at COCO's IoU thresholds and sizes.
        outcome: at the thresholds.
    """

    names: Sequence[str]
    thresholds: np.ndarray
    objects: Objects
    matches: Matches
    outcome: Outcome

    @property
    def scores(self) -> DetectionScores:
        """The metrics."""
        return DetectionScores(self.objects, self.thresholds, self.matches)

    def wrong_numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """Return how many detections of each image are wrong at the thresholds, and how many objects it misses.

        Returns:
            Two int64 arrays, (N,).
        """
        truths, found = self.objects.truths, self.objects.detections
        wrong = found.images[self.outcome.kept & ~self.outcome.right]
        missed = truths.images[~self.outcome.found]
        said_N, missed_N = (np.bincount(each, minlength=self.objects.images) for each in (wrong, missed))
        return said_N, missed_N

    def worst_images(self, most: int) -> list[int]:
        """Return at most so many images with wrong detections or missed objects, those with the most first."""
        said_N, missed_N = self.wrong_numbers()
        wrong_N = said_N + missed_N
        order = np.argsort(-wrong_N, kind="stable")[:most]
        return order[wrong_N[order] > 0].tolist()

    def precision_recall(self, of: int) -> tuple[np.ndarray, np.ndarray]:
        """Return precision and recall at an IoU of 0.5 for one class that has a true box, the highest score first."""
        found = self.objects.detections
        own = (found.classes == of) & (found.ranks < MOST)
        sought = int((self.objects.truths.classes == of).sum())
        return precision_recall(found.scores[own], self.matches.right[own], sought)


def evaluated(predicted: Predicted) -> Evaluated:
    """Return predictions held against their targets.

    Args:
        predicted: targets, predictions and names as `objects_of` takes them; the constant "thresholds", float32 (K,).

    Raises:
        DataError: as `objects_of`, or there are no thresholds.
    """
    objects = objects_of(predicted)
    matches = matched(objects)
    thresholds_K = predicted.constant("thresholds", (objects.classes,))
    outcome = outcome_at(objects, matches, thresholds_K)
    return Evaluated(predicted.names["classes"], thresholds_K, objects, matches, outcome)


def tuned_thresholds(predicted: Predicted) -> np.ndarray:
    """Return each class's threshold of best F1 on these predictions, float32 (K,): for validation images."""
    objects = objects_of(predicted)
    return best_thresholds(objects, matched(objects, [0.5], [(0.0, np.inf)]))
