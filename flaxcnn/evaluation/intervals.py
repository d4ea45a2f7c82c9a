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
    """The mean of independent values and what they say of the mean that infinitely many would have."""

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

    Every metric is made anew from the predictions of each resample, so that those that are no sums, such as areas under
    curves, have true intervals too. A resample for which a metric is not defined does not count for it. Of one example,
    every interval is a point. With groups, whole groups are drawn with replacement, as many as there are: what the
    examples of one person, plant or session share is drawn with them.

    Of a classifier, macro averages of a resample are over the classes that occur in it, and the calibration error of a
    resample is on average larger than that of the examples themselves, so that its interval lies high, and may lie
    wholly above the figure. 10,000 examples of 10 classes take 1 to 2 seconds; time grows with examples × classes ×
    resamples, memory with examples × classes.

    Args:
        scores: the metrics of predictions (`Task.scores`).
        names: of the metrics that are wanted.
        examples: N, how many predictions there are; at least 1.
        groups_N: the group of each example, integers (N,); None where each stands for itself.
        resamples: how often N examples are drawn with replacement; at least 1.
        confidence: the fraction of the resamples within the interval; more than 0 and less than 1.
        seed: of the draws; 0 or more. The same seed and NumPy give the same intervals.

    Returns:
        (low, high) by name; both NaN where the metric is defined for no resample.

    Raises:
        ConfigError: an argument out of its range.

    Source: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
    """
    tails = _tails(confidence)
    blocks = [scores.measure(counts, names) for counts in resampled_counts(examples, resamples, seed, groups_N)]
    return {name: _between(np.concatenate([block[name] for block in blocks]), tails) for name in names}


def percentile_interval(values_R: np.ndarray, confidence: float) -> tuple[float, float]:
    """Return the two percentiles that leave equal tails outside; raises ConfigError as `bootstrap_intervals`."""
    return _between(values_R, _tails(confidence))


def resampled_counts(
    examples: int, resamples: int, seed: int, groups_N: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield, in blocks of resamples, how often each example was drawn: int32 (resamples of the block, examples).

    With groups, whole groups are drawn: an example was drawn as often as its group.

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
        for row in counts:  # one after the other, so that the size of a block changes nothing
            drawn = np.bincount(generator.integers(0, units, units), minlength=units)
            row[:] = drawn[members_N]
        yield counts


def binomial_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a fraction, such as an accuracy: it needs no resampling.

    Args:
        successes: 0 to `trials`.
        trials: at least 1.
        confidence: how often such intervals hold the true fraction, at least; more than 0 and less than 1.

    Raises:
        DataError: less than one trial, or successes that are less than 0 or more than the trials.
        ConfigError: confidence is out of its range.

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
    """Return the mean of independent, roughly normal values with Student's t interval for it: what seeds give.

    Args:
        values: one or more finite numbers, such as the accuracies of the same training with several seeds.
        confidence: how often such intervals hold the true mean; more than 0 and less than 1.

    Returns:
        The mean, standard deviation and interval; all but the mean NaN of one value.

    Raises:
        DataError: no values, or one that is not finite.
        ConfigError: confidence is out of its range.
    """
    mean, deviation, factor = _t_statistics(values, confidence)
    half = factor * deviation / np.sqrt(len(values))
    return MeanInterval(mean, deviation, float(mean - half), float(mean + half))


def prediction_interval(values: Sequence[float], confidence: float = 0.95, *, log: bool = False) -> tuple[float, float]:
    """Return the interval for one further value, mean ± t·s·√(1 + 1/n): what a run with another seed would give.

    Args:
        values: as `mean_interval`.
        confidence: how often such intervals hold the further value.
        log: whether the logarithms of the values are roughly normal, not the values themselves; those are positive
            then. The interval is that of the logarithms, taken back.

    Returns:
        The two ends; both NaN of one value.

    Raises:
        DataError: as `mean_interval`, or `log` is asked for of a value that is not positive.
        ConfigError: confidence is out of its range.

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
    """Return the mean, the standard deviation and the t quantile; the last two NaN of one value."""
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
