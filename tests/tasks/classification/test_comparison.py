"""McNemar's test is SciPy's, and its lines say who gets which examples right and what follows."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxcnn.tasks.classification.comparison import mcnemar, mcnemar_lines
from tests.evaluation.test_comparison import of_counts, two_models


def lines_of(a, b, called=("wide", "deep")):
    return mcnemar_lines(a.targets, a.predictions["logits"], b.predictions["logits"], called)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemars_test_is_scipys_binomial_test(only_a, only_b):
    expected = scipy.stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1
    assert mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-9)


def test_mcnemars_test_of_many_examples_neither_overflows_nor_takes_long():
    assert mcnemar(20_000, 20_400) == pytest.approx(scipy.stats.binomtest(20_000, 40_400).pvalue, rel=1e-6)
    assert mcnemar(0, 5_000) == 0


@settings(max_examples=30, deadline=None)
@given(*[st.integers(0, 20)] * 3, st.integers(1, 20))
def test_examples_are_counted_by_who_gets_them_right(both, only_a, only_b, neither):
    examples = both + only_a + only_b + neither
    shown = f"{scipy.stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1:.2g}"
    assert lines_of(*of_counts(both, only_a, only_b, neither))[0] == (
        f"of {examples} examples, only wide gets {only_a} right, only deep {only_b}; McNemar's exact test: p = {shown}"
    )


def test_models_that_turn_places_are_told_apart_alike():
    # 2 (1 + 13) / 2**13 = 0.0034
    a, b = of_counts(both=80, only_a=1, only_b=12, neither=7)
    lines = lines_of(a, b)
    assert lines[0] == "of 100 examples, only wide gets 1 right, only deep 12; McNemar's exact test: p = 0.0034"
    assert lines[1:] == lines_of(b, a, ("deep", "wide"))[1:] == ["deep is more accurate than wide at the 5 % level"]


def test_a_model_does_not_differ_from_itself():
    a, _ = two_models(50)
    assert lines_of(a, a)[0].endswith(": p = 1")
    assert lines_of(a, a)[1] == "no difference in accuracy at the 5 % level"


def test_models_of_equal_accuracy_are_said_to_differ_at_most_5_times_in_100():
    differ = [not lines_of(*two_models(200, seed))[1].startswith("no difference") for seed in range(300)]
    assert np.mean(differ) <= 0.10  # four standard errors of 0.0126 above 0.05; the exact test errs below it


def test_a_difference_that_may_be_luck_is_not_called_one():
    # 2 (1 + 6) / 2**6 = 0.22
    lines = lines_of(*of_counts(both=80, only_a=1, only_b=5, neither=14))
    assert lines[0].endswith("p = 0.22")
    assert lines[1] == "no difference in accuracy at the 5 % level"


def test_a_p_value_too_small_for_a_float_is_not_said_to_be_zero():
    # 2 / 2**2000 is below the smallest float, 5e-324
    lines = lines_of(*of_counts(both=1, only_a=0, only_b=2000, neither=0))
    assert lines[0].endswith("McNemar's exact test: p below 1e-300")
