"""What kind of error each wrong detection and each missed object is, and how much AP50 each kind costs.

Source: D. Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", 2020
(https://arxiv.org/abs/2008.08115), section 2. Where kinds overlap, its code decides (tidecv 1.0.1), and the numbers of
errors are its own. Costs differ from it in two ways: an object that an error of class and one of place mean counts for
both kinds, each repaired alone, while tidecv repairs only the surer of the two; and classes without a true box are left
out, as COCO does, while tidecv gives them a precision of 0.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.tasks.detection.average_precision import class_precisions
from flaxcnn.tasks.detection.boxes import Objects, overlapping
from flaxcnn.tasks.detection.matching import AT_50, MOST, Matches

KINDS = ("class", "place", "both", "duplicate", "background", "missed")
CLASS, PLACE, BOTH, DUPLICATE, BACKGROUND, MISSED = range(6)
_RIGHT, _NEAR = 0.5, 0.1  # IoU of a right box, and of one that is beside something


class Errors(NamedTuple):
    """The errors among some detections.

    Attributes:
        kinds: of each detection, a position in `KINDS`; -1 of one that is right or left out; int64 (P,).
        truths: of an error of class or place, the true box that is meant; -1 of others; int64 (P,).
        missed: the true boxes that nothing finds and no error of class or place means, bool (G,).
    """

    kinds: npt.NDArray[np.int64]
    truths: npt.NDArray[np.int64]
    missed: npt.NDArray[np.bool_]

    @property
    def numbers(self) -> dict[str, int]:
        """How many errors there are of each kind, in the order of `KINDS`."""
        of_detections = np.bincount(self.kinds[self.kinds >= 0], minlength=MISSED)
        return dict(zip(KINDS, [*of_detections.tolist(), int(self.missed.sum())], strict=True))


def errors_of(objects: Objects, matches: Matches, kept_P: np.ndarray) -> Errors:
    """Return the kind of each error.

    A wrong detection is, the first that holds of its IoU with true boxes:

    - `place`: from 0.1 to 0.5 with one of its class;
    - `class`: at least 0.5 with one of another class;
    - `duplicate`: at least 0.5 with one of its class, which a surer detection has found;
    - `background`: less than 0.1 with all;
    - `both`: from 0.1 to 0.5 with one of another class.

    Args:
        objects: the boxes.
        matches: of `matched`, with 0.5 as the first threshold and any size as the first range.
        kept_P: the detections to look at, bool; with one, all that are surer in its image and class.
    """
    truths, found = objects.truths, objects.detections
    pairs = overlapping(objects, _NEAR, across_classes=True)
    own_Q = truths.classes[pairs.truths] == found.classes[pairs.detections]
    own_P, own_truth_P = _largest(pairs.detections[own_Q], pairs.truths[own_Q], pairs.ious[own_Q], len(kept_P))
    other_P, other_truth_P = _largest(pairs.detections[~own_Q], pairs.truths[~own_Q], pairs.ious[~own_Q], len(kept_P))
    holds = {
        PLACE: (own_P >= _NEAR) & (own_P < _RIGHT),
        CLASS: other_P >= _RIGHT,
        DUPLICATE: own_P >= _RIGHT,
        BACKGROUND: np.maximum(own_P, other_P) < _NEAR,
    }
    kinds_P = np.select(list(holds.values()), list(holds), BOTH)
    right_P = kept_P & matches.right
    kinds_P[~kept_P | right_P] = -1
    meant_P = np.select([kinds_P == PLACE, kinds_P == CLASS], [own_truth_P, other_truth_P], -1)
    reached_G = np.zeros(len(truths.images), bool)
    reached_G[matches.truths[right_P, AT_50, 0]] = True
    reached_G[meant_P[meant_P >= 0]] = True
    return Errors(kinds_P, meant_P, ~reached_G)


def costs(objects: Objects, matches: Matches) -> dict[str, float]:
    """Return by how much the AP50 rises if all errors of one kind are repaired, and nothing else, by kind.

    Of the errors of class or place that mean the same object, the surest becomes right and the others are removed; all
    are removed if something has found the object. Other wrong detections are removed, and missed objects are left out.
    Each kind is repaired alone, so that costs do not add up to what is lacking. NaN without a true box. Arguments as
    `errors_of`.
    """
    truths, found = objects.truths, objects.detections
    kept_P = found.ranks < MOST
    errors = errors_of(objects, matches, kept_P)
    right_P = kept_P & matches.right
    sought_K = np.bincount(truths.classes, minlength=objects.classes)
    if not sought_K.any():
        return dict.fromkeys(KINDS, float("nan"))
    found_G = np.zeros(len(truths.images), bool)
    found_G[matches.truths[right_P, AT_50, 0]] = True

    def ap50(classes_P: np.ndarray, right_P: np.ndarray, kept_P: np.ndarray, sought_K: np.ndarray) -> float:
        of_classes = class_precisions(classes_P[kept_P], found.scores[kept_P], right_P[kept_P], sought_K)
        defined = of_classes[~np.isnan(of_classes)]
        return float(defined.mean()) if len(defined) else float("nan")

    before, found_costs = ap50(found.classes, right_P, kept_P, sought_K), {}
    for kind, name in enumerate(KINDS[:MISSED]):
        wrong_P = errors.kinds == kind
        repaired = _surest(found.scores, np.where(wrong_P, errors.truths, -1))
        repaired = repaired[~found_G[errors.truths[repaired]]]
        classes_P, repaired_P, left_P = found.classes.copy(), right_P.copy(), kept_P & ~wrong_P
        classes_P[repaired] = truths.classes[errors.truths[repaired]]
        repaired_P[repaired] = left_P[repaired] = True
        found_costs[name] = ap50(classes_P, repaired_P, left_P, sought_K) - before
    missed_K = np.bincount(truths.classes[errors.missed], minlength=objects.classes)
    found_costs[KINDS[MISSED]] = ap50(found.classes, right_P, kept_P, sought_K - missed_K) - before
    return found_costs


def _largest(
    detection_Q: np.ndarray, truth_Q: np.ndarray, iou_Q: np.ndarray, detections: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return each detection's largest IoU, and with which true box, the first of equal ones; 0 and -1 without any."""
    largest_P, truth_P = np.zeros(detections), np.full(detections, -1)
    order = np.lexsort((truth_Q, -iou_Q, detection_Q))
    whose, first = np.unique(detection_Q[order], return_index=True)
    largest_P[whose], truth_P[whose] = iou_Q[order[first]], truth_Q[order[first]]
    return largest_P, truth_P


def _surest(scores_P: np.ndarray, truths_P: np.ndarray) -> np.ndarray:
    """Return for each true box that is meant the detection with the highest score, the first of equal ones."""
    meaning = np.flatnonzero(truths_P >= 0)
    meaning = meaning[np.lexsort((-scores_P[meaning], truths_P[meaning]))]
    return meaning[np.unique(truths_P[meaning], return_index=True)[1]]
