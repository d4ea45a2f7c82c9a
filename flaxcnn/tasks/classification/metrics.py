"""Metrics of a classifier from labels and logits, in float64 on the host, with defined values in edge cases.

`classification_metrics` computes them. `CountedExamples` computes the same for weighted examples, as in a bootstrap
resample. Other modules run the model and compute intervals.
"""

import dataclasses
from collections.abc import Collection
from typing import Any

import numpy as np

from flaxcnn.errors import ConfigError, DataError
from flaxcnn.tasks.arithmetic import as_json, mean_where, require_finite
from flaxcnn.tasks.calibration import in_bins
from flaxcnn.tasks.ranking import Ranking
from flaxcnn.tasks.task import Metric

TOP_K = 5
CALIBRATION_BINS = 15
_HIGHER, _LOWER = Metric(higher_is_better=True, fraction=True), Metric(higher_is_better=False, fraction=True)
METRICS = {  # the fields of `ClassificationMetrics` that a bootstrap gives an interval for
    "accuracy": _HIGHER,
    "top_k_accuracy": _HIGHER,
    "log_loss": Metric(higher_is_better=False, unit="nats"),
    "brier_score": Metric(higher_is_better=False),
    "calibration_error": _LOWER,
    "macro_precision": _HIGHER,
    "macro_recall": _HIGHER,
    "macro_f1": _HIGHER,
    "weighted_precision": _HIGHER,
    "weighted_recall": _HIGHER,
    "weighted_f1": _HIGHER,
    "macro_roc_auc": _HIGHER,
    "macro_average_precision": _HIGHER,
}
_RANKED = {"macro_roc_auc", "macro_average_precision", "roc_auc", "average_precision"}


@dataclasses.dataclass(frozen=True, eq=False)
class ClassificationMetrics:
    """What a classifier's logits are worth; fractions of 1 unless said otherwise.

    The prediction is the class of the largest logit, the first of several equal ones. Precision is 0 for a class never
    predicted, recall for one without an example, F1 where both are 0. ROC AUC and average precision, one class against
    the rest by its probability, are NaN for a class with no example, or with all.

    One rule for all macro averages: each class counts the same that occurs in what the metric compares, and no other.
    Precision, recall and F1 compare labels with predictions, so a class occurs in them that has an example or is
    predicted (`averaged_classes`), as in scikit-learn: predicting a class that has no example counts as a 0, and cannot
    flatter. ROC AUC and average precision compare labels with probabilities, which every class has, so a class occurs
    in them that has an example, and others to be told from it (`ranked_classes`). Weighted averages follow the same
    rule, since a class without an example has no weight.

    Attributes:
        examples: how many.
        classes: K, whether or not each has an example.
        top_k: how many of the largest logits `top_k_accuracy` looks at.
        accuracy: examples whose prediction is their label.
        top_k_accuracy: examples whose label is among the top_k largest logits; of equal logits the class with the
            larger number goes first, as in scikit-learn. 1 where top_k is K or more.
        log_loss: mean cross-entropy in nats.
        brier_score: mean over the examples of the squared error of the probabilities, summed over the classes; 0 to 2
            (G. Brier, Monthly Weather Review 78, 1950).
        calibration_error: expected calibration error over 15 bins of equal width of the prediction's probability, each
            without its lower and with its upper edge (C. Guo et al., "On calibration of modern neural networks", 2017,
            section 2, equation 3).
        macro_precision: mean of `precision` over the `averaged_classes`.
        macro_recall: mean of `recall` over the `averaged_classes`.
        macro_f1: mean of `f1` over the `averaged_classes`.
        weighted_precision: mean of `precision`, weighted by `support`.
        weighted_recall: mean of `recall`, weighted by `support`; it equals the accuracy.
        weighted_f1: mean of `f1`, weighted by `support`.
        macro_roc_auc: mean of `roc_auc` where it is defined; NaN where it is nowhere.
        macro_average_precision: mean of `average_precision` where it is defined; NaN where it is nowhere.
        ranked_classes: for how many classes the two are defined.
        averaged_classes: how many have an example or are predicted.
        support: each class's examples; int64, (K,).
        precision: of what is predicted as a class, the fraction that is; float64, (K,).
        recall: of a class's examples, the fraction predicted as it; float64, (K,).
        f1: harmonic mean of the two; float64, (K,).
        roc_auc: area under the ROC curve; float64, (K,).
        average_precision: area under the precision-recall curve, not interpolated; float64, (K,).
    """

    examples: int
    classes: int
    top_k: int
    accuracy: float
    top_k_accuracy: float
    log_loss: float
    brier_score: float
    calibration_error: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    macro_roc_auc: float
    macro_average_precision: float
    ranked_classes: int
    averaged_classes: int
    support: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    roc_auc: np.ndarray
    average_precision: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name as JSON's numbers and lists, None for what is not finite."""
        return {field.name: as_json(getattr(self, field.name)) for field in dataclasses.fields(self)}


class CountedExamples:
    """What the metrics need to know of each example, computed once, to be counted as often as one likes.

    Args:
        labels_N: integers in [0, K); (N,), N at least 1.
        logits_NxK: finite numbers; (N, K), computed with in float64.
        top_k: how many of the largest logits the top-k accuracy looks at; at least 1.

    Raises:
        DataError: no examples, shapes that do not fit, a label out of range, a logit that is NaN or infinite.
        ConfigError: top_k is less than 1.
    """

    def __init__(self, labels_N: np.ndarray, logits_NxK: np.ndarray, top_k: int = TOP_K):
        labels_N, logits_NxK = checked(labels_N, logits_NxK)
        if top_k < 1:
            raise ConfigError("out of range", where="top_k", expected="1 or more", found=top_k)
        examples, self.classes = logits_NxK.shape
        probabilities_NxK = softmax(logits_NxK)
        own_NxK = np.arange(self.classes) == labels_N[:, None]
        self._labels_N = labels_N
        self._predicted_N = np.argmax(logits_NxK, -1)
        self._correct_N = self._predicted_N == labels_N
        self._sums_of_NxQ = np.stack(
            [
                self._correct_N,
                _ranks(labels_N, logits_NxK) < top_k,
                cross_entropies(labels_N, logits_NxK),
                np.sum((probabilities_NxK - own_NxK) ** 2, -1),
            ],
            axis=-1,
        )
        confidence_N = probabilities_NxK.max(-1)
        bins_N = in_bins(confidence_N, CALIBRATION_BINS)
        self._overconfidence_NxM = np.zeros((examples, CALIBRATION_BINS))
        self._overconfidence_NxM[np.arange(examples), bins_N] = confidence_N - self._correct_N
        self._rankings = [Ranking(own_NxK[:, k], probabilities_NxK[:, k]) for k in range(self.classes)]

    def measure(self, counts_BxN: np.ndarray, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """Return each metric for each of B countings of the examples.

        Args:
            counts_BxN: how often each example counts, int32, at least one of a row more than 0; (B, N).
            names: of the metrics that are wanted, None for all: those that rank examples take most of the time.

        Returns:
            The fields of `ClassificationMetrics` that depend on the counts, by name: (B,) for numbers, (B, K) for
            arrays.
        """
        weights_BxN = counts_BxN.astype(np.float64)
        total_B = weights_BxN.sum(-1)
        accuracy, top_k_accuracy, log_loss, brier_score = (weights_BxN @ self._sums_of_NxQ / total_B[:, None]).T
        support = self._by_class(self._labels_N, weights_BxN)
        predicted = self._by_class(self._predicted_N, weights_BxN)
        true_positive = self._by_class(self._labels_N, weights_BxN * self._correct_N)
        # A numerator is 0 wherever its denominator is, so that 0 / 1 stands for 0 / 0.
        precision = true_positive / np.maximum(predicted, 1)
        recall = true_positive / np.maximum(support, 1)
        f1 = 2 * true_positive / np.maximum(predicted + support, 1)
        shares = support / total_B[:, None]
        occurs = (support > 0) | (predicted > 0)
        ranked = (support > 0) & (support < total_B[:, None])
        measured = {
            "accuracy": accuracy,
            "top_k_accuracy": top_k_accuracy,
            "log_loss": log_loss,
            "brier_score": brier_score,
            "calibration_error": np.abs(weights_BxN @ self._overconfidence_NxM).sum(-1) / total_B,
            "macro_precision": mean_where(occurs, precision),
            "macro_recall": mean_where(occurs, recall),
            "macro_f1": mean_where(occurs, f1),
            "weighted_precision": (precision * shares).sum(-1),
            "weighted_recall": (recall * shares).sum(-1),
            "weighted_f1": (f1 * shares).sum(-1),
            "ranked_classes": ranked.sum(-1),
            "averaged_classes": occurs.sum(-1),
            "support": support.astype(np.int64),
            "precision": precision,
            "recall": recall,
            "f1": f1,
        }
        if names is None or not _RANKED.isdisjoint(names):
            roc_auc, average_precision = np.stack([ranking.areas(counts_BxN) for ranking in self._rankings], -1)
            measured |= {
                "macro_roc_auc": mean_where(ranked, roc_auc),
                "macro_average_precision": mean_where(ranked, average_precision),
                "roc_auc": roc_auc,
                "average_precision": average_precision,
            }
        return measured

    def _by_class(self, classes_N: np.ndarray, weights_BxN: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(classes_N, weights_N, self.classes) for weights_N in weights_BxN])


def classification_metrics(labels_N: np.ndarray, logits_NxK: np.ndarray, top_k: int = TOP_K) -> ClassificationMetrics:
    """Return the metrics of a classifier, every example counted once; arguments and errors as `CountedExamples`.

    >>> found = classification_metrics(np.asarray([0, 1, 1]), np.asarray([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]]))
    >>> round(found.accuracy, 4), found.recall, found.roc_auc
    (0.6667, array([1. , 0.5]), array([0.75, 0.75]))
    """
    counted = CountedExamples(labels_N, logits_NxK, top_k)
    measured = counted.measure(np.ones((1, len(labels_N)), np.int32))
    values = {name: value[0] if value.ndim > 1 else value[0].item() for name, value in measured.items()}
    return ClassificationMetrics(examples=len(labels_N), classes=counted.classes, top_k=top_k, **values)


def checked(labels_N: np.ndarray, logits_NxK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels as int64 and logits as float64, or raise DataError as `CountedExamples` says."""
    labels_N, logits_NxK = fitting(labels_N, logits_NxK)
    require_finite(logits_NxK, "class")
    return labels_N, logits_NxK.astype(np.float64)


def fitting(labels_N: np.ndarray, logits_NxK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels as int64 and logits as they are, finite or not; else raise DataError as `CountedExamples` says."""
    labels_N, logits_NxK = np.asarray(labels_N), np.asarray(logits_NxK)
    if logits_NxK.ndim != 2 or labels_N.shape != logits_NxK.shape[:1] or not logits_NxK.size:
        raise DataError(
            "labels and logits do not fit",
            expected="labels (N,) and logits (N, K), N and K at least 1",
            found=f"{labels_N.shape} and {logits_NxK.shape}",
        )
    if not np.issubdtype(labels_N.dtype, np.integer):
        raise DataError("labels are not class numbers", expected="integers", found=labels_N.dtype)
    classes = logits_NxK.shape[1]
    outside = np.flatnonzero((labels_N < 0) | (labels_N >= classes))
    if outside.size:
        raise DataError(
            "label out of range",
            where=f"example {outside[0]}",
            expected=f"0 to {classes - 1}, one of the logits' classes",
            found=labels_N[outside[0]],
        )
    return labels_N.astype(np.int64), logits_NxK


def softmax(logits_NxK: np.ndarray) -> np.ndarray:
    """Return the probabilities, (N, K), of float64 logits."""
    exponentials = np.exp(logits_NxK - logits_NxK.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def cross_entropies(labels_N: np.ndarray, logits_NxK: np.ndarray) -> np.ndarray:
    """Return each example's cross-entropy in nats, (N,), of float64 logits; finite however wrong float32 ones were."""
    largest_N = logits_NxK.max(-1)
    sums_N = np.exp(logits_NxK - largest_N[:, None]).sum(-1)
    return np.log(sums_N) + (largest_N - np.take_along_axis(logits_NxK, labels_N[:, None], -1)[:, 0])


def _ranks(labels_N: np.ndarray, logits_NxK: np.ndarray) -> np.ndarray:
    """Return how many classes go before each label's by falling logit, larger numbers first among equal ones; (N,)."""
    own_Nx1 = np.take_along_axis(logits_NxK, labels_N[:, None], -1)
    later = np.arange(logits_NxK.shape[1]) > labels_N[:, None]
    return np.sum((logits_NxK > own_Nx1) | ((logits_NxK == own_Nx1) & later), -1)
