"""Sweep files: what they bind, what is refused, and what tells one sweep from another."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flaxcnn.config import Data, Experiment, Model, Training
from flaxcnn.errors import ConfigError
from flaxcnn.sweeps.files import Sweep, fingerprint, load_sweep_file, sweeps
from flaxcnn.sweeps.schedulers import ASHA, PopulationBased, Straight
from flaxcnn.sweeps.searchers import TPE, Grid, Random
from flaxcnn.sweeps.space import Choice, Float, Int, When
from flaxcnn.sweeps.space_check import check_space
from tests.sweeps.metrics import ACCURACY, LOSS

CHECKOUT = Path(__file__).parents[2]
SPACE = {"optimizer.learning_rate": Float(1e-4, 1e-2, log=True)}

WHOLE = """
from flaxcnn.config import Data, Experiment
from flaxcnn.sweeps.files import Sweep
from flaxcnn.sweeps.schedulers import ASHA
from flaxcnn.sweeps.searchers import TPE
from flaxcnn.sweeps.space import Float

experiment = Experiment(data=Data(validation=0.1))
sweep = Sweep({"optimizer.learning_rate": Float(1e-4, 1e-2, log=True)}, TPE(), ASHA(), trials=24, seed=5)
"""


def written(folder, text):
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


def test_a_users_own_file_is_read(tmp_path):
    file = load_sweep_file(written(tmp_path, WHOLE))
    assert file.name == "mine"
    assert file.experiment == Experiment(data=Data(validation=0.1))
    assert file.sweep == Sweep(SPACE, TPE(), ASHA(), trials=24, metric=None, seed=5)


def test_a_file_may_bind_the_sweep_alone_or_the_experiment_alone(tmp_path):
    alone = load_sweep_file(written(tmp_path, WHOLE.replace("experiment =", "base =")))
    assert (alone.experiment, alone.sweep.trials) == (None, 24)
    assert load_sweep_file("paper_mnist") == ("paper_mnist", Experiment(), None)


def test_the_sweeps_of_the_library_are_found_by_name_and_can_be_searched():
    assert sorted(sweeps()) == sorted(path.stem for path in (CHECKOUT / "configs" / "sweeps").glob("*.py"))
    for name in sweeps():
        file = load_sweep_file(name)
        check_space(file.sweep.space, file.experiment or Experiment())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "expected sweep = Sweep(...), or experiment = Experiment(...), found neither"),
        ("sweep = 3", "no sweep in this config file; expected sweep = Sweep(...), found int"),
        ("experiment = 3", "no experiment in this config file; expected experiment = Experiment(...), found int"),
        ("sweep =", "line 1: SyntaxError"),
        (WHOLE.replace("TPE(), ASHA()", "ASHA(), TPE()"), "sweep.searcher: wrong type; expected Grid() or Random() or"),
        (
            WHOLE.replace("1e-4, 1e-2", "1e-2, 1e-4"),
            "Float.low: out of range; expected less than high, 0.0001, found 0.01",
        ),
    ],
)
def test_a_sweep_file_that_fails_is_named_in_one_line(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_sweep_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(ConfigError, match=r"paper_minst: unknown config.*Did you mean 'paper_mnist'"):
        load_sweep_file("paper_minst")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"space": [1]}, "sweep.space: wrong type; expected {"),
        ({"searcher": Random}, "sweep.searcher: wrong type; expected Grid() or Random() or Sobol() or TPE() or"),
        ({"scheduler": "asha"}, "sweep.scheduler: wrong type; expected Straight() or"),
        ({"trials": 0}, "sweep.trials: out of range; expected at least 1, found 0"),
        ({"trials": 1.5}, "sweep.trials: wrong type; expected a whole number, found 1.5"),
        ({"seed": -1}, "sweep.seed: out of range; expected 0 to 2**32 - 1, found -1"),
        ({"seed": True}, "sweep.seed: wrong type; expected a whole number, found True"),
        ({"metric": 3}, "sweep.metric: wrong type; expected a name or None, found 3"),
    ],
)
def test_a_sweep_with_a_wrong_value_is_refused_by_name(values, message):
    with pytest.raises(ConfigError) as caught:
        Sweep(**{"space": SPACE, **values})
    assert message in str(caught.value)


EXPERIMENT = Experiment(data=Data(validation=0.1), training=Training(class_weights=tuple(range(1, 11))))
SWEEP = Sweep(
    {
        "optimizer.name": Choice("adam", "sgd"),
        "optimizer.momentum": When("optimizer.name", "sgd", Float(0.5, 0.9)),
        "training.epochs": Int(1, 3),
    },
    TPE(),
    PopulationBased(),
)


def test_a_fingerprint_comes_back_from_json_as_it_was():
    marks = fingerprint(SWEEP, EXPERIMENT, ACCURACY)
    assert json.loads(json.dumps(marks)) == marks
    assert marks["searcher"] == {"kind": "TPE", "startup": 10}
    assert marks["space"]["optimizer.momentum"] == {
        "kind": "When",
        "path": "optimizer.name",
        "values": ["sgd"],
        "domain": {"kind": "Float", "low": 0.5, "high": 0.9, "log": False},
    }


def test_a_sweep_of_a_users_own_models_is_another_once_their_code_changes(tmp_path):
    names = [f"{tmp_path / name}.py:Net" for name in ("searched", "set")]
    space = {"model.name": When("optimizer.name", "adam", Choice("paper_cnn", names[0]))}
    sweep, experiment = replace(SWEEP, space=space), replace(EXPERIMENT, model=Model(names[1]))
    marks = []
    for changed in ("", *names):
        for name in names:
            (tmp_path / name.removesuffix(":Net")).write_text(f"Net = {name == changed}")
        marks.append(fingerprint(sweep, experiment, ACCURACY))
    assert marks[0]["code"].keys() == set(names)
    assert marks[0] != marks[1] != marks[2] != marks[0]
    assert "code" not in fingerprint(SWEEP, EXPERIMENT, ACCURACY)


@pytest.mark.parametrize(
    "values",
    [
        {"space": dict(reversed(SWEEP.space.items()))},
        {"space": {**SWEEP.space, "training.epochs": Int(1, 4)}},
        {"searcher": TPE(startup=11)},
        {"searcher": Grid()},
        {"scheduler": PopulationBased(generations=6)},
        {"scheduler": Straight()},
        {"seed": 1},
    ],
)
def test_another_sweep_has_another_fingerprint(values):
    assert fingerprint(replace(SWEEP, **values), EXPERIMENT, ACCURACY) != fingerprint(SWEEP, EXPERIMENT, ACCURACY)


def test_a_fingerprint_has_the_name_of_what_trials_are_ranked_by_whether_or_not_the_sweep_says_it():
    marks = fingerprint(SWEEP, EXPERIMENT, ACCURACY)
    assert marks["metric"] == "validation_accuracy"
    assert fingerprint(replace(SWEEP, metric="validation_accuracy"), EXPERIMENT, ACCURACY) == marks
    assert fingerprint(SWEEP, EXPERIMENT, LOSS) == {**marks, "metric": "validation_loss"}


def test_another_experiment_has_another_fingerprint_and_more_trials_have_the_same():
    assert fingerprint(SWEEP, Experiment(), ACCURACY) != fingerprint(SWEEP, EXPERIMENT, ACCURACY)
    assert fingerprint(replace(SWEEP, trials=100), EXPERIMENT, ACCURACY) == fingerprint(SWEEP, EXPERIMENT, ACCURACY)
    bound = replace(SWEEP, scheduler=PopulationBased().bound(lambda params, rng: params, seed=3))
    assert fingerprint(bound, EXPERIMENT, ACCURACY) == fingerprint(SWEEP, EXPERIMENT, ACCURACY)
