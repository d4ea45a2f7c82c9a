"""What trials are ranked by: named by the experiment's task, with its direction."""

import pickle

import pytest

from flaxcnn.config import Data, Experiment, Task
from flaxcnn.errors import ConfigError
from flaxcnn.sweeps import Choice, Float, Sweep
from flaxcnn.sweeps.metric import RankedBy, ranked_by
from flaxcnn.sweeps.searchable import for_trials_of
from tests.error_fields import fields
from tests.sweeps.metrics import ACCURACY, LOSS, R2

REGRESSION = Experiment(data=Data(validation=0.1), task=Task("regression"))
SEVERAL = Experiment(task=Task("several", heads=("area=regression", "species=classification")))


@pytest.mark.parametrize(
    ("experiment", "by"),
    [
        (Experiment(), ACCURACY),
        (REGRESSION, R2),
        (Experiment(task=Task("multilabel")), RankedBy("validation_micro_f1", higher_is_better=True, fraction=True)),
        (SEVERAL, RankedBy("validation_area_r2", higher_is_better=True)),
    ],
)
def test_a_sweep_that_names_no_metric_is_ranked_by_the_first_that_its_task_logs(experiment, by):
    assert ranked_by(None, experiment) == by


@pytest.mark.parametrize(
    ("experiment", "by"),
    [
        (Experiment(), ACCURACY),
        (Experiment(), LOSS),
        (REGRESSION, LOSS),
        (REGRESSION, RankedBy("validation_rmse", higher_is_better=False)),
        (SEVERAL, RankedBy("validation_area_mae", higher_is_better=False)),
        (SEVERAL, RankedBy("validation_species_accuracy", higher_is_better=True, fraction=True)),
    ],
)
def test_which_end_is_best_and_whether_it_is_a_fraction_are_the_tasks_to_say(experiment, by):
    assert ranked_by(by.name, experiment) == by


@pytest.mark.parametrize("name", ["validation_acuracy", "train_loss", "test_rmse", "validation_accuracy", "rmse", ""])
def test_what_the_task_does_not_measure_is_refused_with_what_it_does(name):
    with pytest.raises(ConfigError) as caught:
        ranked_by(name, REGRESSION)
    known = "validation_r2 or validation_rmse or validation_mae or validation_loss"
    assert fields(caught.value) == ("sweep.metric", known, name)
    assert "\n" not in str(caught.value)


def test_a_score_is_higher_the_better_the_value_is_and_gives_the_value_back():
    assert (ACCURACY.score(0.9), LOSS.score(0.25)) == (0.9, -0.25)
    assert LOSS.score(LOSS.score(0.25)) == 0.25


def test_other_processes_can_be_handed_it():
    assert pickle.loads(pickle.dumps(ranked_by("validation_rmse", REGRESSION))) == ranked_by(
        "validation_rmse", REGRESSION
    )


def test_trials_of_different_losses_are_compared_by_what_they_have_in_common():
    asked = Sweep({"task.loss": Choice("squared", "absolute")})
    assert for_trials_of(asked, REGRESSION, R2).task == Task("regression")
    with pytest.raises(ConfigError) as caught:
        for_trials_of(asked, REGRESSION, LOSS)
    assert fields(caught.value) == ("the sweep's space, task.loss", None, None)


def test_the_width_of_the_huber_loss_is_no_matter_of_the_loss():
    huber = Experiment(data=Data(validation=0.1), task=Task("regression", loss="huber"))
    asked = Sweep({"task.huber_delta": Float(0.5, 2.0)})
    for_trials_of(asked, huber, R2)
    with pytest.raises(ConfigError) as caught:
        for_trials_of(asked, huber, LOSS)
    assert fields(caught.value) == ("the sweep's space, task.huber_delta", None, None)


@pytest.mark.parametrize("path", ["task.name"])
def test_trials_of_different_tasks_are_not_compared(path):
    experiment = Experiment(data=Data(validation=0.1))
    with pytest.raises(ConfigError) as caught:
        for_trials_of(Sweep({path: Choice("classification", "multilabel")}), experiment, ACCURACY)
    assert fields(caught.value) == (f"the sweep's space, {path}", None, None)
