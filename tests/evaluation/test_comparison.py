"""Two models are compared example by example, or group by group, and the intervals are SciPy's."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from flaxcnn.errors import ConfigError, DataError
from flaxcnn.evaluation.comparison import compare, describe
from flaxcnn.evaluation.predictions import Predictions
from flaxcnn.tasks import Classification

TASK = Classification()


def two_models(examples, seed=0, better=0.0):
    """Two models that look at the same logits, each with noise of its own; the second's is less where better is 1."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, examples).astype(np.int32)
    shared = generator.standard_normal((examples, 3)) + 2 * np.eye(3)[labels]
    noise = generator.standard_normal((2, examples, 3)) * np.asarray([1, 1 - better])[:, None, None]
    return [Predictions(np.arange(examples), labels, {"logits": (shared + each).astype(np.float32)}) for each in noise]


def of_counts(both, only_a, only_b, neither):
    """Two models of two classes that are right as often as asked for, label always 0, by one nat either way."""
    right = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [both, only_a, only_b, neither], axis=0).T
    indices, labels = np.arange(right.shape[1]), np.zeros(right.shape[1], np.int32)
    logits = (np.stack([each, 1 - each], -1).astype(np.float32) for each in right)
    return [Predictions(indices, labels, {"logits": each}) for each in logits]


@settings(max_examples=30, deadline=None)
@given(*[st.integers(0, 20)] * 3, st.integers(1, 20))
def test_the_values_are_those_that_the_counts_say(both, only_a, only_b, neither):
    found = compare(TASK, *of_counts(both, only_a, only_b, neither), resamples=20)
    accuracy, loss = found.metrics["accuracy"], found.metrics["log_loss"]
    examples = both + only_a + only_b + neither
    assert found.examples == examples
    assert accuracy.a == pytest.approx((both + only_a) / examples)
    assert accuracy.b == pytest.approx((both + only_b) / examples)
    assert accuracy.difference == pytest.approx(accuracy.b - accuracy.a)
    # A right answer costs ln(1 + 1/e) nats, a wrong one 1 nat more.
    assert loss.a == pytest.approx(np.log1p(np.exp(-1)) + (only_b + neither) / examples)
    assert loss.difference == pytest.approx((only_a - only_b) / examples)
    assert loss.interval == pytest.approx([-end for end in reversed(accuracy.interval)], abs=1e-6)


def test_the_intervals_are_scipys_of_the_paired_differences():
    a, b = two_models(400, better=0.5)
    found = compare(TASK, a, b, resamples=4000).metrics
    logits, rows = [each.predictions["logits"] for each in (a, b)], (np.arange(400), a.targets)
    correct = [(each.argmax(1) == a.targets).astype(float) for each in logits]
    losses = [-log_softmax(each.astype(float), axis=1)[rows] for each in logits]
    for interval, (of_a, of_b) in ((found["accuracy"].interval, correct), (found["log_loss"].interval, losses)):
        scipys = scipy.stats.bootstrap((of_b - of_a,), np.mean, method="percentile", n_resamples=4000, rng=1)
        spread = (of_b - of_a).std() / 400**0.5
        np.testing.assert_allclose(interval, scipys.confidence_interval, atol=0.2 * spread)
    assert found["log_loss"].difference == pytest.approx(np.mean(losses[1]) - np.mean(losses[0]))


def test_of_groups_the_intervals_are_scipys_of_the_groups_differences():
    """Groups of equal sizes: the mean over the examples of a resample is the mean of its groups' means."""
    a, b = two_models(400, better=0.5)
    groups = np.repeat(np.arange(50, dtype=np.int32), 8)[np.random.default_rng(2).permutation(400)]
    found = compare(TASK, a._replace(groups_N=groups), b._replace(groups_N=groups), resamples=4000).metrics["accuracy"]
    of_a, of_b = ((each.predictions["logits"].argmax(1) == a.targets).astype(float) for each in (a, b))
    of_groups = np.bincount(groups, of_b - of_a) / 8
    scipys = scipy.stats.bootstrap((of_groups,), np.mean, method="percentile", n_resamples=4000, rng=1)
    np.testing.assert_allclose(found.interval, scipys.confidence_interval, atol=0.2 * of_groups.std() / 50**0.5)


def test_predictions_saved_before_the_data_had_groups_are_compared_by_those_of_the_first():
    a, b = two_models(30)
    groups = np.arange(30, dtype=np.int32) // 3
    grouped, other = a._replace(groups_N=groups), b._replace(groups_N=groups)
    assert compare(TASK, grouped, b, resamples=50) == compare(TASK, grouped, other, resamples=50)


def test_models_that_turn_places_turn_the_signs():
    a, b = two_models(300, better=1)
    one, other = (compare(TASK, *pair, resamples=500).metrics["accuracy"] for pair in ((a, b), (b, a)))
    assert one.difference == -other.difference != 0
    assert one.interval == pytest.approx([-end for end in reversed(other.interval)])


def test_a_model_does_not_differ_from_itself():
    a, _ = two_models(50)
    found = compare(TASK, a, a, resamples=100)
    assert {(each.difference, each.interval) for each in found.metrics.values()} == {(0, (0, 0))}


def test_the_lines_say_which_model_is_better_and_how_sure_that_is():
    a, b = of_counts(both=80, only_a=1, only_b=12, neither=7)
    lines = describe(TASK, compare(TASK, a, b), a, b, ("wide", "deep"))
    assert lines[0] == "wide        accuracy 81.00%, log loss 0.5033"
    assert lines[1] == "deep        accuracy 92.00%, log loss 0.3933"
    assert lines[2].startswith("difference  accuracy +11.00 points (95 % interval +")
    assert "log loss -0.1100 (95 % interval -" in lines[2]
    # 2 (1 + 13) / 2**13 = 0.0034
    assert lines[3] == "of 100 examples, only wide gets 1 right, only deep 12; McNemar's exact test: p = 0.0034"
    assert lines[4] == "deep is more accurate than wide at the 5 % level"
    assert describe(TASK, compare(TASK, b, a), b, a, ("deep", "wide"))[4] == lines[4]


class Untested(Classification):
    """A task that has no test of its own, and looks at the loss first."""

    compared = ("log_loss", "accuracy")

    def differences(self, a, b, called):
        return None


def test_without_a_test_of_its_own_a_task_is_judged_by_the_interval_of_its_first_metric():
    task = Untested()
    a, b = of_counts(both=80, only_a=1, only_b=15, neither=4)  # of the loss, less is better

    def judged(one, other, called):
        return describe(task, compare(task, one, other, resamples=500), one, other, called)[3:]

    assert judged(a, b, ("wide", "deep")) == ["deep is better than wide by log loss at the 5 % level"]
    assert judged(a, b, ("wide", "deep")) == judged(b, a, ("deep", "wide"))
    (line,) = judged(a, a, ("wide", "wide"))
    assert line.startswith("no difference in log loss")


def shorter(b):
    return Predictions(b.index_N[:-1], b.targets[:-1], {"logits": b.predictions["logits"][:-1]})


def renumbered(b):
    return b._replace(index_N=np.asarray([0, 1, 7, 3, 9]))


def relabelled(b):
    return b._replace(targets=b.targets + np.asarray([0, 0, 0, 1, 0], np.int32))


@pytest.mark.parametrize(
    ("change", "where", "expected", "found"),
    [
        (
            lambda b: Predictions(b.index_N[:-1], b.targets[:-1], {"logits": b.predictions["logits"][:-1]}),
            *[""] * 2,
            "5 and 4",
        ),
        (lambda b: b._replace(predictions={"logits": b.predictions["logits"][:, :2]}), "", "(5, 3)", "(5, 2)"),
        (lambda b: b._replace(predictions={"boxes": b.predictions["logits"]}), "", "'logits'", "'boxes'"),
        (lambda b: b._replace(targets={"species": b.targets}), "", "'target'", "'target/species'"),
        (renumbered, "row 2, the first of 2 that differ", "2 as in the first", "7 in the second"),
        (relabelled, "row 3, the first of 1 that differ", " as in the first", " in the second"),
    ],
)
def test_predictions_of_other_examples_are_refused(change, where, expected, found):
    a, b = two_models(5)
    with pytest.raises(DataError) as refused:
        compare(TASK, a, change(b))
    told = refused.value
    for said, wanted in ((told.where, where), (told.expected, expected), (told.found, found)):
        assert wanted in str(said or "")


def test_targets_that_both_lack_are_the_same_and_those_that_one_lacks_are_not():
    a, b = (each._replace(targets=np.asarray([0.5, np.nan, 2], np.float32)) for each in two_models(3))

    class Halves(Classification):
        """What is right does not matter here."""

        def scores(self, predicted):
            return super().scores(predicted._replace(targets=np.zeros(3, np.int32)))

    assert compare(Halves(), a, b, resamples=5).examples == 3
    with pytest.raises(DataError) as refused:
        compare(Halves(), a, b._replace(targets=np.asarray([0.5, 1, 2], np.float32)))
    assert refused.value.where.startswith("row 1,")


def test_logits_that_are_not_finite_and_no_resamples_are_refused():
    a, b = two_models(5)
    with pytest.raises(DataError) as refused:
        compare(TASK, a, b._replace(predictions={"logits": np.full((5, 3), np.nan, np.float32)}))
    assert refused.value.where == "example 0, class 0"
    with pytest.raises(ConfigError) as refused:
        compare(TASK, a, b, resamples=0)
    assert (refused.value.where, refused.value.found) == ("resamples", 0)
