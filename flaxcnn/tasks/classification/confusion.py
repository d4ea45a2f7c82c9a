"""The confusion matrix and the most confident mistakes of a classifier, from its logits."""

from typing import NamedTuple

import numpy as np

from flaxcnn.tasks.classification.metrics import fitting


class Mistake(NamedTuple):
    """One example that a model gets wrong."""

    example: int  # its place in the data set
    label: int
    predicted: int
    probability: float  # that the model gives to its prediction


def confusion_matrix(labels_N: np.ndarray, logits_NxK: np.ndarray) -> np.ndarray:
    """Return how often each label (row) is predicted as each class (column): integers, (classes, classes).

    Args:
        labels_N: integers in [0, classes); (N,), N at least 1.
        logits_NxK: numbers, (N, classes).

    Raises:
        DataError: labels and logits that do not fit, or a label out of range.

    >>> confusion_matrix(np.asarray([0, 1, 1]), np.asarray([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]]))
    array([[1, 0],
           [1, 1]])
    """
    labels_N, logits_NxK = fitting(labels_N, logits_NxK)
    classes = logits_NxK.shape[-1]
    pairs = labels_N * classes + np.argmax(logits_NxK, -1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def most_confident_mistakes(labels_N: np.ndarray, logits_NxK: np.ndarray, most: int) -> list[Mistake]:
    """Return at most so many mistakes, those first whose wrong class has the largest softmax probability.

    Arguments and errors are those of `confusion_matrix`.
    """
    labels_N, logits_NxK = fitting(labels_N, logits_NxK)
    shifted = logits_NxK.astype(np.float64) - logits_NxK.max(-1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(-1, keepdims=True)
    predicted = np.argmax(logits_NxK, -1)
    wrong = np.flatnonzero(predicted != labels_N)
    confident = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:most]
    return [
        Mistake(int(index), int(labels_N[index]), int(predicted[index]), float(probabilities[index, predicted[index]]))
        for index in confident
    ]
