"""Searchers: what they propose, and that it follows from what they are given alone."""

import dataclasses
import importlib.util
import itertools
import json
import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from flaxcnn.config import Experiment, Optimizer
from flaxcnn.errors import ConfigError
from flaxcnn.sweeps.searchers import SEARCHERS, Grid, Listed, Random, Sobol
from flaxcnn.sweeps.space import Choice, Float, Int, When, with_params
from flaxcnn.sweeps.trials import Status, Trial

CHECKOUT = Path(__file__).parents[2]
EXPERIMENT = Experiment()
RATE = "optimizer.learning_rate"
NUMBERS = {"optimizer.learning_rate": Float(1e-4, 1e-1, log=True), "training.label_smoothing": Float(0, 0.5)}
MIXED = {
    "optimizer.name": Choice("adam", "sgd"),
    "optimizer.learning_rate": Float(1e-4, 1e-1, log=True),
    "optimizer.momentum": When("optimizer.name", "sgd", Float(0.5, 0.99)),
    "optimizer.b1": When("optimizer.name", ("adam", "adamw"), Float(0.5, 0.99)),
    "training.batch_size": Int(16, 96, step=16),
}

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
EVERY = [pytest.param(name, marks=needs_torch) if name == "gp" else name for name in SEARCHERS]


def score(params):
    """Return a score that is best, 0, at a learning rate of 10^-2.5 and a smoothing of 0.1."""
    rate = math.log10(params["optimizer.learning_rate"]) + 2.5
    return -(rate**2) - (10 * (params.get("training.label_smoothing", 0.1) - 0.1)) ** 2


def searched(name, space, trials, seed=0, ends=lambda number: Status.COMPLETE):
    """Return the trials of a search one after the other, in which each is scored before the next is proposed."""
    searcher, history = SEARCHERS[name](), []
    for number in range(trials):
        params, attributes = searcher.propose(space, EXPERIMENT, number, history, seed)
        status = ends(number)
        scores = () if status in (Status.RUNNING, Status.FAILED) else (score(params),)
        history.append(Trial(number, params, status, scores=scores, attributes=attributes))
    return history


def combinations(grid, space, experiment=EXPERIMENT):
    return [
        tuple(grid.propose(space, experiment, n, [], 0).params.values()) for n in range(grid.size(space, experiment))
    ]


def test_a_grid_is_every_combination_and_the_last_field_changes_first():
    space = {"training.epochs": Int(1, 3), "optimizer.name": Choice("adam", "lion"), "model.dropout": Float(0, 0.5)}
    expected = list(itertools.product([1, 2, 3], ["adam", "lion"], [0, 0.25, 0.5]))
    assert combinations(Grid(points=3), space) == expected


def test_a_grid_has_conditional_fields_only_where_they_are_active():
    space = {
        "optimizer.name": Choice("adam", "sgd", "lion"),
        "optimizer.nesterov": When("optimizer.name", "sgd", Choice(False, True)),
        "optimizer.momentum": When("optimizer.nesterov", True, Choice(0.5, 0.9)),
        "training.epochs": Choice(1, 2),
    }
    assert combinations(Grid(), space) == [
        *(("adam", 1), ("adam", 2)),
        *(("sgd", False, 1), ("sgd", False, 2)),
        *(("sgd", True, 0.5, 1), ("sgd", True, 0.5, 2), ("sgd", True, 0.9, 1), ("sgd", True, 0.9, 2)),
        *(("lion", 1), ("lion", 2)),
    ]


def test_a_condition_that_the_experiment_decides_adds_to_a_grid_or_not():
    space = {"training.epochs": Int(1, 2), "optimizer.momentum": When("optimizer.name", "sgd", Choice(0.5, 0.9))}
    assert combinations(Grid(), space) == [(1,), (2,)]
    assert len(combinations(Grid(), space, Experiment(optimizer=Optimizer("sgd")))) == 4


def test_a_combination_of_a_huge_grid_is_found_by_its_number():
    fields = ["flip", "shift", "rotate", "scale", "shear", "elastic", "mixup"]
    space = {f"augmentation.{field}": Float(0.01, 0.81) for field in fields}
    assert Grid(points=81).size(space, EXPERIMENT) == 81**7
    digits = [3, 80, 0, 41, 7, 79, 12]
    number = sum(digit * 81**power for power, digit in enumerate(reversed(digits)))
    params = Grid(points=81).propose(space, EXPERIMENT, number, [], 0).params
    assert list(params.values()) == pytest.approx([0.01 * (digit + 1) for digit in digits])


def test_random_values_are_spread_evenly_over_the_domains():
    drawn = [Random().propose(NUMBERS, EXPERIMENT, number, [], 3).params for number in range(500)]
    rates = np.log10([params["optimizer.learning_rate"] for params in drawn])
    smoothings = np.array([params["training.label_smoothing"] for params in drawn])
    assert scipy.stats.kstest(rates, scipy.stats.uniform(-4, 3).cdf).pvalue > 0.01
    assert scipy.stats.kstest(smoothings, scipy.stats.uniform(0, 0.5).cdf).pvalue > 0.01
    assert abs(np.corrcoef(rates, smoothings)[0, 1]) < 0.15  # 3.3 standard deviations


@pytest.mark.parametrize("name", [name for name in EVERY if name != "grid"])
def test_another_seed_proposes_something_else(name):
    proposals = [SEARCHERS[name]().propose(MIXED, EXPERIMENT, 0, [], seed).params for seed in (0, 1, 2**32 - 1)]
    assert len({params["optimizer.learning_rate"] for params in proposals}) == 3


def test_sobol_points_are_scipys_sequence_in_the_domains():
    points = scipy.stats.qmc.Sobol(2, scramble=True, seed=5).random(16)
    proposed = [Sobol().propose(NUMBERS, EXPERIMENT, number, [], 5).params for number in range(16)]
    expected = [[1e-4 * 1000**first, 0.5 * second] for first, second in points]
    assert [list(params.values()) for params in proposed] == [pytest.approx(pair) for pair in expected]


def test_of_a_power_of_two_sobol_points_each_part_of_a_domain_has_its_share():
    space = {**NUMBERS, "optimizer.name": Choice("adam", "lion")}
    drawn = [Sobol().propose(space, EXPERIMENT, number, [], 0).params for number in range(32)]
    parts = [int((math.log10(params["optimizer.learning_rate"]) + 4) / 3 * 32) for params in drawn]
    assert sorted(parts) == list(range(32))
    assert sum(params["optimizer.name"] == "adam" for params in drawn) == 16


def test_a_conditional_field_has_a_dimension_of_its_own_so_that_later_fields_keep_theirs():
    later = {"optimizer.learning_rate": Float(1e-4, 1e-2), "training.label_smoothing": Float(0, 0.5)}
    middle = {"optimizer.momentum": When("optimizer.name", "sgd", Float(0.5, 0.9))}
    space = {"optimizer.learning_rate": later["optimizer.learning_rate"], **middle, **later}
    for searcher, number in itertools.product((Sobol(), Random()), range(4)):
        active = searcher.propose(space, Experiment(optimizer=Optimizer("sgd")), number, [], 0).params
        inactive = searcher.propose(space, EXPERIMENT, number, [], 0).params
        assert {path: active[path] for path in inactive} == inactive
        assert "optimizer.momentum" in active


@pytest.mark.parametrize("name", EVERY)
def test_every_proposal_is_one_that_the_experiment_can_have(name):
    for trial in searched(name, MIXED, 14):
        with_params(EXPERIMENT, trial.params)
        assert ("optimizer.momentum" in trial.params) == (trial.params["optimizer.name"] == "sgd")
        assert {type(value) for value in trial.params.values()} <= {int, float, str}
        assert json.loads(json.dumps(dict(trial.attributes))) == dict(trial.attributes)


ALONE = """
import json, pickle, sys
searcher, calls = pickle.load(sys.stdin.buffer)
print(json.dumps([searcher.propose(*arguments).params for arguments in calls]))
"""


@pytest.mark.parametrize("name", EVERY)
def test_a_process_of_its_own_proposes_the_same_for_the_same_history(name):
    ends = [Status.COMPLETE, Status.COMPLETE, Status.COMPLETE, Status.STOPPED, Status.FAILED, Status.RUNNING]
    history = searched(name, MIXED, 24, seed=7, ends=lambda number: ends[number % 6])
    calls = [(MIXED, EXPERIMENT, number, history[:number], 7) for number in (23, 3)]
    alone = subprocess.run(
        [sys.executable, "-c", ALONE],
        input=pickle.dumps((SEARCHERS[name](), calls)),
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        check=True,
    )
    assert json.loads(alone.stdout) == [history[23].params, history[3].params]


@pytest.mark.parametrize(("name", "trials"), [("tpe", 60), ("cmaes", 90), pytest.param("gp", 24, marks=needs_torch)])
def test_late_proposals_are_far_nearer_to_the_best_than_random_ones(name, trials):
    late = [score(trial.params) for trial in searched(name, NUMBERS, trials)[-20:]]
    random = [score(trial.params) for trial in searched("random", NUMBERS, 200)]
    assert np.median(late) > np.quantile(random, 0.85)


def test_cma_es_goes_from_generation_to_generation_though_every_sampler_is_a_fresh_one():
    history = searched("cmaes", NUMBERS, 61)
    generations = [trial.attributes.get("cma:generation", 0) for trial in history]
    # The first trial is random; a generation in 2 dimensions has 4 + floor(3 ln 2) = 6 trials.
    assert generations == [0, *(number // 6 for number in range(60))]


@pytest.mark.parametrize("name", ["tpe", "cmaes"])
def test_searchers_learn_from_trials_that_were_stopped(name):
    stopped = searched(name, NUMBERS, 70, ends=lambda number: Status.STOPPED if number % 4 else Status.COMPLETE)
    random = [score(trial.params) for trial in searched("random", NUMBERS, 200)]
    assert np.median([score(trial.params) for trial in stopped[-20:]]) > np.quantile(random, 0.85)


def test_tpe_keeps_away_from_where_others_run():
    history = searched("tpe", NUMBERS, 30)
    best = max(history, key=lambda trial: trial.scores[-1]).params
    running = [Trial(30 + number, best, Status.RUNNING) for number in range(5)]

    def distance(params):
        decades = math.log10(params["optimizer.learning_rate"] / best["optimizer.learning_rate"])
        return math.hypot(decades / 3, (params["training.label_smoothing"] - best["training.label_smoothing"]) / 0.5)

    def near(pending):
        tpe, trials = SEARCHERS["tpe"](), [*history, *pending]
        proposals = (tpe.propose(NUMBERS, EXPERIMENT, number, trials, 0).params for number in range(35, 65))
        return sum(distance(params) < 0.1 for params in proposals)

    assert near(running) < near([]) / 2


@pytest.mark.parametrize("name", ["tpe", "cmaes"])
def test_a_search_prints_and_warns_of_nothing(name, capfd, recwarn):
    searched(name, MIXED, 20)
    assert capfd.readouterr() == ("", "")
    # Not of this test: what earlier ones left open, collected now.
    assert not [each for each in recwarn if not issubclass(each.category, ResourceWarning)]


@pytest.mark.parametrize(
    ("name", "package", "line"),
    [
        ("tpe", "optuna", "sweep.searcher: this searcher needs optuna. Run pip install 'flaxcnn[sweep]'"),
        ("cmaes", "cmaes", "sweep.searcher: this searcher needs cmaes. Run pip install 'flaxcnn[sweep]'"),
        ("gp", "torch", "sweep.searcher: this searcher needs torch. Run pip install torch"),
    ],
)
def test_a_missing_package_is_named_at_the_first_proposal_with_what_installs_it(name, package, line, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # as Python has it where an import fails
    with pytest.raises(ConfigError) as caught:
        SEARCHERS[name]().propose(NUMBERS, EXPERIMENT, 0, [], 0)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Grid(points=1), "Grid.points: out of range; expected at least 2, found 1"),
        (lambda: Grid(points=2.0), "Grid.points: wrong type; expected a whole number, found 2.0"),
        (lambda: SEARCHERS["tpe"](startup=0), "TPE.startup: out of range; expected at least 1, found 0"),
    ],
)
def test_a_searcher_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == message


def test_importing_the_searchers_imports_neither_jax_nor_optuna():
    names = "import flaxcnn.sweeps.files, sys; print(*({'jax', 'optuna', 'scipy', 'torch'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", names], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == ""


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({RATE: 5.0}, f"Listed.settings[1], {RATE}: out of range; expected a value of Float("),
        ({RATE: "fast"}, "expected a value of Float("),
        ({RATE: True}, "expected a value of Float("),
        ({"training.epochs": 4}, "expected a value of Int(low=1, high=5, log=False, step=2), found 4"),
        ({"training.epochs": 3.0}, "expected a value of Int("),
        ({"optimizer.name": "lion"}, "expected a value of Choice(options=('adam', 'sgd')), found 'lion'"),
        ({"optimizer.momentum": 1.5}, "Listed.settings[1], optimizer.momentum: out of range"),
        ({"optimizer.lerning_rate": 0.1}, "'optimizer.lerning_rate' is not searched. Did you mean"),
    ],
)
def test_a_listed_setting_that_lies_outside_of_the_space_is_refused_in_one_line(setting, message):
    space = {
        RATE: Float(1e-4, 1e-1, log=True),
        "training.epochs": Int(1, 5, step=2),
        "optimizer.name": Choice("adam", "sgd"),
        "optimizer.momentum": When("optimizer.name", "sgd", Float(0, 0.9)),
    }
    within = {RATE: 1e-4, "training.epochs": 5, "optimizer.name": "sgd", "optimizer.momentum": 0}
    Listed((within, {})).check(space)
    with pytest.raises(ConfigError) as caught:
        Listed((within, setting)).check(space)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# --- what a study that came from elsewhere says


class Planted:
    """What a pickle makes when it is loaded: here a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_that_a_study_holds_is_never_loaded(tmp_path):
    history = searched("cmaes", NUMBERS, 20)
    assert not any("optimizer" in name for trial in history for name in trial.attributes)  # nor is one kept
    planted = {"cma:optimizer:0": pickle.dumps(Planted(tmp_path / "ran")).hex(), "cma:generation": 0}
    history[10] = dataclasses.replace(history[10], attributes=planted)
    for name in ("cmaes", "tpe"):
        with pytest.raises(ConfigError, match=r"a trial's searcher: damaged; .* found cma:optimizer:0"):
            SEARCHERS[name]().propose(NUMBERS, EXPERIMENT, 20, history, 0)
    assert not (tmp_path / "ran").exists()


def test_numbers_that_are_no_distribution_are_refused_and_end_no_proposal(tmp_path):
    history = searched("cmaes", NUMBERS, 20)
    (place,) = (number for number, trial in enumerate(history) if trial.attributes.get("cma:state", {}).get("_g") == 2)
    kept = history[place].attributes
    for changes in (
        *({"_mean": value} for value in ([], [0.5] * 3, [math.nan, 0], [10**400, 0], "text", None)),
        *({"_sigma": value} for value in (0.0, -1, math.inf, None, [1])),
        *({"_g": value} for value in (-1, 10**400, 1.5)),
        *({"_c_1d": value} for value in ([1.0], [[1.0, 0.0], [0.0, 1.0]], [math.inf] * 3)),
    ):
        tampered = {**kept, "cma:state": {**kept["cma:state"], **changes}}
        history[place] = dataclasses.replace(history[place], attributes=tampered)
        with pytest.raises(ConfigError, match="a trial's searcher"):
            SEARCHERS["cmaes"]().propose(NUMBERS, EXPERIMENT, 18, history[:18], 0)


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 9999, '{"optimizer.eps": 1.0}', '{"optimizer.learning_rate": "x"}'])
def test_what_tpe_kept_of_a_running_trial_is_of_the_space_or_refused(text):
    history = searched("tpe", NUMBERS, 14, ends=lambda number: Status.RUNNING if number == 13 else Status.COMPLETE)
    history[13] = dataclasses.replace(history[13], attributes={"tpe:relative_params:0": text})
    with pytest.raises(ConfigError, match="a trial's searcher"):
        SEARCHERS["tpe"]().propose(NUMBERS, EXPERIMENT, 14, history, 0)
