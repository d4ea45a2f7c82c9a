"""Whether one model is better than another on the same test examples, or only luckier.

Both differences are paired: each example is drawn, or counted, for both models at once.
"""

from dataclasses import dataclass

import numpy as np

from flaxcnn.errors import DataError
from flaxcnn.evaluation.intervals import percentile_interval, resampled_counts
from flaxcnn.evaluation.metrics import checked, cross_entropies
from flaxcnn.evaluation.predictions import Predictions

_LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two models on the same examples; every difference is the second model's value minus the first's.

    Attributes:
        examples: how many both were tested on.
        accuracy_a: the first model's, a fraction of 1.
        accuracy_b: the second model's.
        accuracy_interval: 95 % paired-bootstrap percentile interval of the difference of the accuracies.
        log_loss_a: the first model's mean cross-entropy in nats.
        log_loss_b: the second model's.
        log_loss_interval: 95 % paired-bootstrap percentile interval of the difference of the log losses.
        only_a_correct: examples that the first model alone gets right.
        only_b_correct: examples that the second model alone gets right.
        p_value: of McNemar's exact test: how likely so uneven a split of the examples that one alone gets right would
            be, or a more uneven one, were both models equally accurate; 1 where there is none
            (Q. McNemar, Psychometrika 12, 1947; T. Dietterich, Neural Computation 10, 1998, section 3.1).
    """

    examples: int
    accuracy_a: float
    accuracy_b: float
    accuracy_interval: tuple[float, float]
    log_loss_a: float
    log_loss_b: float
    log_loss_interval: tuple[float, float]
    only_a_correct: int
    only_b_correct: int
    p_value: float

    @property
    def accuracy_difference(self) -> float:
        """The second model's accuracy minus the first's: positive where the second is better."""
        return (self.only_b_correct - self.only_a_correct) / self.examples

    @property
    def log_loss_difference(self) -> float:
        """The second model's log loss minus the first's: negative where the second is better."""
        return self.log_loss_b - self.log_loss_a

    @property
    def differ(self) -> bool:
        """Whether the accuracies differ at the 5 % level, by McNemar's test."""
        return self.p_value < _LEVEL


def compare(a: Predictions, b: Predictions, resamples: int = 10_000, seed: int = 0) -> Comparison:
    """Compare two models' predictions of the same examples in the same order.

    Args:
        a: the first model's.
        b: the second model's.
        resamples: of the bootstrap; at least 1.
        seed: of the bootstrap's draws; 0 or more.

    Raises:
        DataError: the two have other examples, labels or classes, a label out of range, or a logit that is not finite.
        ConfigError: resamples or seed out of range.
    """
    _require_same_examples(a, b)
    correct, losses = zip(*map(_judged, (a, b)), strict=True)
    differences_Nx2 = np.stack([correct[1].astype(np.float64) - correct[0], losses[1] - losses[0]], -1)
    examples = len(differences_Nx2)
    means_Rx2 = np.concatenate(
        [counts @ differences_Nx2 / examples for counts in resampled_counts(examples, resamples, seed)]
    )
    only_a, only_b = int(np.sum(correct[0] & ~correct[1])), int(np.sum(correct[1] & ~correct[0]))
    return Comparison(
        examples=examples,
        accuracy_a=float(correct[0].mean()),
        accuracy_b=float(correct[1].mean()),
        accuracy_interval=percentile_interval(means_Rx2[:, 0], 1 - _LEVEL),
        log_loss_a=float(losses[0].mean()),
        log_loss_b=float(losses[1].mean()),
        log_loss_interval=percentile_interval(means_Rx2[:, 1], 1 - _LEVEL),
        only_a_correct=only_a,
        only_b_correct=only_b,
        p_value=mcnemar(only_a, only_b),
    )


def mcnemar(only_a_correct: int, only_b_correct: int) -> float:
    """Return the p value of McNemar's exact test, two-sided: a binomial test of the split against one half.

    >>> mcnemar(1, 5)  # 2 (1 + 6) / 64
    0.21875
    """
    fewer, discordant = min(only_a_correct, only_b_correct), only_a_correct + only_b_correct
    ways = chosen = 1  # sum of the binomial coefficients up to the current one, in whole numbers of any size
    for number in range(fewer):
        chosen = chosen * (discordant - number) // (number + 1)
        ways += chosen
    return min(1.0, 2 * ways / 2**discordant)


def describe(comparison: Comparison, name_a: str, name_b: str) -> list[str]:
    """Return lines that say which of two models, called by these names, is better, and how sure that is."""
    width = max(len(name_a), len(name_b), len("difference"))
    points = 100 * comparison.accuracy_difference
    low, high = (100 * end for end in comparison.accuracy_interval)
    loss_low, loss_high = comparison.log_loss_interval
    p = f"p = {comparison.p_value:.2g}" if comparison.p_value else "p below 1e-300"  # of a float
    lines = [
        f"{name_a:<{width}}  accuracy {comparison.accuracy_a:.2%}, log loss {comparison.log_loss_a:.4f}",
        f"{name_b:<{width}}  accuracy {comparison.accuracy_b:.2%}, log loss {comparison.log_loss_b:.4f}",
        f"{'difference':<{width}}  accuracy {points:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}), "
        f"log loss {comparison.log_loss_difference:+.4f} ({loss_low:+.4f} to {loss_high:+.4f})",
        f"of {comparison.examples:,} examples, only {name_a} gets {comparison.only_a_correct:,} right, "
        f"only {name_b} {comparison.only_b_correct:,}; McNemar's exact test: {p}",
    ]
    if not comparison.differ:
        return [*lines, "no difference in accuracy at the 5 % level"]
    better, worse = (name_b, name_a) if points > 0 else (name_a, name_b)
    return [*lines, f"{better} is more accurate than {worse} at the 5 % level"]


def _require_same_examples(a: Predictions, b: Predictions) -> None:
    for what, of_a, of_b in (
        ("numbers of examples", len(a.index_N), len(b.index_N)),
        ("numbers of classes", a.logits_NxK.shape[-1], b.logits_NxK.shape[-1]),
    ):
        if of_a != of_b:
            raise DataError(f"predictions of different {what} cannot be compared", found=f"{of_a} and {of_b}")
    for what, of_a, of_b in (("indices", a.index_N, b.index_N), ("labels", a.label_N, b.label_N)):
        different = np.flatnonzero(of_a != of_b)
        if different.size:
            first = different[0]
            raise DataError(
                f"predictions of different {what} cannot be compared",
                where=f"row {first}, the first of {different.size} that differ",
                expected=f"{of_a[first]} as in the first",
                found=f"{of_b[first]} in the second",
                fix="evaluate both models on the same examples in the same order",
            )


def _judged(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Return which examples are classified correctly, bool (N,), and their cross-entropies in nats, float64 (N,)."""
    labels_N, logits_NxK = checked(predictions.label_N, predictions.logits_NxK)
    return np.argmax(logits_NxK, -1) == labels_N, cross_entropies(labels_N, logits_NxK)
