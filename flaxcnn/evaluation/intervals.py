"""Confidence intervals of results: over test examples (bootstrap) and over training seeds (Student's t).

A bootstrap interval describes this model on other test examples from the same source. A t interval describes a new
training. Neither includes the other.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from flaxcnn.errors import ConfigError, DataError
from flaxcnn.tasks import Scores

_BLOCK = 2**19  # numbers in an array of counts: 2 MB of int32


class MeanInterval(NamedTuple):
    """The mean of independent values, with a confidence interval of the true mean."""

    mean: float
    standard_deviation: float  # of the values, with n - 1 in the denominator; NaN of one value
    low: float  # of the interval; NaN of one value
    high: float


def bootstrap_intervals(
    scores: Scores,
    names: Collection[str],
    examples: int,
    *,
    groups_N: np.ndarray | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Return a percentile bootstrap interval over the examples, or over groups of them, for each metric.

    Every metric is recomputed from each resample's predictions, so metrics that are not sums, such as areas under
    curves, also have correct intervals. A metric ignores resamples for which it is undefined. For a single example,
    every interval is a point. With groups, whole groups are drawn with replacement, as many as there are, because
    examples of one person, plant or session are not independent.

    For a classifier, macro averages of a resample cover the classes that occur in it. The calibration error of a
    resample is on average larger than that of the original examples, so its interval is biased upwards and may lie
    entirely above the value. 10,000 examples of 10 classes take 1 to 2 seconds; time grows with examples × classes ×
    resamples, memory with examples × classes.

    Args:
        scores: the metrics of predictions (`Task.scores`).
        names: names of the metrics to compute.
        examples: N, the number of predictions; at least 1.
        groups_N: the group of each example, integers (N,); None for no groups.
        resamples: number of resamples, each of N examples drawn with replacement; at least 1.
        confidence: the fraction of the resamples within the interval; more than 0 and less than 1.
        seed: seed of the draws; 0 or more. The same seed and NumPy version reproduce the intervals.

    Returns:
        (low, high) by name; both NaN if the metric is undefined for all resamples.

    Raises:
        ConfigError: an argument out of range.

    Source: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
    """
    tails = _tails(confidence)
    blocks = [scores.measure(counts, names) for counts in resampled_counts(examples, resamples, seed, groups_N)]
    return {name: _between(np.concatenate([block[name] for block in blocks]), tails) for name in names}


def percentile_interval(values_R: np.ndarray, confidence: float) -> tuple[float, float]:
    """Return the two percentiles with equal tails outside; raises ConfigError as `bootstrap_intervals`."""
    return _between(values_R, _tails(confidence))


def resampled_counts(
    examples: int, resamples: int, seed: int, groups_N: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield, in blocks of resamples, the count of each example: int32 (resamples of the block, examples).

    With groups, whole groups are drawn: an example's count is its group's.

    Raises:
        ConfigError: resamples is less than 1, or the seed is less than 0.
    """
    for name, value, least in (("resamples", resamples, 1), ("seed", seed, 0)):
        if value < least:
            raise ConfigError("out of range", where=name, expected=f"{least} or more", found=value)
    generator = np.random.default_rng(seed)
    rows = max(1, _BLOCK // examples)
    found, members_N = np.unique(np.arange(examples) if groups_N is None else groups_N, return_inverse=True)
    units = len(found)
    for start in range(0, resamples, rows):
        counts = np.empty((min(rows, resamples - start), examples), np.int32)
        for row in counts:  # one by one, so that the result does not depend on the block size
            drawn = np.bincount(generator.integers(0, units, units), minlength=units)
            row[:] = drawn[members_N]
        yield counts


def binomial_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a fraction of examples: it needs no resampling.

    Args:
        successes: 0 to `trials`.
        trials: at least 1.
        confidence: minimum probability that such an interval contains the true fraction; more than 0 and less than 1.

    Raises:
        DataError: less than one trial, or successes that are less than 0 or more than the trials.
        ConfigError: confidence is out of range.

    Source: C. Clopper and E. Pearson, "The use of confidence or fiducial limits", Biometrika 26, 1934.
    """
    from scipy.special import betaincinv

    if not 0 <= successes <= trials or trials < 1:
        expected, found = "0 to as many successes as trials, of at least 1", f"{successes} of {trials}"
        raise DataError("no fraction", expected=expected, found=found)
    tail, _ = _tails(confidence)
    low = 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1, tail))
    high = 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, 1 - tail))
    return low, high


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> MeanInterval:
    """Return the mean and Student's t interval of independent, roughly normal values, such as results of several seeds.

    Args:
        values: one or more finite numbers, such as the accuracies of the same training with several seeds.
        confidence: probability that such an interval contains the true mean; more than 0 and less than 1.

    Returns:
        The mean, standard deviation and interval; for one value, all except the mean are NaN.

    Raises:
        DataError: no values, or one that is not finite.
        ConfigError: confidence is out of range.
    """
    mean, deviation, factor = _t_statistics(values, confidence)
    half = factor * deviation / np.sqrt(len(values))
    return MeanInterval(mean, deviation, float(mean - half), float(mean + half))


def prediction_interval(values: Sequence[float], confidence: float = 0.95, *, log: bool = False) -> tuple[float, float]:
    """Return the prediction interval for one more value, such as a run with another seed: mean ± t·s·√(1 + 1/n).

    Args:
        values: as for `mean_interval`.
        confidence: probability that such an interval contains the new value.
        log: whether the logarithms of the values are roughly normal, instead of the values. The values must then be
            positive, and the interval is computed on logarithms and transformed back.

    Returns:
        The two ends; both NaN for one value.

    Raises:
        DataError: as `mean_interval`, or a value is not positive with `log`.
        ConfigError: confidence is out of range.

    >>> low, high = prediction_interval([0.97, 0.98, 0.99])
    >>> f"{low:.4f} {high:.4f}"
    '0.9303 1.0297'
    """
    if log and min(values, default=1) <= 0:
        raise DataError("no logarithms of these values", expected="positive numbers", found=list(values))
    mean, deviation, factor = _t_statistics(np.log(values) if log else values, confidence)
    half = factor * deviation * np.sqrt(1 + 1 / len(values))
    ends = np.array([mean - half, mean + half])
    if log:
        with np.errstate(over="ignore"):  # of two values far apart, the upper end is infinite
            ends = np.exp(ends)
    low, high = ends.tolist()
    return low, high


def _t_statistics(values: Sequence[float] | np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Return the mean, the standard deviation and the t quantile; the last two are NaN for one value."""
    from scipy.special import stdtrit  # takes most of a second to import

    numbers = np.asarray(values, np.float64)
    if not numbers.size or not np.isfinite(numbers).all():
        raise DataError("no interval of these values", expected="one or more finite numbers", found=list(values))
    _, upper = _tails(confidence)
    if numbers.size == 1:
        return float(numbers[0]), float("nan"), float("nan")
    return float(numbers.mean()), float(numbers.std(ddof=1)), float(stdtrit(numbers.size - 1, upper))


def _tails(confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise ConfigError("out of range", where="confidence", expected="more than 0, less than 1", found=confidence)
    return (1 - confidence) / 2, (1 + confidence) / 2


def _between(values_R: np.ndarray, tails: tuple[float, float]) -> tuple[float, float]:
    defined = values_R[~np.isnan(values_R)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, tails)
    return float(low), float(high)
