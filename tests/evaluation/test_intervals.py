"""Intervals hold the true value as often as they say, and are those of SciPy."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxcnn.errors import ConfigError, DataError
from flaxcnn.evaluation.intervals import (
    binomial_interval,
    bootstrap_intervals,
    mean_interval,
    prediction_interval,
    resampled_counts,
)
from flaxcnn.tasks.classification.metrics import METRICS, CountedExamples, classification_metrics


def problem(examples, classes, seed, accuracy=0.8):
    """Predictions of a model that is right with a known probability, and as sure of itself at random."""
    generator = np.random.default_rng(seed)
    labels, logits = generator.integers(0, classes, examples), generator.random((examples, classes))
    right = generator.random(examples) < accuracy
    logits[np.arange(examples), np.where(right, labels, (labels + 1) % classes)] += 1
    return labels, logits


def intervals(labels, logits, top_k=5, names=METRICS, **options):
    return bootstrap_intervals(CountedExamples(labels, logits, top_k), names, len(labels), **options)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(2, 4), st.integers(0, 999))
def test_a_resample_is_measured_as_its_examples_are(examples, classes, seed):
    labels, logits = problem(examples, classes, seed)
    (counts,) = resampled_counts(examples, 20, seed)
    assert (counts.sum(1) == examples).all()
    resamples = [
        classification_metrics(np.repeat(labels, row), np.repeat(logits, row, axis=0), top_k=2) for row in counts
    ]
    found = intervals(labels, logits, resamples=20, seed=seed, confidence=0.9, top_k=2)
    assert list(found) == list(METRICS)
    for name, interval in found.items():
        values = np.asarray([getattr(each, name) for each in resamples])
        values = values[~np.isnan(values)]
        expected = np.quantile(values, [0.05, 0.95]) if values.size else [np.nan, np.nan]
        np.testing.assert_allclose(interval, expected, rtol=1e-9, atol=1e-12)


def test_the_interval_of_the_accuracy_is_scipys():
    labels, logits = problem(500, 3, 0)
    correct = (logits.argmax(1) == labels).astype(float)
    scipys = scipy.stats.bootstrap((correct,), np.mean, method="percentile", n_resamples=4000, rng=1)
    found = intervals(labels, logits, resamples=4000)["accuracy"]
    # Of 4,000 draws, a percentile's own standard error is 0.0008, and 0.002 is one example of 500.
    np.testing.assert_allclose(found, scipys.confidence_interval, atol=0.004)


def test_about_95_of_100_intervals_hold_the_true_accuracy():
    held = 0
    for seed in range(300):
        labels, logits = problem(200, 2, seed, accuracy=0.8)
        low, high = intervals(labels, logits, names=["accuracy"], resamples=200, seed=seed)["accuracy"]
        held += low <= 0.8 <= high
    assert 0.90 <= held / 300 <= 0.98  # four standard errors of 0.0126 around 0.94


def test_the_seed_decides_the_intervals_and_the_block_does_not():
    labels, logits = problem(50, 3, 0)
    found, again, other = (intervals(labels, logits, resamples=50, seed=seed) for seed in (1, 1, 2))
    assert found == again != other
    few = np.concatenate(list(resampled_counts(200_000, 3, 0)))  # two to a block
    np.testing.assert_array_equal(few[:2], np.concatenate(list(resampled_counts(200_000, 2, 0))))
    assert len(few) == 3


def test_the_interval_of_one_example_is_a_point_and_of_its_ranking_nothing():
    found = intervals(np.asarray([0]), np.asarray([[1.0, 0.0]]), resamples=10)
    assert found["accuracy"] == (1.0, 1.0)
    assert np.isnan(found["macro_roc_auc"]).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([-7, 0, 3, 4]), min_size=1, max_size=20), st.integers(0, 99))
def test_an_example_counts_as_often_as_its_group_was_drawn_and_as_many_groups_are_drawn_as_there_are(groups, seed):
    (counts,) = resampled_counts(len(groups), 10, seed, np.asarray(groups, np.int32))
    for row in counts:
        of_groups = {group: set(row[np.asarray(groups) == group]) for group in set(groups)}
        assert all(len(times) == 1 for times in of_groups.values())
        assert sum(times.pop() for times in of_groups.values()) == len(set(groups))


def test_two_groups_are_drawn_as_two_coins_fall():
    """Both once half of the time, one of them twice a quarter of the time each."""
    groups = np.asarray([5, 9, 5, 5], np.int32)
    counts = np.concatenate(list(resampled_counts(4, 4000, 0, groups)))
    for row, share in (([1, 1, 1, 1], 0.5), ([2, 0, 2, 2], 0.25), ([0, 2, 0, 0], 0.25)):
        assert (counts == row).all(1).mean() == pytest.approx(share, abs=0.03)  # four standard errors are 0.032
    np.testing.assert_array_equal(  # groups of one example each are no groups
        np.concatenate(list(resampled_counts(4, 50, 0, np.asarray([3, 4, 6, 8], np.int32)))),
        np.concatenate(list(resampled_counts(4, 50, 0))),
    )


def test_the_interval_over_groups_is_scipys_and_wider_where_groups_are_right_or_wrong_as_one():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(40, dtype=np.int32), 10)
    right = np.repeat(generator.random(40) < 0.7, 10)
    labels = generator.integers(0, 2, 400)
    logits = np.eye(2)[np.where(right, labels, 1 - labels)]
    over_groups, over_examples = (
        intervals(labels, logits, names=["accuracy"], resamples=4000, groups_N=each)["accuracy"]
        for each in (groups, None)
    )
    for found, units in ((over_groups, right[::10]), (over_examples, right)):
        scipys = scipy.stats.bootstrap((units.astype(float),), np.mean, method="percentile", n_resamples=4000, rng=1)
        np.testing.assert_allclose(found, scipys.confidence_interval, atol=0.026)  # one group of 40 is 0.025
    # Ten examples that are right or wrong together are one: the square root of 10 is 3.2.
    widths = [high - low for low, high in (over_groups, over_examples)]
    assert 2.6 < widths[0] / widths[1] < 3.8


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_interval_of_the_mean_is_scipys(values, confidence):
    mean, deviation, low, high = mean_interval(values, confidence)
    assert mean == pytest.approx(np.mean(values))
    assert deviation == pytest.approx(np.sqrt(np.sum((np.asarray(values) - np.mean(values)) ** 2) / (len(values) - 1)))
    if deviation:  # SciPy has no interval of values that are all the same
        expected = scipy.stats.t.interval(confidence, len(values) - 1, np.mean(values), scipy.stats.sem(values))
        np.testing.assert_allclose((low, high), expected, rtol=1e-7, atol=1e-12)


def test_the_intervals_of_five_seeds_are_those_of_a_table_of_t():
    values = [0.98, 0.99, 0.97, 0.98, 0.98]
    deviation = np.sqrt(0.0002 / 4)  # of deviations 0, 0.01, -0.01, 0, 0; the table's t for 4 degrees is 2.776
    found = mean_interval(values)
    assert found[:2] == (pytest.approx(0.98), pytest.approx(deviation))
    assert found[2:] == pytest.approx((0.98 - 2.776 * deviation / 5**0.5, 0.98 + 2.776 * deviation / 5**0.5), abs=1e-5)
    assert prediction_interval(values) == pytest.approx(
        (0.98 - 2.776 * deviation * 1.2**0.5, 0.98 + 2.776 * deviation * 1.2**0.5), abs=1e-5
    )


def test_about_90_of_100_prediction_intervals_hold_the_next_value():
    values = np.random.default_rng(0).standard_normal((2000, 6))
    held = [low <= row[5] <= high for row in values for low, high in [prediction_interval(row[:5], 0.9)]]
    assert 0.873 <= np.mean(held) <= 0.927  # four standard errors of 0.0067


def test_one_value_has_a_mean_and_no_interval():
    found = mean_interval([0.5])
    assert found.mean == 0.5
    assert np.isnan(found[1:]).all()
    assert np.isnan(prediction_interval([0.5])).all()


@pytest.mark.parametrize("values", [[], [0.5, float("nan")], [float("inf")]])
def test_values_without_an_interval_are_refused(values):
    with pytest.raises(DataError, match="no interval of these values; expected one or more finite numbers"):
        mean_interval(values)


@pytest.mark.parametrize("confidence", [0, 1, 95, float("nan")])
def test_a_confidence_that_is_no_fraction_is_refused(confidence):
    with pytest.raises(ConfigError, match="confidence: out of range; expected more than 0, less than 1"):
        mean_interval([0.1, 0.2], confidence)
    with pytest.raises(ConfigError, match="confidence: out of range"):
        intervals(*problem(5, 2, 0), confidence=confidence)


def test_no_resamples_and_a_negative_seed_are_refused():
    with pytest.raises(ConfigError, match="resamples: out of range; expected 1 or more, found 0"):
        intervals(*problem(5, 2, 0), resamples=0)
    with pytest.raises(ConfigError, match="seed: out of range; expected 0 or more, found -1"):
        intervals(*problem(5, 2, 0), seed=-1)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (3, 7), (9810, 10_000)])
def test_a_fractions_interval_is_scipys_exact_one(successes, trials):
    expected = scipy.stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    np.testing.assert_allclose(binomial_interval(successes, trials), (expected.low, expected.high), rtol=1e-9)


def test_the_interval_of_logarithms_is_that_of_a_log_normal_value():
    values = [0.02, 0.05, 0.3, 0.07]
    logs = np.log(values)
    expected = np.exp(scipy.stats.t.interval(0.95, 3, logs.mean(), logs.std(ddof=1) * (1 + 1 / 4) ** 0.5))
    assert prediction_interval(values, log=True) == pytest.approx(tuple(expected))
    assert prediction_interval([1e-30, 1e30], log=True) == (0.0, np.inf)
    with pytest.raises(DataError, match="no logarithms of these values; expected positive numbers"):
        prediction_interval([0.1, 0.0], log=True)
