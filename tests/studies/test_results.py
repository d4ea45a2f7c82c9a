"""The folds of a seed pooled, each example once, and the numbers of the table by another library."""

import numpy as np
import pytest
import sklearn.metrics

from flaxcnn.data import Split
from flaxcnn.errors import DataError
from flaxcnn.evaluation.predictions import Predictions
from flaxcnn.studies.examples import Order, keys_of, require_whole
from flaxcnn.studies.plan import Fold
from flaxcnn.studies.results import class_counts, compared, pooled, result_of
from flaxcnn.tasks import Classification, Multilabel, Regression


def split(numbers, names=True):
    """Examples that are their numbers: pixels, class and name."""
    images = np.asarray(numbers, np.uint8).reshape(-1, 1, 1, 1)
    called = tuple(f"{number}.png" for number in numbers) if names else None
    return Split(images, np.asarray(numbers, np.int32) % 2, names=called)


def predictions(numbers, logits, groups=None):
    targets = np.asarray(numbers, np.int32) % 2
    index = np.arange(len(numbers), dtype=np.int64)
    groups = None if groups is None else np.asarray(groups, np.int32)
    return Predictions(index, targets, {"logits": np.asarray(logits, np.float32)}, {}, groups)


@pytest.mark.parametrize("names", [True, False])
def test_examples_of_another_division_are_found_again(names):
    first = [*keys_of(split([5, 3, 8], names)), *keys_of(split([1, 9, 2], names))]
    second = [*keys_of(split([9, 8], names)), *keys_of(split([5, 2, 1, 3], names))]
    assert Order(tuple(first)).positions(second).tolist() == [2, 5, 1, 4, 0, 3]
    with pytest.raises(DataError, match="other examples are tested"):
        Order(tuple(first)).positions([*second[:-1], second[0]])


def test_a_key_is_of_the_name_where_there_is_one_and_of_the_target():
    small, large = (
        split([1, 2]),
        Split(np.zeros((2, 8, 8, 3), np.uint8), np.array([1, 0], np.int32), names=("1.png", "2.png")),
    )
    assert keys_of(small) == keys_of(large)
    other = Split(large.images, np.array([0, 0], np.int32), names=large.names)
    assert keys_of(small)[0] != keys_of(other)[0]
    assert len(set(keys_of(Split(np.zeros((2, 1, 1, 1), np.uint8), np.array([1, 0], np.int32))))) == 2


def test_folds_have_to_divide_the_examples():
    keys = {number: keys_of(split([number]))[0] for number in range(4)}

    def fold(test, others):
        return tuple(keys[each] for each in test), tuple(keys[each] for each in others)

    require_whole({Fold(0, 0): fold([0, 1], [2, 3]), Fold(0, 1): fold([2, 3], [0, 1])})
    for wrong in (fold([2], [0, 1]), fold([2, 3], [0, 1, 1]), fold([1, 3], [0, 2])):
        with pytest.raises(DataError, match="folds that do not divide"):
            require_whole({Fold(0, 0): fold([0, 1], [2, 3]), Fold(0, 1): wrong})


def test_pooled_predictions_are_those_of_each_fold_in_the_common_order():
    parts = [predictions([5, 3], [[0, 5], [0, 3]], [7, 7]), predictions([8, 2], [[0, 8], [0, 2]], [7, 9])]
    found = pooled(parts, np.array([2, 0, 3, 1]))
    assert found.predictions["logits"][:, 1].tolist() == [8, 5, 2, 3]
    assert found.targets.tolist() == [0, 1, 0, 1]
    assert found.index_N.tolist() == [0, 1, 2, 3]
    one, two, three, four = found.groups_N.tolist()  # the first fold's 7 is not the second's
    assert two == four
    assert len({one, two, three}) == 3


def test_constants_that_differ_between_folds_are_not_of_the_pooled_predictions():
    parts = [
        predictions([1], [[0, 1]])._replace(constants={"a": np.array(place), "b": np.array(5)}) for place in (0, 1)
    ]
    assert pooled(parts, np.array([0, 1])).constants == {"b": np.array(5)}


def test_the_table_has_the_numbers_of_scikit_learn():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 300).astype(np.int32)
    seeds = []
    for _ in range(3):
        logits = rng.normal(0, 1, (300, 4)).astype(np.float32)
        logits[np.arange(300), targets] += 1.2
        seeds.append(Predictions(np.arange(300), targets, {"logits": logits}))
    result = result_of(Classification(), seeds, "accuracy", None)
    predicted = [each.predictions["logits"].argmax(1) for each in seeds]
    for name, score in (
        ("accuracy", sklearn.metrics.accuracy_score),
        ("macro_precision", lambda *pair: sklearn.metrics.precision_score(*pair, average="macro")),
        ("macro_recall", lambda *pair: sklearn.metrics.recall_score(*pair, average="macro")),
        ("macro_f1", lambda *pair: sklearn.metrics.f1_score(*pair, average="macro")),
    ):
        wanted = [score(targets, each) for each in predicted]
        assert result.metrics[name].values == pytest.approx(wanted)
        assert result.metrics[name].mean == pytest.approx(np.mean(wanted))
        half = 4.302653 * np.std(wanted, ddof=1) / 3**0.5  # of Student's t with two degrees of freedom
        assert result.metrics[name].over_seeds.high == pytest.approx(np.mean(wanted) + half)
        low, high = result.metrics[name].over_examples
        assert low < np.mean(wanted) < high
    recalls = [sklearn.metrics.recall_score(targets, each, average=None) for each in predicted]
    np.testing.assert_allclose(result.per_class["recall"], np.mean(recalls, axis=0))
    # Of means over three independent seeds, the interval over examples is that of a binomial, or a little wider.
    low, high = result.metrics["accuracy"].over_examples
    mean = result.metrics["accuracy"].mean
    assert 2 * 1.96 * (mean * (1 - mean) / 900) ** 0.5 < 1.15 * (high - low)


def test_groups_are_drawn_whole():
    """Of ten groups of thirty equal examples, the interval is as wide as that of ten examples."""
    rng = np.random.default_rng(1)
    right = rng.random(10) < 0.6
    targets = np.zeros(300, np.int32)
    logits = np.where(right.repeat(30)[:, None], [[1.0, 0.0]], [[0.0, 1.0]]).astype(np.float32)
    seeds = [Predictions(np.arange(300), targets, {"logits": logits})]
    groups = np.arange(10, dtype=np.int32).repeat(30)
    alone = result_of(Classification(), seeds, "accuracy", None).metrics["accuracy"].over_examples
    whole = result_of(Classification(), seeds, "accuracy", groups).metrics["accuracy"].over_examples
    assert whole[1] - whole[0] == pytest.approx(30**0.5 * (alone[1] - alone[0]), rel=0.15)


def test_a_task_says_what_is_better_and_what_classes_there_are():
    """Of errors the smaller, though nothing here names them."""
    rng = np.random.default_rng(2)
    targets = rng.normal(0, 1, (200, 1)).astype(np.float32)
    task = Regression()
    results = {
        name: result_of(
            task,
            [
                Predictions(
                    np.arange(200), targets, {"numbers": (targets + rng.normal(0, spread, (200, 1))).astype(np.float32)}
                )
                for _ in range(3)
            ],
            "mae",
            None,
        )
        for name, spread in (("poor", 0.8), ("good", 0.1))
    }
    verdict = compared(task, results, "mae", 200)
    assert verdict.winner == "good"
    assert results["good"].metrics["r2"].mean == pytest.approx(0.99, abs=0.005)  # 1 - 0.1² / 1²
    assert class_counts(task, targets, 1) is None
    assert class_counts(Multilabel(), np.ones((4, 2), bool), 2) is None
    assert class_counts(Classification(), np.array([0, 1, 1, 1], np.int32), 3).tolist() == [1, 3, 0]
