"""Which of several models is best: hand computations, another library's test, and how often equal models are told."""

import numpy as np
import pytest
import scipy.stats

from flaxcnn.evaluation.several_models import Model, verdict_of


def test_a_difference_is_that_of_a_computation_by_hand():
    """Var over examples 0.0005 x 101/100, of the first model's mean 0.0004/3, of the second's 0."""
    resamples = np.array([0.00, 0.02, 0.04, 0.06])
    one = Model([0.90, 0.92, 0.94], np.array([[0.90], [0.92], [0.94]]) + resamples)
    other = Model([0.86, 0.86, 0.86], np.full((3, 4), 0.86))
    verdict = verdict_of({"other": other, "one": one}, 101, higher_is_better=True)
    found = verdict.differences["one", "other"]
    examples, seeds = 0.000505, 0.0004 / 3
    freedom = (examples + seeds) ** 2 / (examples**2 / 100 + seeds**2 / 2)
    error = (examples + seeds) ** 0.5
    assert found.value == pytest.approx(0.06)
    assert found.p == pytest.approx(2 * scipy.stats.t.sf(0.06 / error, freedom))
    half = scipy.stats.t.ppf(0.975, freedom) * error
    assert (found.low, found.high) == pytest.approx((0.06 - half, 0.06 + half))
    back = verdict.differences["other", "one"]
    assert (back.value, back.low, back.high) == pytest.approx((-0.06, -0.06 - half, -0.06 + half))


def test_what_examples_explain_of_the_spread_over_seeds_is_not_counted_twice():
    """Two seeds whose difference varies over resamples as much as it is large: nothing is left for the seeds."""
    draws = np.array([[0.9, 0.8, 0.9, 0.8], [0.8, 0.9, 0.8, 0.9]])
    one, other = Model([0.9, 0.8], draws + np.array([0.0, 0.0, 0.1, 0.1])), Model([0.5, 0.5], np.full((2, 4), 0.5))
    found = verdict_of({"one": one, "other": other}, 101, higher_is_better=True).differences["one", "other"]
    examples = 0.0025 * 101 / 100  # of 0.85, 0.85, 0.95, 0.95
    freedom = examples**2 / (examples**2 / 100 + 0.0025**2 / 1)
    assert found.p == pytest.approx(2 * scipy.stats.t.sf(0.35 / examples**0.5, freedom))


def test_with_one_seed_it_is_the_paired_t_test_over_the_examples():
    rng = np.random.default_rng(0)
    right = (rng.random((2, 400)) < np.array([[0.9], [0.82]])).astype(float)
    weights = rng.multinomial(400, np.full(400, 1 / 400), size=20_000) / 400
    models = {name: Model([row.mean()], (weights @ row)[None]) for name, row in zip("ab", right, strict=True)}
    found = verdict_of(models, 400, higher_is_better=True).differences["a", "b"]
    wanted = scipy.stats.ttest_rel(right[0], right[1])
    assert found.p == pytest.approx(wanted.pvalue, rel=0.1)
    assert (found.low, found.high) == pytest.approx(tuple(wanted.confidence_interval()), abs=0.001)


def test_the_correction_is_for_all_pairs_and_the_interval_says_the_same_as_p():
    rng = np.random.default_rng(1)
    draws = {name: mean + rng.normal(0, 0.01, 5000) for name, mean in (("a", 0.9), ("b", 0.87), ("c", 0.86))}
    models = {name: Model([each.mean()], each[None]) for name, each in draws.items()}
    verdict = verdict_of(models, 500, higher_is_better=True)
    for found in verdict.differences.values():
        assert found.corrected == pytest.approx(min(1, 3 * found.p))
        assert found.is_told == (found.low > 0 or found.high < 0)
    assert verdict.order == ("a", "b", "c")


def test_a_winner_has_to_be_better_than_each_other_one():
    def models(*means):
        tiny = np.array([-0.001, 0.001])
        return {
            name: Model([mean], mean + tiny[None] * place)
            for place, (name, mean) in enumerate(zip("abc", means, strict=True))
        }

    verdict = verdict_of(models(0.9, 0.8, 0.8), 300, higher_is_better=True)
    assert (verdict.winner, verdict.best) == ("a", ("a",))
    verdict = verdict_of(models(0.8, 0.9, 0.9001), 300, higher_is_better=True)
    assert (verdict.winner, verdict.best) == (None, ("c", "b"))
    verdict = verdict_of(models(0.8, 0.9, 0.9001), 300, higher_is_better=False)
    assert (verdict.winner, verdict.best) == ("a", ("a",))


def test_nothing_is_told_of_a_few_groups_or_of_an_undefined_metric():
    """Five coins fall on one side with probability 2/32: no five groups say anything at 5 %."""
    models = {"a": Model([1.0], np.ones((1, 100))), "b": Model([0.0], np.zeros((1, 100)))}
    assert not verdict_of(models, 5, higher_is_better=True).differences["a", "b"].is_told
    assert verdict_of(models, 6, higher_is_better=True).winner == "a"
    models["b"] = Model([np.nan], np.full((1, 100), np.nan))
    assert verdict_of(models, 100, higher_is_better=True).winner is None
    alone = verdict_of({"a": models["a"]}, 100, higher_is_better=True)
    assert (alone.winner, alone.best) == (None, ("a",))


def _studies(count, seeds, models=4, groups=80, of_group=3, spread=0.02, better=0.0):
    """Verdicts of simulated studies: of easy and hard images, groups that are alike, and lucky seeds."""
    rng = np.random.default_rng(7)
    for _ in range(count):
        hard = rng.normal(0, 1, groups).repeat(of_group) * 0.12 + rng.normal(0, 0.08, groups * of_group)
        luck = rng.normal(0, spread, (models, seeds, 1))
        chance = np.clip(0.85 + hard + luck, 0, 1)
        chance[0] = np.clip(chance[0] + better, 0, 1)
        right = rng.random(chance.shape) < chance
        counts = rng.multinomial(groups, np.full(groups, 1 / groups), size=400).repeat(of_group, axis=1)
        draws = np.einsum("rn,msn->msr", counts, right) / counts.sum(1)
        found = {str(m): Model(right[m].mean(-1).tolist(), draws[m]) for m in range(models)}
        yield verdict_of(found, groups, higher_is_better=True)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.0), (3, 0.02), (5, 0.03)])
def test_of_equal_models_one_study_of_twenty_names_a_difference_at_most(seeds, spread):
    """5 % and three standard errors of 800 studies."""
    verdicts = list(_studies(800, seeds, spread=spread))
    wrong = sum(any(found.is_told for found in verdict.differences.values()) for verdict in verdicts)
    assert wrong / 800 <= 0.05 + 3 * (0.05 * 0.95 / 800) ** 0.5
    assert sum(verdict.winner is not None for verdict in verdicts) <= wrong


@pytest.mark.slow
def test_a_model_that_is_better_is_named_the_winner():
    verdicts = list(_studies(100, 5, models=3, spread=0.005, better=0.12))
    assert sum(verdict.winner == "0" for verdict in verdicts) >= 90
