"""Whole sweeps over tasks other than classes: ranked, promoted and copied by what their task measures."""

import csv
from functools import partial

import numpy as np
import optuna
import pytest

from flaxcnn.config import Data, Experiment, Logging, Model, Task, Training, load_experiment
from flaxcnn.data import Dataset, Split
from flaxcnn.runs.given import Loaded
from flaxcnn.sweeps import ASHA, Float, Listed, PopulationBased, SuccessiveHalving, Sweep
from flaxcnn.sweeps.execution import search
from flaxcnn.sweeps.execution.trainer import Trainer
from flaxcnn.sweeps.options import Execution
from flaxcnn.sweeps.sweep import sweep

pytestmark = pytest.mark.sweeps

RATE = "optimizer.learning_rate"
RATES = {RATE: Float(1e-5, 1e-1, log=True)}
TRIED = (0.1, 1e-3, 1e-5, 1e-2)  # the first diverges, so that no order but the metric's makes a good one the first
STEPS = 16  # 4 epochs of 64 images, 16 at a time


def bright(task):
    """Images whose mean brightness is to be told; of several tasks, its half too, and it is unknown for some."""
    generator = np.random.default_rng(0)
    levels_N = generator.integers(20, 236, 96)
    images = np.clip(levels_N[:, None, None, None] + generator.integers(-20, 21, (96, 8, 8, 1)), 0, 255).astype(
        np.uint8
    )
    numbers = levels_N.astype(np.float32)
    names = ("brightness",)
    if task == "several":
        unknown = np.where(np.arange(96) % 5 == 0, np.nan, numbers).astype(np.float32)
        numbers = {"size": unknown, "half": (levels_N >= 128).astype(np.int32)}
        names = {"size": names, "half": ("dark", "bright")}

    def split(part):
        own = {name: array[part] for name, array in numbers.items()} if task == "several" else numbers[part]
        return Split(images[part], own)

    dataset = Dataset("bright", split(slice(80)), split(slice(80, 96)), names, {"all": "0" * 64})
    return Loaded(dataset, split(slice(64)), split(slice(64, 80)))


@pytest.fixture
def swept(tmp_path, monkeypatch):
    """Search over bright images: `swept(scheduler, task, metric)`; the study as Optuna reads it, and its folder."""

    def swept(scheduler, task, metric, trials):
        monkeypatch.setattr(search, "Trainer", partial(Trainer, load=lambda experiment: bright(task.name)))
        experiment = Experiment(
            data=Data("bright", validation=0.2),
            task=task,
            model=Model("small_cnn"),
            training=Training(epochs=4, batch_size=16),
            logging=Logging(every=STEPS),
        )
        asked = Sweep(
            RATES, Listed(tuple({RATE: rate} for rate in TRIED[:trials])), scheduler, trials=trials, metric=metric
        )
        out = tmp_path / "out"
        assert sweep("bright", asked, experiment, Execution(out=str(out), executor="map")) == 0
        return optuna.load_study(study_name="bright", storage=f"sqlite:///{out}/study.db").trials, out

    return swept


def rows(out):
    with (out / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


def test_trials_of_a_regression_are_promoted_and_the_best_is_chosen_by_the_lowest_error(swept):
    """By hand: of 4 trials the 2 with the lowest error at 4 steps go on to 8, the better of them to 16."""
    trials, out = swept(SuccessiveHalving(reduction=2, least=0.25), Task("regression"), "validation_rmse", 4)
    at = {
        step: {t.number: t.intermediate_values[step] for t in trials if step in t.intermediate_values}
        for step in (4, 8, STEPS)
    }
    assert len(set(at[4].values())) == 4
    assert all(error > 0 for error in at[4].values())
    assert set(at[8]) == set(sorted(at[4], key=at[4].get)[:2])
    (best,) = at[STEPS]
    assert best == min(at[8], key=at[8].get)
    assert trials[best].value == at[STEPS][best]
    assert trials[best].state.name == "COMPLETE"

    table = rows(out)
    assert [float(row["validation_rmse"]) for row in table] == [t.value for t in trials]
    assert load_experiment(str(out / "best.py")).experiment.optimizer.learning_rate == trials[best].params[RATE]
    assert (out / "learning_curves.png").exists()
    assert (out / "hyperparameters.png").exists()


def test_copies_of_a_population_begin_with_the_state_of_the_trial_with_the_lowest_error(swept):
    trials, out = swept(PopulationBased(generations=2, replaced=0.5), Task("regression"), "validation_mae", 2)
    first = {t.number: t.intermediate_values[STEPS // 2] for t in trials[:2]}
    assert rows(out)[2]["parent"] == str(min(first, key=first.get))


def test_of_several_heads_one_is_ranked_by_and_its_unknown_targets_count_for_nothing(swept):
    heads = Task("several", heads=("half=classification", "size=regression"))
    trials, out = swept(ASHA(reduction=2, least=0.5), heads, "validation_size_rmse", 3)
    complete = {t.number: t.value for t in trials if t.state.name == "COMPLETE"}
    best = min(complete, key=complete.get)
    assert all(0 < error < 500 for error in complete.values())  # in units of brightness: not NaN, not infinite
    assert load_experiment(str(out / "best.py")).experiment.optimizer.learning_rate == trials[best].params[RATE]
