"""When not to answer: the probability from which on a classifier's answers are right as often as is wanted."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from flaxcnn.errors import ConfigError
from flaxcnn.evaluation.intervals import binomial_interval


class Abstention(NamedTuple):
    """A threshold, and what it was worth on the validation images.

    Attributes:
        threshold: of the calibrated probability; an answer with a lower one is withheld.
        right: correct answers with at least this probability.
        answered: how many have it.
        examples: how many there are.
    """

    threshold: float
    right: int
    answered: int
    examples: int

    @property
    def line(self) -> str:
        """What people have to know of it."""
        low, high = binomial_interval(self.right, self.answered)
        return (
            f"answers from a probability of {self.threshold:.4f} on: of the validation images, "
            f"{self.answered:,} of {self.examples:,} have it, of which {100 * self.right / self.answered:.1f} % are "
            f"right (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
        )


def abstention(answers: Sequence[Mapping[str, Any]], classes: Sequence[str], precision: float) -> Abstention:
    """Return the lowest threshold at which the answers of the validation images have a precision.

    Args:
        answers: of the validation images, as a classifier gives them.
        classes: of the validation images.
        precision: wanted fraction of right answers among those with at least the threshold.

    Raises:
        ConfigError: no threshold has it.
    """
    probabilities = np.array([each["probability"] for each in answers])
    right = np.array([each["class"] == name for each, name in zip(answers, classes, strict=True)])
    order = np.argsort(-probabilities, kind="stable")
    counts = np.arange(1, len(order) + 1)
    precisions = np.cumsum(right[order]) / counts
    ends = np.append(np.diff(probabilities[order]) != 0, True)  # of equal probabilities, all or none
    enough = np.flatnonzero((precisions >= precision) & ends)
    if not len(enough):
        best = float(precisions[ends].max())
        raise ConfigError(
            "no threshold reaches it on the validation images",
            where="--precision",
            expected=f"at most {best:.4f}",
            found=precision,
        )
    last = enough[-1]
    threshold = float(probabilities[order[last]])
    return Abstention(threshold, round(float(precisions[last] * (last + 1))), int(last + 1), len(order))


def withheld(answer: Mapping[str, Any], threshold: float) -> dict[str, Any]:
    """Return an answer whose class is None where its probability is below the threshold; `guess` still says which."""
    guess = answer["class"]
    return {"class": None if answer["probability"] < threshold else guess, "guess": guess, **_without_class(answer)}


def _without_class(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "class"}
