"""The confusion matrix and the most confident mistakes of a classifier, from its logits."""

from typing import NamedTuple

import numpy as np

from flaxcnn.tasks.classification.metrics import fitting

_MOST_OPTIMAL = 300  # classes whose leaves are turned so that neighbours are as similar as possible: it takes K**3 time


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


def similarity_order(matrix_KxK: np.ndarray) -> np.ndarray:
    """Return an order of the classes in which those stand together that are taken for each other; int (K,).

    Of each label's examples, the share predicted as another class says how similar the two are; the larger of both
    directions counts. Classes are joined by average linkage (`scipy.cluster.hierarchy`), and the order is that of the
    tree's leaves, with the smaller class number at its beginning. Classes that are never taken for another keep the
    order of their numbers at the end.

    Args:
        matrix_KxK: of `confusion_matrix`.

    >>> similarity_order(np.asarray([[7, 0, 3, 0], [0, 9, 1, 0], [3, 1, 6, 0], [0, 0, 0, 10]])).tolist()
    [0, 2, 1, 3]
    """
    from scipy.cluster.hierarchy import leaves_list, linkage  # takes a while to import
    from scipy.spatial.distance import squareform

    shares = matrix_KxK / np.maximum(matrix_KxK.sum(1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    similar = np.maximum(shares, shares.T)
    joined, alone = np.flatnonzero(similar.any(1)), np.flatnonzero(~similar.any(1))
    if not len(joined):
        return alone
    distances = squareform(1 - similar[np.ix_(joined, joined)] - np.eye(len(joined)), checks=False)
    tree = linkage(distances, "average", optimal_ordering=len(joined) <= _MOST_OPTIMAL)
    order = leaves_list(tree)
    return np.concatenate([joined[order if order[0] < order[-1] else order[::-1]], alone])


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
