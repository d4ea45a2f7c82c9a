"""Two models are compared example by example, and the tests and intervals are SciPy's."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from flaxcnn.errors import ConfigError, DataError
from flaxcnn.evaluation.comparison import compare, describe, mcnemar
from flaxcnn.evaluation.predictions import Predictions


def two_models(examples, seed=0, better=0.0):
    """Two models that look at the same logits, each with noise of its own; the second's is less where better is 1."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, examples).astype(np.int32)
    shared = generator.standard_normal((examples, 3)) + 2 * np.eye(3)[labels]
    noise = generator.standard_normal((2, examples, 3)) * np.asarray([1, 1 - better])[:, None, None]
    return [Predictions(np.arange(examples), labels, (shared + each).astype(np.float32)) for each in noise]


def of_counts(both, only_a, only_b, neither):
    """Two models of two classes that are right as often as asked for, label always 0, by one nat either way."""
    right = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [both, only_a, only_b, neither], axis=0).T
    indices, labels = np.arange(right.shape[1]), np.zeros(right.shape[1], np.int32)
    return [Predictions(indices, labels, np.stack([each, 1 - each], -1).astype(np.float32)) for each in right]


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
    found = compare(*of_counts(both, only_a, only_b, neither), resamples=20)
    examples = both + only_a + only_b + neither
    assert (found.examples, found.only_a_correct, found.only_b_correct) == (examples, only_a, only_b)
    assert found.accuracy_a == pytest.approx((both + only_a) / examples)
    assert found.accuracy_b == pytest.approx((both + only_b) / examples)
    assert found.accuracy_difference == pytest.approx(found.accuracy_b - found.accuracy_a)
    # A right answer costs ln(1 + 1/e) nats, a wrong one 1 nat more.
    assert found.log_loss_a == pytest.approx(np.log1p(np.exp(-1)) + (only_b + neither) / examples)
    assert found.log_loss_difference == pytest.approx((only_a - only_b) / examples)
    assert found.log_loss_interval == pytest.approx([-end for end in reversed(found.accuracy_interval)], abs=1e-6)


def test_the_intervals_are_scipys_of_the_paired_differences():
    a, b = two_models(400, better=0.5)
    found = compare(a, b, resamples=4000)
    rows = np.arange(400), a.label_N
    correct = [(each.logits_NxK.argmax(1) == a.label_N).astype(float) for each in (a, b)]
    losses = [-log_softmax(each.logits_NxK.astype(float), axis=1)[rows] for each in (a, b)]
    for interval, (of_a, of_b) in ((found.accuracy_interval, correct), (found.log_loss_interval, losses)):
        scipys = scipy.stats.bootstrap((of_b - of_a,), np.mean, method="percentile", n_resamples=4000, rng=1)
        spread = (of_b - of_a).std() / 400**0.5
        np.testing.assert_allclose(interval, scipys.confidence_interval, atol=0.2 * spread)
    assert found.log_loss_difference == pytest.approx(np.mean(losses[1]) - np.mean(losses[0]))


def test_models_that_turn_places_turn_the_signs():
    a, b = two_models(300, better=1)
    one, other = compare(a, b, resamples=500), compare(b, a, resamples=500)
    assert one.accuracy_difference == -other.accuracy_difference
    assert one.p_value == other.p_value
    assert one.accuracy_interval == pytest.approx([-end for end in reversed(other.accuracy_interval)])


def test_a_model_does_not_differ_from_itself():
    a, _ = two_models(50)
    found = compare(a, a, resamples=100)
    assert not found.differ
    assert (found.p_value, found.accuracy_interval, found.log_loss_interval) == (1, (0, 0), (0, 0))


def test_models_of_equal_accuracy_are_said_to_differ_at_most_5_times_in_100():
    differ = [compare(*two_models(200, seed), resamples=1).differ for seed in range(300)]
    assert np.mean(differ) <= 0.10  # four standard errors of 0.0126 above 0.05; the exact test errs below it


def test_the_lines_say_which_model_is_better_and_how_sure_that_is():
    a, b = of_counts(both=80, only_a=1, only_b=12, neither=7)
    lines = describe(compare(a, b), "wide", "deep")
    assert lines[0] == "wide        accuracy 81.00%, log loss 0.5033"
    assert lines[1] == "deep        accuracy 92.00%, log loss 0.3933"
    assert lines[2].startswith("difference  accuracy +11.00 points (95 % interval +")
    assert "log loss -0.1100 (-" in lines[2]
    # 2 (1 + 13) / 2**13 = 0.0034
    assert lines[3] == "of 100 examples, only wide gets 1 right, only deep 12; McNemar's exact test: p = 0.0034"
    assert lines[4] == "deep is more accurate than wide at the 5 % level"
    assert describe(compare(b, a), "deep", "wide")[4] == lines[4]


def test_a_difference_that_may_be_luck_is_not_called_one():
    # 2 (1 + 6) / 2**6 = 0.22
    lines = describe(compare(*of_counts(both=80, only_a=1, only_b=5, neither=14)), "wide", "deep")
    assert lines[3].endswith("p = 0.22")
    assert lines[4] == "no difference in accuracy at the 5 % level"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: Predictions(*(each[:-1] for each in b)), "different numbers of examples .* found 5 and 4"),
        (lambda b: b._replace(logits_NxK=b.logits_NxK[:, :2]), "different numbers of classes .* found 3 and 2"),
        (
            lambda b: b._replace(index_N=np.asarray([0, 1, 7, 3, 9])),
            "row 2, the first of 2 that differ: .* different indices .* expected 2 as in the first, found 7 in the sec",
        ),
        (
            lambda b: b._replace(label_N=b.label_N + np.asarray([0, 0, 0, 1, 0], np.int32)),
            "row 3, the first of 1 that differ: .* different labels",
        ),
    ],
)
def test_predictions_of_other_examples_are_refused(change, message):
    a, b = two_models(5)
    with pytest.raises(DataError, match=message):
        compare(a, change(b))


def test_logits_that_are_not_finite_and_no_resamples_are_refused():
    a, b = two_models(5)
    with pytest.raises(DataError, match="logit not finite"):
        compare(a, b._replace(logits_NxK=np.full((5, 3), np.nan, np.float32)))
    with pytest.raises(ConfigError, match="resamples: out of range"):
        compare(a, b, resamples=0)


def test_a_p_value_too_small_for_a_float_is_not_said_to_be_zero():
    # 2 / 2**2000 is below the smallest float, 5e-324
    lines = describe(compare(*of_counts(both=1, only_a=0, only_b=2000, neither=0)), "wide", "deep")
    assert lines[3].endswith("McNemar's exact test: p below 1e-300")
