"""A space: what lies in a domain, which fields are active, and which spaces no experiment can have."""

from collections import Counter
from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxcnn.config import Augmentation, Data, Experiment, Model, Optimizer, Training
from flaxcnn.errors import ConfigError
from flaxcnn.runs.recipe import mixing_of
from flaxcnn.runs.setup import set_up
from flaxcnn.sweeps.schedulers.exploration import perturb
from flaxcnn.sweeps.space import RUNTIME_FIELDS, Choice, Float, Int, When, field_value, fill, with_params
from flaxcnn.sweeps.space_check import check_space

SHARES = st.floats(0, 1, exclude_max=True)
INTS = st.builds(
    lambda low, steps, step: Int(low, low + steps * step, step=step),
    st.integers(-50, 50),
    st.integers(0, 30),
    st.integers(1, 7),
)
LOG_INTS = st.tuples(st.integers(1, 300), st.integers(1, 300)).map(lambda ends: Int(min(ends), max(ends), log=True))
FLOATS = st.builds(lambda low, width: Float(low, low + width), st.floats(-5, 5), st.floats(0.1, 10))
LOG_FLOATS = st.builds(lambda low, times: Float(low, low * times, log=True), st.floats(1e-30, 1e3), st.floats(1.1, 1e6))


def test_a_place_in_a_range_of_numbers_is_where_that_share_of_it_or_of_its_logarithms_lies_below():
    assert Float(2, 10).at(0.25) == 4.0
    assert Float(1e-4, 1e-2, log=True).at(0.5) == pytest.approx(1e-3)


def test_each_whole_number_has_an_equal_part_of_the_places():
    positions = [(place + 0.5) / 600 for place in range(600)]
    assert Counter(map(Int(1, 6).at, positions)) == dict.fromkeys(range(1, 7), 100)
    assert Counter(map(Int(10, 30, step=10).at, positions)) == {10: 200, 20: 200, 30: 200}


def test_a_whole_number_of_a_logarithmic_range_has_the_places_of_those_that_round_to_it():
    counts = Counter(Int(1, 8, log=True).at((place + 0.5) / 10000) for place in range(10000))
    shares = {number: np.log((number + 0.5) / (number - 0.5)) / np.log(8.5 / 0.5) for number in range(1, 9)}
    assert {number: count / 10000 for number, count in counts.items()} == pytest.approx(shares, abs=2e-4)


@given(st.one_of(INTS, LOG_INTS), SHARES)
def test_every_place_in_a_whole_range_is_one_of_its_numbers(domain, share):
    assert domain.at(share) in range(domain.low, domain.high + 1, domain.step)


@given(st.one_of(FLOATS, LOG_FLOATS), SHARES)
def test_no_place_in_a_range_is_outside_of_it(domain, share):
    assert domain.low <= domain.at(share) <= domain.high


@given(st.one_of(FLOATS, LOG_FLOATS, INTS, LOG_INTS), st.integers(2, 12))
def test_a_spread_rises_from_one_end_to_the_other_without_repeating_itself(domain, points):
    spread = domain.spread(points)
    assert (spread[0], spread[-1]) == domain.extremes
    assert len(spread) <= points
    assert list(spread) == sorted(set(spread))


@pytest.mark.parametrize(
    ("domain", "points", "spread"),
    [
        (Float(0, 1), 5, [0, 0.25, 0.5, 0.75, 1]),
        (Float(1e-4, 1e-2, log=True), 3, [1e-4, 1e-3, 1e-2]),
        (Int(1, 3), 5, [1, 2, 3]),
        (Int(0, 100), 5, [0, 25, 50, 75, 100]),
        (Int(16, 96, step=16), 3, [16, 48, 96]),  # 56 lies between 48 and 64
        (Int(1, 1000, log=True), 4, [1, 10, 100, 1000]),
        (Int(1, 6, log=True), 5, [1, 2, 4, 6]),  # 1, 1.57, 2.45, 3.83, 6
        (Choice("a", None, 3), 2, ["a", None, 3]),
    ],
)
def test_a_grid_of_a_domain(domain, points, spread):
    assert list(domain.spread(points)) == (pytest.approx(spread) if isinstance(domain, Float) else spread)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(2, 1), "Float.low: out of range; expected less than high, 1.0, found 2.0"),
        (
            lambda: Float(1, 1),
            "Float.low: a range of one value; expected less than high, 1.0, found 1.0. Leave the field out of the "
            "space and set it in the experiment, or write Choice(1.0)",
        ),
        (lambda: Float(0, 1, log=True), "Float.low: out of range; expected above 0, since log is set, found 0.0"),
        (lambda: Float(0, float("inf")), "Float.high: out of range; expected a finite number, found inf"),
        (lambda: Float("0", 1), "Float.low: out of range; expected a finite number, found '0'"),
        (lambda: Float(0, 1, 0.1), "Float.log: out of range; expected True or False, found 0.1"),
        (lambda: Int(3, 2), "Int.low: out of range; expected at most high, 2, found 3"),
        (lambda: Int(1.0, 2), "Int.low: out of range; expected a whole number, found 1.0"),
        (lambda: Int(True, 2), "Int.low: out of range; expected a whole number, found True"),
        (lambda: Int(0, 2, log=True), "Int.low: out of range; expected above 0"),
        (lambda: Int(1, 9, log=True, step=2), "Int.step: out of range; expected 1, since log is set, found 2"),
        (lambda: Int(16, 100, step=16), "Int.high: out of range; expected low and whole steps, such as 96, found 100"),
        (lambda: Int(1, 2, step=0), "Int.step: out of range; expected at least 1, found 0"),
        (lambda: Choice(), "Choice: out of range; expected at least one option, found none"),
        (lambda: Choice(["a", "b"]), "Choice: out of range; expected True, False, finite numbers, text or None, found"),
        (lambda: Choice("a", "b", "a"), "Choice: out of range; expected options that differ, found 'a' again"),
        (lambda: Choice(float("nan")), "Choice: out of range"),
        (lambda: When("optimizer.name", (), Float(0, 1)), "When.values: out of range; expected at least one value"),
        (lambda: When("optimizer.name", "sgd", 0.5), "When.domain: out of range; expected a Float, Int or Choice"),
    ],
)
def test_a_domain_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(ConfigError) as caught:
        make()
    assert message in str(caught.value)


OPTIMIZERS = {
    "optimizer.name": Choice("adam", "sgd"),
    "optimizer.learning_rate": Float(1e-4, 1e-2, log=True),
    "optimizer.momentum": When("optimizer.name", "sgd", Float(0.5, 0.99)),
    "optimizer.nesterov": When("optimizer.name", "sgd", Choice(False, True)),
}


def test_fields_are_asked_for_in_order_and_only_where_they_are_active():
    asked = []

    def suggest(name):
        return lambda path, domain: asked.append((path, domain)) or (name if path == "optimizer.name" else 0.5)

    assert list(fill(OPTIMIZERS, Experiment(), suggest("sgd"))) == list(OPTIMIZERS)
    assert asked[2] == ("optimizer.momentum", Float(0.5, 0.99))
    assert list(fill(OPTIMIZERS, Experiment(), suggest("adam"))) == ["optimizer.name", "optimizer.learning_rate"]


def test_a_condition_on_an_inactive_field_does_not_hold_whatever_the_experiment_has_there():
    space = {
        "optimizer.name": Choice("adam", "sgd"),
        "optimizer.nesterov": When("optimizer.name", "sgd", Choice(False, True)),
        "optimizer.momentum": When("optimizer.nesterov", False, Float(0.5, 0.99)),
    }
    check_space(space, Experiment())
    last, first = (lambda path, domain: domain.extremes[-1]), (lambda path, domain: domain.extremes[0])
    assert fill(space, Experiment(), first) == {"optimizer.name": "adam"}  # nesterov is False there
    assert fill(space, Experiment(), last) == {"optimizer.name": "sgd", "optimizer.nesterov": True}


def test_a_condition_on_a_field_that_is_not_searched_goes_by_the_experiment():
    space = {
        "optimizer.learning_rate": Float(1e-4, 1e-2),
        "optimizer.momentum": When("optimizer.name", ("sgd",), Float(0.5, 0.99)),
    }
    for experiment, fields in ((Experiment(), 1), (Experiment(optimizer=Optimizer("sgd")), 2)):
        check_space(space, experiment)
        assert len(fill(space, experiment, lambda path, domain: domain.at(0.5))) == fields


def test_values_that_go_together_only_are_put_in_at_once():
    params = {"optimizer.name": "sgd", "optimizer.momentum": 0.5, "training.batch_size": 100, "training.accumulate": 4}
    expected = Experiment(
        data=Data(validation=0.1),
        optimizer=Optimizer("sgd", momentum=0.5),
        training=Training(batch_size=100, accumulate=4),
    )
    assert with_params(Experiment(data=Data(validation=0.1)), params) == expected
    with pytest.raises(ConfigError, match=r"optimizer\.momentum: adam does not use it"):
        with_params(Experiment(), {"optimizer.momentum": 0.5})


def test_a_whole_number_serves_for_a_field_of_numbers():
    space = {"augmentation.shift": Int(1, 4), "augmentation.cutout": Int(2, 8, step=2)}
    check_space(space, Experiment())
    assert with_params(Experiment(), {"augmentation.shift": 3}).augmentation.shift == 3.0


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {},
            "the sweep's space: nothing to search; expected a field that is searched in this experiment, found no",
        ),
        (
            {"optimizer.momentum": When("optimizer.name", "sgd", Float(0, 0.9))},
            "nothing to search; expected a field that is searched in this experiment, found optimizer.momentum",
        ),
        (
            {"optimizer.learning_rate": Choice(0.01), "training.epochs": Int(2, 2)},
            "the sweep's space: nothing to search: every trial would be the same training; expected a field that has "
            "two values or more, found optimizer.learning_rate 0.01, training.epochs 2. Widen a range; or train this "
            "setting with flaxcnn train, with several seeds with flaxcnn reproduce",
        ),
        ({"optimizer.name": Choice("adagrad")}, "optimizer.name = 'adagrad': optimizer.name: wrong type; expected"),
        (
            {"optimizer.lerning_rate": Float(1e-4, 1e-2)},
            "the sweep's space: unknown field 'optimizer.lerning_rate'. Did you mean 'optimizer.learning_rate'?",
        ),
        ({"learning_rate": Float(1e-4, 1e-2)}, "Did you mean 'optimizer.learning_rate'?"),
        (
            {"optimizer.learning_rate": Float(0, 1e-2)},
            "the sweep's space, optimizer.learning_rate = 0.0: optimizer.learning_rate: out of range; expected a "
            "number above 0 in the range of float32, found 0.0",
        ),
        (
            {"model.dropout": Float(0, 1)},
            "the sweep's space, model.dropout = 1.0: model.dropout: out of range; expected",
        ),
        ({"training.epochs": Int(0, 3)}, "training.epochs = 0: training.epochs: out of range; expected at least 1"),
        (
            {"training.epochs": Float(1, 3)},
            "training.epochs = 1.0: training.epochs: wrong type; expected a whole number, found 1.0",
        ),
        ({"optimizer.nesterov": Int(0, 1)}, "optimizer.nesterov: wrong type; expected True or False, found 0"),
        (
            {"optimizer.name": Choice("adam", "adagrad")},
            "optimizer.name = 'adagrad': optimizer.name: wrong type; expected",
        ),
        (
            {"optimizer.momentum": Float(0.5, 0.9)},
            "optimizer.momentum = 0.5: optimizer.momentum: adam does not use it",
        ),
        (
            {"optimizer.name": Choice("adam", "sgd"), "optimizer.momentum": Float(0.5, 0.9)},
            "optimizer.momentum: adam does not use it; expected optimizer.name sgd",
        ),
        (
            {"optimizer.name": Choice("adam", "sgd"), "optimizer.b1": When("optimizer.name", "sgd", Float(0.5, 0.9))},
            "the sweep's space, optimizer.name = 'sgd': optimizer.b1: sgd does not use it",
        ),
        (
            {"optimizer.name": Choice("adam", "sgd"), "optimizer.b1": When("optimizer.name", "sdg", Float(0.5, 0.9))},
            "b1: When('optimizer.name', ...): never has this value; expected one of 'adam', 'sgd', found 'sdg'",
        ),
        (
            {"optimizer.b1": When("optimizer.name", "sdg", Float(0.5, 0.9))},
            "When('optimizer.name', ...): optimizer.name: wrong type; expected 'adam' or 'adamw' or 'sgd' or 'lion'",
        ),
        (
            {"optimizer.b1": When("optimizer.nme", "adam", Float(0.5, 0.9))},
            "unknown field 'optimizer.nme'. Did you mean 'optimizer.name'?",
        ),
        (
            {"optimizer.b1": When("optimizer.name", "adam", Float(0.5, 0.9)), "optimizer.name": Choice("adam", "sgd")},
            "its condition is chosen later; expected optimizer.name to stand before optimizer.b1",
        ),
        (
            {"optimizer.b2": Float(0.5, 0.9), "optimizer.b1": When("optimizer.b2", 0.9, Float(0.5, 0.9))},
            "a number hardly ever has a certain value; expected a Choice or an Int",
        ),
        (
            {"training.epochs": Int(1, 5, step=2), "training.steps": When("training.epochs", 2, Int(1, 5))},
            "never has this value; expected one of 1, 3, 5, found 2",
        ),
        (
            {"training.epochs": 3},
            "the sweep's space: training.epochs: not a domain; expected a Float, Int, Choice or When",
        ),
        (
            {"model.name": Choice("paper_cnn", "small_cn")},
            "model.name = 'small_cn': model.name: unknown model 'small_cn'. Did you mean 'small_cnn'?",
        ),
        ({"training.accumulate": Choice(1, 3)}, "training.accumulate = 3: training.accumulate: parts of unequal size"),
    ],
)
def test_a_space_that_no_experiment_can_have_is_refused_before_anything_is_tried(space, message):
    with pytest.raises(ConfigError) as caught:
        check_space(space, Experiment())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_end_of_a_sound_space_is_accepted_where_it_is_active():
    check_space(OPTIMIZERS, Experiment(optimizer=Optimizer("adamw")))


def perturbed(domain, value, times=4000):
    rng, experiment = np.random.default_rng(0), Experiment()
    space, params = {"optimizer.learning_rate": domain}, {"optimizer.learning_rate": value}
    return [perturb(space, experiment, params, rng)["optimizer.learning_rate"] for _ in range(times)]


def test_a_number_becomes_four_or_six_fifths_of_itself_or_in_a_quarter_of_cases_any():
    counts = Counter(perturbed(Float(1e-4, 1e-2, log=True), 1e-3))
    shares = [counts[1e-3 * factor] / 4000 for factor in (0.8, 1.2)]
    assert shares == pytest.approx([0.375, 0.375], abs=0.03)  # 4 standard deviations
    drawn = np.log10([value for value in counts.elements() if value not in (0.8e-3, 1.2e-3)])
    assert np.mean(drawn) == pytest.approx(-3, abs=0.08)  # evenly spread over -4 to -2: 0.58 / sqrt(1000) each
    assert np.std(drawn) == pytest.approx(2 / np.sqrt(12), abs=0.08)


def test_a_perturbed_number_stays_in_its_domain():
    assert max(perturbed(Float(1e-4, 1e-2), 9e-3)) == 1e-2
    assert min(perturbed(Float(1e-4, 1e-2), 1.1e-4)) == 1e-4


def test_a_whole_number_moves_by_a_step_at_least_and_stays_on_its_steps():
    often = {value for value, count in Counter(perturbed(Int(1, 400), 2)).items() if count > 100}
    assert often == {1, 3}  # 1.6 and 2.4 both round to 2
    often = {value for value, count in Counter(perturbed(Int(16, 16 * 400, step=16), 160)).items() if count > 100}
    assert often == {128, 192}


def test_a_choice_stays_or_is_drawn_anew_in_a_quarter_of_cases():
    counts = Counter(perturbed(Choice(10, 20, 40, 50), 20))
    expected = {10: 250, 20: 3250, 40: 250, 50: 250}
    assert {option: counts[option] for option in expected} == pytest.approx(expected, abs=75)


def test_a_field_that_becomes_active_by_a_perturbed_choice_gets_a_value():
    params = {"optimizer.name": "adam", "optimizer.learning_rate": 1e-3}
    rng = np.random.default_rng(0)
    seen = [perturb(OPTIMIZERS, Experiment(), params, rng) for _ in range(200)]
    assert {"sgd", "adam"} == {each["optimizer.name"] for each in seen}
    for each in seen:
        assert ("optimizer.momentum" in each) == (each["optimizer.name"] == "sgd")
        with_params(Experiment(), each)


RUNTIME_VALUES = {
    "augmentation.augmix": (1.0, 3.0),
    "augmentation.blur": (0.1, 0.5),
    "augmentation.brightness": (0.1, 0.4),
    "augmentation.contrast": (0.1, 0.4),
    "augmentation.cutmix": (0.1, 1.0),
    "augmentation.cutout": (4, 8),
    "augmentation.elastic": (0.5, 1.0),
    "augmentation.erase": (0.1, 0.25),
    "augmentation.flip": (0.25, 0.5),
    "augmentation.gray": (0.1, 0.2),
    "augmentation.hue": (0.05, 0.1),
    "augmentation.mixup": (0.1, 0.4),
    "augmentation.randaugment_magnitude": (0.0, 9.0),
    "augmentation.resized_crop": (0.08, 0.3),
    "augmentation.resized_crop_aspect": (1.0, 1.5),
    "augmentation.rotate": (5.0, 10.0),
    "augmentation.saturation": (0.1, 0.4),
    "augmentation.scale": (0.1, 0.2),
    "augmentation.shear": (5.0, 10.0),
    "augmentation.shift": (1.0, 2.0),
    "model.dropout": (0.0, 0.5),
    "optimizer.b1": (0.8, 0.9),
    "optimizer.b2": (0.99, 0.999),
    "optimizer.clip_norm": (1.0, 2.0),
    "optimizer.eps": (1e-8, 1e-6),
    "optimizer.layer_decay": (0.5, 1.0),
    "optimizer.learning_rate": (1e-3, 1e-2),
    "optimizer.momentum": (0.0, 0.9),
    "optimizer.weight_decay": (0.0, 0.1),
    "training.ema_decay": (0.0, 0.99),
    "training.focal_gamma": (1.0, 2.0),
    "training.label_smoothing": (0.0, 0.1),
    "training.seed": (0, 1),
}


def target(experiment, folder):
    source = replace(experiment.data, source=f"idx:{folder}")
    return set_up(replace(experiment, data=source, model=Model("small_cnn"))).state_target()


def test_probabilities_of_mosaics_are_values_of_the_same_program():
    """By themselves: the other fields are tried on digits, which have no boxes."""
    few, many = (mixing_of(Augmentation(mosaic=probability)) for probability in (0.1, 0.9))
    assert jax.tree.structure(few) == jax.tree.structure(many)
    assert jax.tree.leaves(few) == [0.1]


@pytest.mark.parametrize("path", sorted(RUNTIME_FIELDS - {"augmentation.mosaic"}))
def test_trials_that_differ_in_a_runtime_field_have_states_for_the_same_program(path, small_mnist):
    name = {"optimizer.momentum": "sgd", "optimizer.weight_decay": "adamw"}.get(path, "adam")
    details = {"augmentation.randaugment_magnitude": {"randaugment": 2}}
    details["augmentation.resized_crop_aspect"] = {"resized_crop": 0.08}
    base = Experiment(optimizer=Optimizer(name), augmentation=Augmentation(**details.get(path, {})))
    first, second = (target(with_params(base, {path: value}), small_mnist) for value in RUNTIME_VALUES[path])
    assert jax.tree.structure(first) == jax.tree.structure(second)
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(first)] == [
        (leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(second)
    ]


@pytest.mark.parametrize(
    "path", ["augmentation.shift", "augmentation.mixup", "optimizer.clip_norm", "training.ema_decay"]
)
def test_a_strength_of_zero_and_no_value_are_another_program(path, small_mnist):
    off = 0 if path.startswith("augmentation") else None
    assert field_value(Experiment(augmentation=Augmentation()), path) == off
    first, second = (target(with_params(Experiment(), {path: value}), small_mnist) for value in (off, 0.5))
    assert jax.tree.structure(first) != jax.tree.structure(second)
