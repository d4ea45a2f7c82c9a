"""What validation predictions say of how sure a model may be: temperatures of logits, and widths of intervals."""

import math
from collections.abc import Callable, Sequence

import numpy as np

DISTANCE = "distance"
"""Among a classifier's predictions: how far an image's features are from those of its classes, (N,), where the model
knows it (`flaxcnn.evaluation.familiarity`)."""
_COLDEST, _HOTTEST = 0.05, 20.0


def temperature_of_classes(logits_NxK: np.ndarray, labels_N: np.ndarray) -> float:
    """Return the temperature T for which softmax(logits / T) has the least cross-entropy on these labels.

    It changes no answer, only how sure it is. Source: C. Guo et al., "On Calibration of Modern Neural Networks", ICML
    2017, section 4.2. Between 0.05 and 20, the ends where all labels, or too few, are predicted correctly.
    """
    logits, rows = logits_NxK.astype(np.float64), np.arange(len(labels_N))

    def cross_entropy(temperature: float) -> float:
        return float(-np.mean(_log_softmax(logits / temperature)[rows, labels_N]))

    return _coolest(cross_entropy)


def temperature_of_labels(logits_NxL: np.ndarray, labels_NxL: np.ndarray) -> float:
    """Return the temperature T for which sigmoid(logits / T) has the least cross-entropy, the mean over all labels."""
    logits = np.where(labels_NxL, 1.0, -1.0) * logits_NxL.astype(np.float64)
    return _coolest(lambda temperature: float(np.mean(np.logaddexp(0.0, -logits / temperature))))


def _coolest(loss: Callable[[float], float]) -> float:
    """Return where a loss of the temperature is least, which is convex in the inverse of the temperature."""
    import scipy.optimize  # takes a while to import

    found = scipy.optimize.minimize_scalar(
        lambda inverse: loss(1 / inverse),
        bounds=(1 / _HOTTEST, 1 / _COLDEST),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(1 / found.x)


def softmax(logits_NxK: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities of classes, float64 (N, K)."""
    found: np.ndarray = np.exp(_log_softmax(logits_NxK.astype(np.float64) / temperature))
    return found


def sigmoid(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities of labels, float64 of the same shape."""
    found: np.ndarray = np.exp(-np.logaddexp(0.0, -logits.astype(np.float64) / temperature))
    return found


def evidence(logits_NxK: np.ndarray) -> np.ndarray:
    """Return log Σ exp(logit) of each example, float64 (N,): the negative energy, less of what was never seen.

    Source: W. Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020, section 3.1, at temperature 1.
    """
    logits = logits_NxK.astype(np.float64)
    most = logits.max(1)
    found: np.ndarray = most + np.log(np.exp(logits - most[:, None]).sum(1))
    return found


def as_low(values_N: np.ndarray, sorted_M: Sequence[float]) -> np.ndarray:
    """Return how often a value from where M others are from is at least as low as each value, float64 (N,).

    (1 + how many of the others are) / (M + 1), a conformal p value: of new values from there, at most a fraction p has
    one of at most p, however few the others are. Source: V. Vovk et al., "Algorithmic Learning in a Random World",
    Springer 2005, section 2.2.
    """
    found: np.ndarray = (1 + np.searchsorted(np.asarray(sorted_M), values_N, side="right")) / (len(sorted_M) + 1)
    return found


def half_widths(errors_NxT: np.ndarray, share: float) -> list[float | None]:
    """Return how far around a prediction a number lies with a probability, by split conformal prediction, (T,).

    The ⌈(N + 1) · share⌉-th smallest absolute error: a new example from where these are from lies within with at least
    this probability. Source: J. Lei et al., "Distribution-Free Predictive Inference for Regression", JASA 2018,
    section 2.2. None where there are too few examples for it.
    """
    rank = math.ceil((len(errors_NxT) + 1) * share)
    if rank > len(errors_NxT):
        return [None] * errors_NxT.shape[1]
    return [float(width) for width in np.sort(np.abs(errors_NxT), axis=0)[rank - 1]]


def in_bins(probabilities_N: np.ndarray, bins: int) -> np.ndarray:
    """Return the bin of each probability among bins of equal width, each with its upper edge; int (N,)."""
    return np.searchsorted(np.arange(1, bins) / bins, probabilities_N, side="left")


def _log_softmax(logits_NxK: np.ndarray) -> np.ndarray:
    shifted = logits_NxK - logits_NxK.max(1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return found
