"""Several heads learn and are measured as each would be alone, on the examples that have its target."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from sklearn import metrics as scikit_learn

from flaxcnn import config
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.evaluation.sums import sums_of
from flaxcnn.tasks import Classification, Multilabel, Predicted, Regression, Several, create_task
from flaxcnn.training import Hyperparameters
from tests.error_fields import fields

NAMES = {"amount": ("grams",), "kind": ("ant", "bee", "fly"), "marks": ("spot", "line")}


def task_of(*heads):
    return create_task(config.Task(name="several", heads=heads))


def drawn(examples=40, lacking=True):
    generator = np.random.default_rng(0)
    kind = generator.integers(0, 3, examples).astype(np.int32)
    amount = np.round(generator.normal(30, 4, examples), 1).astype(np.float32)
    if lacking:
        kind[::3], amount[1::4] = -1, np.nan
    targets = {"amount": amount, "kind": kind, "marks": generator.random((examples, 2)) < 0.4}
    return targets, np.round(generator.normal(size=(examples, 6)), 1).astype(np.float32)


@pytest.fixture(scope="module")
def trained():
    """A task of three heads, fitted, its constants, targets of which some are lacking, and outputs."""
    targets, outputs = drawn()
    task = task_of("amount=regression:2", "kind=classification:0.5", "marks=multilabel").fitted(targets, NAMES)
    return task, task.constants(targets), targets, outputs


def predicted_of(trained):
    task, constants, targets, outputs = trained
    decoded = {name: np.asarray(array) for name, array in task.decode(constants, jnp.asarray(outputs)).items()}
    return Predicted(targets, decoded, constants, NAMES)


def alone(trained, times=None):
    """What each head has of its own: its task, constants, outputs and targets, each example so many times."""
    _, constants, targets, outputs = trained
    times = np.ones(len(outputs), int) if times is None else times
    has_amount, has_kind = ~np.isnan(targets["amount"]), targets["kind"] >= 0
    amount = {name: constants[f"amount.{name}"] for name in ("target_mean", "target_deviation")}
    marks = {"thresholds": constants["marks.thresholds"]}

    def chosen(array, has):
        return np.repeat(array[has], times[has], axis=0)

    everywhere = np.ones(len(outputs), bool)
    return {
        "amount": (Regression(), amount, chosen(outputs[:, :1], has_amount), chosen(targets["amount"], has_amount)),
        "kind": (Classification(), {}, chosen(outputs[:, 1:4], has_kind), chosen(targets["kind"], has_kind)),
        "marks": (Multilabel(), marks, chosen(outputs[:, 4:], everywhere), chosen(targets["marks"], everywhere)),
    }


def measured_alone(trained, times=None):
    found = {}
    for name, (task, constants, outputs, targets) in alone(trained, times).items():
        decoded = {key: np.asarray(value) for key, value in task.decode(constants, outputs).items()}
        measured = task.scores(Predicted(targets, decoded, constants)).measure(np.ones((1, len(targets)), np.int32))
        found |= {f"{name}_{key}": value[0] for key, value in measured.items() if key in task.metrics}
    return found


def test_heads_say_what_is_learned_and_how_much_it_weighs():
    task = task_of("amount=regression", "kind=classification:0.25", "marks=multilabel:2e0")
    assert [(head.name, head.task, head.weight) for head in task.heads] == [
        ("amount", Regression(), 1),
        ("kind", Classification(), 0.25),
        ("marks", Multilabel(), 2),
    ]
    assert task.logged[:4] == ("amount_r2", "kind_accuracy", "marks_micro_f1", "amount_rmse")
    assert set(task.logged) == {f"{head.name}_{name}" for head in task.heads for name in head.task.logged}
    assert task.compared == ("amount_rmse", "kind_accuracy", "marks_mean_average_precision")


FORM = "NAME=TASK or NAME=TASK:WEIGHT for each, such as species=classification area=regression:0.5"


@pytest.mark.parametrize(
    ("heads", "where", "expected", "found"),
    [
        ((), "task.heads", FORM, "none"),
        (("kind",), "task.heads", FORM, "'kind'"),
        (("kind=",), "task.heads", FORM, "'kind='"),
        (("=classification",), "task.heads", FORM, "'=classification'"),
        (("a b=classification",), "task.heads", FORM, "'a b=classification'"),
        (("a.b=classification",), "task.heads", FORM, "'a.b=classification'"),
        (("kind=several",), "task.heads", FORM, "'kind=several'"),
        (("kind=classification:0",), "task.heads", FORM, "'kind=classification:0'"),
        (("kind=classification:-1",), "task.heads", FORM, "'kind=classification:-1'"),
        (("kind=classification:nan",), "task.heads", FORM, "'kind=classification:nan'"),
        (("kind=classification:inf",), "task.heads", FORM, "'kind=classification:inf'"),
        (("kind=classification:1e39",), "task.heads", FORM, "'kind=classification:1e39'"),
        (("kind=classification", "kind=regression"), "task.heads", None, "kind"),
        (("a=classification", "a_top_k=classification"), "task.heads", None, "a_top_k_accuracy"),
        (("kind=clasification",), "task.heads", None, None),
    ],
)
def test_heads_that_are_written_wrongly_are_named(heads, where, expected, found):
    with pytest.raises(ConfigError) as refused:
        task_of(*heads)
    assert fields(refused.value) == (where, expected, found)


def test_the_loss_is_the_weighted_sum_of_the_heads_losses(trained):
    task, constants, targets, outputs = trained
    expected = np.zeros(len(outputs))
    present = {"amount": ~np.isnan(targets["amount"]), "kind": targets["kind"] >= 0, "marks": np.full(40, True)}
    for name, (own, own_constants, own_outputs, own_targets) in alone(trained).items():
        weight = {"amount": 2, "kind": 0.5, "marks": 1}[name]
        expected[present[name]] += weight * np.asarray(own.losses(None, own_constants, own_outputs, own_targets))
    for values in (None, Hyperparameters.of()):
        np.testing.assert_allclose(task.losses(values, constants, outputs, targets), expected, rtol=1e-5)


def test_a_lacking_target_gives_no_gradient_and_no_nan(trained):
    task, constants, targets, outputs = trained

    def loss(outputs):
        return task.losses(Hyperparameters.of(label_smoothing=0.1), constants, outputs, targets).sum()

    gradients = np.asarray(jax.jit(jax.grad(loss))(jnp.asarray(outputs)))
    assert np.isfinite(gradients).all()
    lacks_amount, lacks_kind = np.isnan(targets["amount"]), targets["kind"] < 0
    assert (gradients[lacks_amount, 0] == 0).all()
    assert (gradients[~lacks_amount, 0] != 0).all()
    assert (gradients[lacks_kind, 1:4] == 0).all()
    assert (gradients[~lacks_kind, 1:4] != 0).all()
    assert (gradients[:, 4:] != 0).all()


def test_constants_are_of_the_examples_that_have_the_target(trained):
    _, constants, targets, _ = trained
    amounts = targets["amount"][~np.isnan(targets["amount"])].astype(float)
    assert constants["amount.target_mean"] == pytest.approx(amounts.mean())
    assert constants["amount.target_deviation"] == pytest.approx(amounts.std())
    assert constants.keys() == {"amount.target_mean", "amount.target_deviation", "marks.thresholds"}


def test_sums_of_parts_give_each_heads_metrics_where_it_has_targets(trained):
    task, constants, targets, outputs = trained

    sums_of_part = jax.jit(partial(sums_of, task, constants))

    def part(chosen, counted):
        return sums_of_part(outputs[chosen], {name: array[chosen] for name, array in targets.items()}, counted)

    sums = jax.tree.map(jnp.add, part(slice(0, 25), np.ones(25, bool)), part(slice(15, 40), np.arange(15, 40) >= 25))
    expected = measured_alone(trained)
    assert sums.measures == pytest.approx({name: expected[name] for name in task.logged}, rel=1e-5)


def test_a_batch_without_any_target_of_a_head_measures_finite_numbers(trained):
    task, constants, targets, outputs = trained
    targets = {**targets, "amount": np.full(40, np.nan, np.float32), "kind": np.full(40, -1, np.int32)}
    measures = jax.jit(partial(sums_of, task, constants))(outputs, targets, np.ones(40, bool)).measures
    assert np.isfinite(list(measures.values())).all()


def test_every_metric_is_that_of_the_head_alone(trained):
    found = trained[0].scores(predicted_of(trained)).measure(np.ones((1, 40), np.int32))
    expected = measured_alone(trained)
    assert expected.keys() == trained[0].metrics.keys()
    assert {name: found[name][0] for name in expected} == pytest.approx(expected, rel=1e-9)


def test_resampled_examples_count_as_copies_do(trained):
    counts = np.random.default_rng(1).integers(0, 3, (5, 40)).astype(np.int32)
    found = trained[0].scores(predicted_of(trained)).measure(counts)
    for row, times in enumerate(counts):
        expected = measured_alone(trained, times)
        assert {name: found[name][row] for name in expected} == pytest.approx(expected, rel=1e-9)
    kind, outputs = trained[2]["kind"], trained[3]
    times = np.where(kind >= 0, counts[0], 0)
    accuracy = scikit_learn.accuracy_score(np.repeat(kind, times), np.repeat(outputs[:, 1:4].argmax(1), times))
    assert found["kind_accuracy"][0] == pytest.approx(accuracy)


def test_a_counting_without_any_target_of_a_head_has_no_metrics_of_it(trained):
    counts = np.stack([trained[2]["kind"] < 0, np.full(40, True)]).astype(np.int32)
    found = trained[0].scores(predicted_of(trained)).measure(counts)
    assert np.isnan(found["kind_accuracy"]).tolist() == [True, False]
    assert np.isfinite(found["amount_rmse"]).all()


def test_a_split_without_any_target_of_a_head_is_measured_by_the_others(trained):
    task, constants, targets, outputs = trained
    predicted = predicted_of((task, constants, {**targets, "kind": np.full(40, -1, np.int32)}, outputs))
    found = task.scores(predicted).measure(np.ones((2, 40), np.int32))
    assert np.isnan(found["kind_accuracy"]).tolist() == [True, True]
    assert np.isfinite(found["amount_rmse"]).all()
    report = task.report(predicted)
    assert report["kind"] == {"examples": 0}
    assert report["amount"]["examples"] == 30
    assert [picture.name for picture in task.pictures(predicted)] == [
        "amount_predicted.png",
        "amount_residuals.png",
        "marks_labels.png",
    ]
    assert task.tuned(predicted).keys() == constants.keys()


def test_of_training_images_one_has_the_target_of_each_head():
    with pytest.raises(DataError) as refused:
        task_of("kind=classification").constants({"kind": np.full(3, -1, np.int32)})
    assert fields(refused.value) == ("training targets kind", "at least one image with a target", "none")
    with pytest.raises(DataError) as refused:
        task_of("amount=regression").constants({"amount": np.full(3, np.nan, np.float32)})
    assert refused.value.where == "training targets amount"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kind": None}, ("x targets", "a dictionary of amount, kind, marks", "a dictionary of amount, marks")),
        ({"kind": np.zeros(4, np.float32)},
         ("x kind targets", "int32 (N,) for the task classification", "float32 (4,)")),
        ({"kind": np.int32([0, -1, 3, 2])}, ("x kind targets", "0 to 2", "3 at position 2 (1 such labels)")),
        ({"amount": np.float32([1, np.nan, np.inf, 1])},
         ("x amount targets", "finite numbers", "inf at position 2 (1 such numbers)")),
        ({"amount": {"a": np.zeros(4, np.float32)}},
         ("x amount targets", "float32 (N,) or (N, T) for the task regression", "a dictionary of a")),
        ({"kind": {"a": np.zeros(4, np.float32)}},
         ("x kind targets", "int32 (N,) for the task classification", "a dictionary of a")),
        ({"marks": np.zeros(4, np.int32)}, ("x marks targets", "bool (N, L) for the task multilabel", "int32 (4,)")),
    ],
)  # fmt: skip
def test_targets_that_do_not_fit_are_named(change, expected):
    task = task_of("amount=regression", "kind=classification", "marks=multilabel")
    targets = {**drawn(4)[0], **change}
    with pytest.raises(DataError) as refused:
        task.check({name: array for name, array in targets.items() if array is not None}, NAMES, "x")
    assert fields(refused.value) == expected


def test_one_array_is_no_targets_of_several_heads_and_names_are_wanted_of_classes():
    task = task_of("amount=regression", "kind=classification")
    with pytest.raises(DataError) as refused:
        task.check(np.zeros(4, np.int32), ("a",), "x")
    assert fields(refused.value) == ("x targets", "a dictionary of amount, kind", "int32 (4,)")
    targets = {"amount": np.zeros(4, np.float32), "kind": np.zeros(4, np.int32)}
    with pytest.raises(DataError) as refused:
        task.check(targets, ("a",), "x")
    assert fields(refused.value) == ("x kind target names", "one name for each value", "none")


def test_targets_that_fit_are_taken_and_described():
    targets, _ = drawn()
    task = task_of("amount=regression", "kind=classification", "marks=multilabel")
    task.check(targets, NAMES, "x")
    assert task.outputs(targets, NAMES) == 6
    assert [head.width for head in task.fitted(targets, NAMES).heads] == [1, 3, 2]
    described = task.described(targets, NAMES)
    for part in ("1 number an image (10 images lack it)", "3 classes (14 images lack it)", "marks: 2 labels"):
        assert part in described


def test_the_range_of_targets_is_checked_of_each_head(trained):
    task, _, targets, _ = trained

    def checked(kind):
        @checkify.checkify
        def check(targets):
            task.check_range(6, targets)

        error, _ = jax.jit(check)({**targets, "kind": kind})
        return error.get()

    assert checked(targets["kind"]) is None
    assert "found 3" in checked(np.where(targets["kind"] == 1, 3, targets["kind"]).astype(np.int32))


@pytest.mark.parametrize(
    ("heads", "uses"),
    [
        (("a=classification", "b=multilabel"), {"mixup", "label_smoothing", "focal_gamma"}),
        (("a=regression",), {"mixup"}),
        (("a=regression", "b=classification"), {"mixup", "label_smoothing", "focal_gamma"}),
    ],
)
def test_options_are_used_that_a_head_uses(heads, uses):
    assert task_of(*heads).uses == uses


def test_a_head_that_cannot_be_mixed_keeps_all_from_mixing():
    class Still(Classification):
        uses = frozenset({"label_smoothing"})

    both = Several.of(("a=moving", "b=still"), {"moving": Classification(), "still": Still()}.get)
    assert both.uses == {"label_smoothing", "focal_gamma"}


@pytest.mark.parametrize(
    "change",
    [
        {"targets": np.zeros(40, np.int32)},
        {"targets": {"amount": np.zeros(40, np.float32)}},
        {"targets": {**drawn()[0], "kind": {"deep": np.zeros(40, np.int32)}}},
        {"targets": {**drawn()[0], "kind": np.zeros((40, 2), np.int32)}},
        {"targets": {**drawn()[0], "amount": {"deep": np.zeros(40, np.float32)}}},
        {"targets": {**drawn()[0], "marks": {"deep": np.zeros((40, 2), bool)}}},
        {"predictions": {}},
        {"constants": {}},
    ],
)
def test_predictions_of_another_task_are_refused(trained, change):
    with pytest.raises(DataError):
        trained[0].scores(predicted_of(trained)._replace(**change))
