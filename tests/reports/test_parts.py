"""The parts that tasks give to a report: numbers as scikit-learn has them, or by hand."""

import numpy as np
import pytest
from sklearn import metrics as scikit_learn

from flaxcnn.evaluation.intervals import binomial_interval
from flaxcnn.pages.parts import Matrix, Plot, Table, Text
from flaxcnn.reports.intervals import interval_over
from flaxcnn.tasks import Classification, Multilabel, Predicted, Regression
from flaxcnn.tasks.calibration import softmax, temperature_of_classes
from flaxcnn.tasks.classification.confusion import similarity_order
from flaxcnn.tasks.classification.metrics import classification_metrics
from flaxcnn.tasks.ranking import precision_recall
from flaxcnn.tasks.several import Head, Several

NAMES = ("ant", "bee", "cat", "dog")


def classified(examples, seed, sharp=3.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, examples).astype(np.int32)
    logits = rng.normal(size=(examples, 4)) + sharp * 0.5 * np.eye(4)[labels]
    return Predicted(labels, {"logits": (sharp * logits).astype(np.float32)}, {}, NAMES)


def parts(task, test, validation=None, groups=None):
    interval = interval_over(len(next(iter(test.predictions.values()))), groups)
    return {part.title: list(part.blocks) for part in task.parts(test, validation, interval)}


def one(blocks, kind, place=0):
    return [block for block in blocks if isinstance(block, kind)][place]


def test_each_class_has_the_precision_and_recall_of_scikit_learn_and_the_lowest_recall_is_first():
    test = classified(300, 0)
    table = one(parts(Classification(), test)["Each class"], Table)
    answers = test.predictions["logits"].argmax(1)
    precision, recall, f1, support = scikit_learn.precision_recall_fscore_support(test.targets, answers)
    assert [row[0] for row in table.rows] == [NAMES[each] for each in np.argsort(recall, kind="stable")]
    for name, images, of_recall, recall_ends, of_precision, _, of_f1, area in table.rows:
        each = NAMES.index(name)
        assert images == f"{support[each]}"
        assert (of_recall, of_precision, of_f1) == tuple(f"{v[each]:.3f}" for v in (recall, precision, f1))
        low, high = binomial_interval(round(recall[each] * support[each]), int(support[each]))
        assert recall_ends == f"{low:.3f} to {high:.3f}"
        own = test.targets == each
        scores = softmax(test.predictions["logits"], 1.0)[:, each]
        assert float(area) == pytest.approx(scikit_learn.average_precision_score(own, scores), abs=5e-4)


def test_a_class_without_images_is_last_and_has_no_numbers():
    test = classified(100, 1)
    test.targets[test.targets == 2] = 0
    table = one(parts(Classification(), test)["Each class"], Table)
    assert table.rows[-1][:4] == ["cat", "0", "–", "–"]


def test_classes_that_are_taken_for_each_other_stand_together():
    # By hand: 0 and 3 at 0.4, then 2 joins 3 at 0.2; 1 is never taken for another.
    counts = np.asarray([[6, 0, 0, 4], [0, 10, 0, 0], [0, 0, 8, 2], [1, 0, 1, 8]])
    assert similarity_order(counts).tolist() == [0, 3, 2, 1]
    assert similarity_order(np.diag([5, 6, 7])).tolist() == [0, 1, 2]
    assert similarity_order(np.asarray([[3]])).tolist() == [0]
    labels, answers = (np.repeat(axis, counts.ravel()) for axis in np.indices((4, 4)).reshape(2, -1))
    logits = 5 * np.eye(4, dtype=np.float32)[answers]
    blocks = parts(Classification(), Predicted(labels.astype(np.int32), {"logits": logits}, {}, NAMES))["Confusion"]
    matrix, pairs = one(blocks, Matrix), one(blocks, Table)
    assert matrix.names == ["ant", "dog", "cat", "bee"]
    assert matrix.counts_KxK.tolist() == [[6, 4, 0, 0], [1, 8, 1, 0], [0, 2, 8, 0], [0, 0, 0, 10]]
    assert [row[:3] for row in pairs.rows[:2]] == [
        ["ant taken for dog", "4 of 10", "0.400"],
        ["cat taken for dog", "2 of 10", "0.200"],
    ]


def test_the_temperature_is_fitted_on_validation_images_and_measured_on_test_images():
    test, validation = classified(400, 2), classified(400, 3)
    blocks = parts(Classification(), test, validation)["Reliability"]
    fitted = temperature_of_classes(validation.predictions["logits"], validation.targets)
    assert fitted != pytest.approx(temperature_of_classes(test.predictions["logits"], test.targets), rel=1e-3)
    before, after = one(blocks, Table).rows
    assert after[0] == f"temperature {fitted:.3g}"
    for row, temperature in ((before, 1.0), (after, fitted)):
        logits = test.predictions["logits"].astype(np.float64) / temperature
        assert row[1] == f"{classification_metrics(test.targets, logits).calibration_error:.4f}"
        loss = scikit_learn.log_loss(test.targets, softmax(test.predictions["logits"], temperature), labels=range(4))
        assert row[2] == f"{loss:.4f}"
    assert float(after[2]) < float(before[2])  # they are far too sure
    bins = one(blocks, Table, 1)
    assert sum(int(row[1]) for row in bins.rows) == 400
    assert not [block for block in blocks if isinstance(block, Text) and block.warns]


def test_without_validation_images_the_reader_is_warned_and_nothing_is_fitted():
    blocks = parts(Classification(), classified(50, 4))["Reliability"]
    assert one(blocks, Text).warns
    assert len(one(blocks, Table).rows) == 1


def test_precision_over_recall_is_that_of_scikit_learn():
    rng = np.random.default_rng(5)
    positive, scores = rng.random(200) < 0.3, rng.integers(0, 20, 200) / 20  # with ties
    precision, recall = precision_recall(positive, scores)
    of_sklearn, recall_of_sklearn, _ = scikit_learn.precision_recall_curve(positive, scores)
    np.testing.assert_allclose(precision, of_sklearn[:-1][::-1])
    np.testing.assert_allclose(recall, recall_of_sklearn[:-1][::-1])
    assert precision_recall(np.zeros(3, bool), np.zeros(3))[0].size == 0
    plot = one(parts(Classification(), classified(60, 6))["Precision and recall"], Plot)
    assert len(plot.series) == 4


def test_mistakes_are_ranked_by_how_sure_the_calibrated_answer_is():
    logits = np.float32([[4, 0], [0, 9], [3, 0], [0, 1]])
    predicted = Predicted(np.int32([0, 0, 1, 0]), {"logits": logits}, {}, ("a", "b"))
    (found,) = Classification().mistakes(predicted, {"temperature": 2.0}, 2)
    assert (list(found.worst), found.errors_N.tolist()) == ([1, 2], [0, 1, 1, 1])
    assert found.said[1] == f"b, taken for a ({1 / (1 + np.exp(-1.5)):.1%})"


def test_each_label_has_the_precision_and_recall_of_scikit_learn():
    rng = np.random.default_rng(7)
    labels = rng.random((200, 3)) < 0.4
    logits = (rng.normal(size=(200, 3)) + labels).astype(np.float32)
    thresholds = np.float32([0.2, 0.5, 0.8])
    test = Predicted(labels, {"logits": logits}, {"thresholds": thresholds}, ("x", "y", "z"))
    found = parts(Multilabel(), test, test)
    precision, recall, f1, _ = scikit_learn.precision_recall_fscore_support(labels, logits > thresholds)
    for row in one(found["Each label"], Table).rows:
        each = "xyz".index(row[0])
        assert (row[2], row[4], row[6]) == tuple(f"{values[each]:.3f}" for values in (recall, precision, f1))
    (mistakes,) = Multilabel().mistakes(test, {}, 5)
    wrong = ((logits > thresholds) != labels).any(1)
    np.testing.assert_array_equal(mistakes.errors_N, wrong)
    assert wrong[list(mistakes.worst)].all()


def test_intervals_of_numbers_are_chosen_on_validation_images_and_counted_on_test_images():
    rng = np.random.default_rng(8)
    sides = [rng.normal(size=(count, 2)).astype(np.float32) for count in (100, 200)]
    noise = [rng.normal(size=each.shape).astype(np.float32) for each in sides]
    validation, test = (
        Predicted(true, {"numbers": true + far}, {"target_deviation": np.float32([1, 4])}, ("mass", "age"))
        for true, far in zip(sides, noise, strict=True)
    )
    rows = one(parts(Regression(), test, validation)["Do the 90 % intervals hold?"], Table).rows
    for each, row in enumerate(rows):
        width = np.sort(np.abs(noise[0][:, each]))[90]  # the 91st of 100: the smallest k of at least 0.9 · 101
        inside = np.abs(test.predictions["numbers"][:, each] - test.targets[:, each]) <= width
        assert row[2] == f"{inside.mean():.3f}"
        assert float(row[1].removeprefix("± ")) == pytest.approx(width, rel=1e-3)
    (mistakes,) = Regression().mistakes(test, {}, 3)
    far = (np.abs(noise[1]) / [1, 4]).mean(1)
    np.testing.assert_allclose(mistakes.errors_N, far, rtol=1e-4)
    assert list(mistakes.worst) == np.argsort(-far)[:3].tolist()
    assert one(parts(Regression(), test)["Do the 90 % intervals hold?"], Text).warns


def test_a_head_has_its_own_parts_of_the_images_that_have_its_target():
    whole = classified(90, 9)
    labels = whole.targets.copy()
    labels[::3] = -1
    task = Several((Head("kind", Classification(), 1.0, 4),))
    named = {"kind.logits": whole.predictions["logits"]}
    groups = (np.arange(90) // 5).astype(np.int32)
    found = parts(task, Predicted({"kind": labels}, named, {}, {"kind": NAMES}), groups=groups)
    have = labels >= 0
    own = Predicted(labels[have], {"logits": whole.predictions["logits"][have]}, {}, NAMES)
    alone = parts(Classification(), own, groups=groups[have])
    assert list(found) == [f"kind: {title}" for title in alone]
    assert one(found["kind: Each class"], Table) == one(alone["Each class"], Table)
    (mistakes,) = task.mistakes(Predicted({"kind": labels}, named, {}, {"kind": NAMES}), {}, 4)
    assert (mistakes.head, np.isnan(mistakes.errors_N).tolist()) == ("kind", (~have).tolist())
    assert all(have[each] and mistakes.errors_N[each] == 1 for each in mistakes.worst)


def test_with_groups_an_interval_is_wider_than_that_of_images_that_stand_for_themselves():
    groups = np.repeat(np.arange(20), 50)
    hits, every = groups % 4 > 0, np.ones(1000, bool)  # each group is right or wrong as a whole
    (low, high), (exact_low, exact_high) = (interval_over(1000, each)(hits, every) for each in (groups, None))
    assert high - low > 4 * (exact_high - exact_low)
    assert low < 0.75 < high
    assert np.isnan(interval_over(1000, groups)(hits, ~every)).all()
    assert np.isnan(interval_over(1000, None)(hits, ~every)).all()


def test_where_no_group_is_wrong_an_interval_still_says_how_few_groups_there_are():
    groups, every = np.repeat(np.arange(6), 50), np.ones(300, bool)
    found = interval_over(300, groups)
    assert found(every, every) == binomial_interval(6, 6)
    assert found(~every, every) == binomial_interval(0, 6)
    assert found(every, groups < 2) == binomial_interval(2, 2)
