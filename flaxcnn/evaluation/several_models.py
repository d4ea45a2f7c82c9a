"""Which of several models is best: paired tests on the same examples, corrected for the number of pairs.

A difference between two models varies for two reasons. Other test examples would give another one: the bootstrap over
groups, or over examples, says how much, drawn for both models at once. Other seeds would give another one: the spread
of each model over its seeds says how much. The two variances are added, and the difference is held against Student's t
with the degrees of freedom of Welch and Satterthwaite. A bootstrap of the examples alone would call recipes different
that differ by the luck of their seeds; with one seed, nothing more can be said, and the test is about these trained
models alone.

Two seeds also differ on few examples by chance alone, as the bootstrap of their difference says; that much is taken
from the spread over seeds, since the variance over examples has it already.

Bonferroni's correction, not Holm's, though Holm's tells a little more apart: so two models are told apart exactly where
the interval of their difference leaves out 0.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

LEVEL = 0.05


class Model(NamedTuple):
    """A metric of a model, trained with several seeds.

    Attributes:
        values: of each seed, on all examples; one or more.
        draws_SxR: of each seed and each resample of the examples; the resamples are the same for all models.
    """

    values: Sequence[float]
    draws_SxR: np.ndarray  # noqa: N815

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.values))


class Difference(NamedTuple):
    """The difference of two models, the first's value minus the second's.

    Attributes:
        value: of the difference.
        low, high: the interval that holds for all pairs together (Bonferroni), 95 %; NaN where there is none.
        p: for equal models, the probability of a difference that large; 1 where nothing can be tested.
        corrected: p, times the number of pairs (Bonferroni), at most 1.
    """

    value: float
    low: float
    high: float
    p: float
    corrected: float

    @property
    def is_told(self) -> bool:
        """Whether the models can be told apart."""
        return self.corrected < LEVEL

    @property
    def reversed(self) -> "Difference":
        """The difference of the second model to the first."""
        return self._replace(value=-self.value, low=-self.high, high=-self.low)


class Verdict(NamedTuple):
    """What several models' differences say.

    Attributes:
        order: the models' names, the best mean first; of equals the earlier one.
        best: the names of those that cannot be told from the first one, itself included: one is a winner.
        differences: of each pair, by the two names, in both directions.
    """

    order: tuple[str, ...]
    best: tuple[str, ...]
    differences: Mapping[tuple[str, str], Difference]

    @property
    def winner(self) -> str | None:
        """The model that is better than each other one; None for none, and for a model without another."""
        return self.best[0] if len(self.best) == 1 < len(self.order) else None


def verdict_of(models: Mapping[str, Model], units: int, *, higher_is_better: bool) -> Verdict:
    """Compare each model with each other one.

    All pairs are corrected for, not only those of the best model: which one is the best is known from the same data,
    and the largest of several equal means lies above the smallest by more than any two that were chosen beforehand.

    Args:
        models: by name.
        units: how many groups, or examples without groups, were drawn in each resample.
        higher_is_better: whether the largest value is the best.

    Source: B. Welch, "The generalization of Student's problem when several different population variances are
    involved", Biometrika 34, 1947.
    """
    sign = -1 if higher_is_better else 1
    order = tuple(sorted(models, key=lambda name: sign * models[name].mean))
    pairs = list(combinations(order, 2))
    differences: dict[tuple[str, str], Difference] = {}
    for one, other in pairs:
        found = _difference(models[one], models[other], units, len(pairs))
        differences |= {(one, other): found, (other, one): found.reversed}
    best = tuple(name for name in order if name == order[0] or not differences[order[0], name].is_told)
    return Verdict(order, best, differences)


def _difference(one: Model, other: Model, units: int, pairs: int) -> Difference:
    """Return the difference of two models, corrected for so many pairs."""
    from scipy.special import stdtr, stdtrit  # takes most of a second to import

    value = one.mean - other.mean
    draws_R = one.draws_SxR.mean(0) - other.draws_SxR.mean(0)
    draws_R = draws_R[np.isfinite(draws_R)]
    # No test of so many units has a smaller p than that of as many coins that all fall on one side.
    least = 2.0 ** (1 - units)
    if least * pairs >= LEVEL or len(draws_R) < 2 or not math.isfinite(value):
        return Difference(value, math.nan, math.nan, 1.0, 1.0)
    # A resample of so many units has a smaller variance than the units themselves, by this factor.
    of_examples = float(np.var(draws_R)) * units / (units - 1)
    spreads = [_of_seeds(each, units) for each in (one, other) if len(each.values) > 1]
    variance = of_examples + sum(spread.variance for spread in spreads)
    if variance == 0:  # every unit says the same
        p = 1.0 if value == 0 else least
        return Difference(value, value, value, p, min(1.0, p * pairs))
    unsure = of_examples**2 / (units - 1) + sum(spread.measured**2 / spread.freedom for spread in spreads)
    freedom = variance**2 / unsure
    error = math.sqrt(variance)
    half = -float(stdtrit(freedom, LEVEL / 2 / pairs)) * error
    p = max(least, 2 * float(stdtr(freedom, -abs(value) / error)))
    return Difference(value, value - half, value + half, p, min(1.0, p * pairs))


class _Spread(NamedTuple):
    """The variance of a model's mean over its seeds: as it is measured, and without what the examples explain."""

    measured: float
    variance: float
    freedom: int


def _of_seeds(model: Model, units: int) -> _Spread:
    seeds = len(model.values)
    measured = float(np.var(model.values, ddof=1))
    apart_SxR = model.draws_SxR - model.draws_SxR.mean(0)  # by which each seed differs from the others
    chance = float(np.nanvar(apart_SxR, axis=1).sum()) / (seeds - 1) * units / (units - 1)
    return _Spread(measured / seeds, max(0.0, measured - chance) / seeds, seeds - 1)
