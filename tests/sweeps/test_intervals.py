"""What fresh seeds say of the best settings: SciPy's paired intervals, at a level at which all hold together."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from flaxcnn.errors import ConfigError, DataError
from flaxcnn.sweeps.report.intervals import confirmation_report, confirmed
from tests.sweeps.metrics import ACCURACY

BASE = [0.9801, 0.9812, 0.9795, 0.9820, 0.9807]
BETTER = [0.9851, 0.9857, 0.9849, 0.9861, 0.9856]
NOISY = [0.9700, 0.9950, 0.9760, 0.9910, 0.9840]


@settings(deadline=None)
@given(seeds=st.integers(2, 12), count=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_intervals_are_scipys(seeds, count, seed):
    generator = np.random.default_rng(seed)
    reference, candidates = generator.normal(size=seeds), generator.normal(0.3, 1, size=(count, seeds))
    for found, values in zip(confirmed(reference, candidates, True), candidates, strict=True):
        paired = stats.ttest_rel(values, reference).confidence_interval(1 - 0.05 / count)
        assert (found.difference.low, found.difference.high) == pytest.approx((paired.low, paired.high))
        assert found.difference.mean == pytest.approx(values.mean() - reference.mean())
        alone = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (found.over_seeds.low, found.over_seeds.high) == pytest.approx((alone.low, alone.high))
        assert found.better is bool(paired.low > 0)


def test_the_better_side_of_zero_is_the_metrics():
    up, around = confirmed(BASE, [BETTER, NOISY], higher_is_better=True)
    assert (up.better, around.better) == (True, False)
    losses = confirmed(BASE, [BETTER, NOISY], higher_is_better=False)
    assert [each.better for each in losses] == [False, False]
    assert confirmed(BETTER, [BASE], higher_is_better=False)[0].better is True


def test_seeds_in_common_show_a_difference_that_is_smaller_than_the_spread():
    reference = [0.90, 0.93, 0.96, 0.99]
    (found,) = confirmed(reference, [[value + 0.001 + 0.0001 * (-1) ** n for n, value in enumerate(reference)]], True)
    assert found.better is True
    assert stats.ttest_ind(reference, [value + 0.001 for value in reference]).pvalue > 0.9


def test_more_candidates_ask_for_more():
    (alone,) = confirmed(BASE, [BETTER], True)
    among = confirmed(BASE, [BETTER] + 9 * [NOISY], True)[0]
    assert among.difference.mean == alone.difference.mean
    assert among.difference.low < alone.difference.low
    assert among.over_seeds == alone.over_seeds


def test_in_95_of_100_sweeps_all_intervals_hold_together():
    generator, count, holds = np.random.default_rng(0), 5, 0
    for _ in range(1000):  # candidates that are no better at all
        reference, candidates = generator.normal(size=4), generator.normal(size=(count, 4))
        results = confirmed(reference, candidates, True)
        holds += all(each.difference.low <= 0 <= each.difference.high for each in results)
    assert holds >= 950 - 2 * math.sqrt(1000 * 0.05 * 0.95)


def test_one_seed_gives_no_interval_and_no_verdict():
    (found,) = confirmed([0.98], [[0.99]], True)
    assert found.over_seeds.mean == 0.99
    assert found.difference.mean == pytest.approx(0.01)
    assert math.isnan(found.difference.low)
    assert found.better is None
    report = confirmation_report("lr", ACCURACY, [0.98], ["trial 7"], [found])
    assert "nan" not in report
    assert "One seed says nothing of the spread: train with more." in report


def test_other_seeds_than_the_references_are_refused():
    with pytest.raises(ConfigError, match="--confirm: settings with different seeds; expected 5, found 4"):
        confirmed(BASE, [BETTER[:4]], True)
    with pytest.raises(DataError):
        confirmed([0.9, 0.9], [[0.9, math.nan]], True)


def test_the_report_has_a_row_for_each_setting_and_names_the_better_ones():
    settings = ["trial 7: learning_rate 0.002", "trial 3: learning_rate 0.1"]
    report = confirmation_report("mnist_lr", ACCURACY, BASE, settings, confirmed(BASE, [BETTER, NOISY], True))
    assert report.startswith(
        "# mnist_lr: the best 2, retrained\n\nValidation accuracy, each setting and the base trained"
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in report.splitlines() if line.startswith("|")]
    assert rows[2][:2] == ["base", "0.9807"]
    assert rows[3][0] == settings[0]
    assert (rows[3][3], rows[3][5]) == ("+0.0048", "**yes**")
    assert (rows[4][3], rows[4][5]) == ("+0.0025", "not shown")
    assert report.endswith(
        f"Better than the base (the differences' intervals hold together with 95 %): {settings[0]}.\n"
    )
