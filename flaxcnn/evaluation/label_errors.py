"""Likely label errors: examples for which a model is confident of another class than the given one.

Source: C. Northcutt, L. Jiang and I. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of
Artificial Intelligence Research 70 (2021), section 3.1. A class has a threshold of its own, so that a class of which
the model is seldom sure is measured by what is usual for it.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class LabelErrors(NamedTuple):
    """Examples whose label is probably wrong, the worst first.

    Attributes:
        positions: int64 (M,), of the examples.
        classes: int64 (M,), the class that the model is confident of.
        given: float64 (M,), the probability of the given class.
        predicted: float64 (M,), that of the other class.
        thresholds: float64 (K,), of each class; infinite for a class without an example.
    """

    positions: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    given: npt.NDArray[np.float64]
    predicted: npt.NDArray[np.float64]
    thresholds: npt.NDArray[np.float64]


def label_errors(labels_N: npt.NDArray[np.int32], probabilities_NxK: npt.NDArray[np.floating]) -> LabelErrors:
    """Return the off-diagonal examples of the confident joint.

    A class's threshold is the mean probability of the class over the examples that are labelled with it. An example is
    counted for the class of the highest probability among the classes whose thresholds it reaches; if that is another
    class than its label's, the label is probably wrong. They are sorted by the probability of the label's class minus
    that of the other class, the lowest first.

    The model must not have been trained on the examples: it would have learned their wrong labels, too.

    Args:
        labels_N: class numbers, from 0 to K - 1.
        probabilities_NxK: of each class; each row sums to 1.

    >>> of_first = np.asarray([0.9, 0.8, 0.3, 0.2, 0.9])
    >>> found = label_errors(np.asarray([0, 0, 1, 1, 1]), np.stack([of_first, 1 - of_first], axis=1))
    >>> found.positions.tolist(), found.classes.tolist(), found.thresholds.round(3).tolist()
    ([4], [0], [0.85, 0.533])
    """
    labels, probabilities = np.asarray(labels_N, np.int64), np.asarray(probabilities_NxK, np.float64)
    classes = probabilities.shape[1]
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, own, minlength=classes)
    thresholds = np.divide(sums, counts, out=np.full(classes, np.inf), where=counts > 0)
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    confident = np.argmax(reached, axis=1)
    wrong = np.flatnonzero((np.max(reached, axis=1) >= 0) & (confident != labels))
    others = probabilities[wrong, confident[wrong]]
    order = np.argsort(own[wrong] - others, kind="stable")
    wrong = wrong[order]
    return LabelErrors(wrong, confident[wrong], own[wrong], others[order], thresholds)
