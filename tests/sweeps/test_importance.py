"""Importance is Optuna's, of trials that were trained equally far."""

import random

import optuna
import pytest

from flaxcnn.sweeps.report.importance import equally_trained, importances
from flaxcnn.sweeps.space import Choice, Float, Int, When
from flaxcnn.sweeps.trials import Status, Trial

SPACE = {
    "optimizer.name": Choice("sgd", "adam"),
    "optimizer.momentum": When("optimizer.name", "sgd", Float(0, 0.9)),
    "optimizer.learning_rate": Float(1e-4, 1, log=True),
    "training.batch_size": Int(16, 128),
}


def trials(count):
    """Complete trials whose score follows from the momentum, where there is one, and the learning rate."""
    generator, found = random.Random(0), []
    for number in range(count):
        params = {"optimizer.name": generator.choice(["sgd", "adam"])}
        if params["optimizer.name"] == "sgd":
            params["optimizer.momentum"] = generator.uniform(0, 0.9)
        params["optimizer.learning_rate"] = 10 ** generator.uniform(-4, 0)
        params["training.batch_size"] = generator.randint(16, 128)
        score = -abs(params["optimizer.learning_rate"] - 0.01) + 0.01 * params.get("optimizer.momentum", 0.3)
        found.append(Trial(number, params, Status.COMPLETE, scores=(score,)))
    return found


@pytest.mark.filterwarnings("ignore")
def test_it_is_optunas_of_a_study_with_the_same_trials():
    remembered = {
        "optimizer.name": optuna.distributions.CategoricalDistribution(["sgd", "adam"]),
        "optimizer.momentum": optuna.distributions.FloatDistribution(0, 0.9),
        "optimizer.learning_rate": optuna.distributions.FloatDistribution(1e-4, 1, log=True),
        "training.batch_size": optuna.distributions.IntDistribution(16, 128),
    }
    study = optuna.create_study(direction="maximize")
    for trial in trials(100):
        distributions = {path: remembered[path] for path in trial.params}
        study.add_trial(optuna.create_trial(params=trial.params, distributions=distributions, value=trial.scores[-1]))
    found = importances(equally_trained(trials(100)), SPACE)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.1)
    assert found == pytest.approx(optuna.importance.get_param_importances(study, evaluator=evaluator))
    assert next(iter(found)) == "optimizer.learning_rate"
    assert sum(found.values()) == pytest.approx(1)


@pytest.mark.filterwarnings("error", "ignore::ResourceWarning")  # which tell of what earlier tests left open
def test_it_neither_warns_nor_logs_nor_changes_what_optuna_logs(capfd):
    before = optuna.logging.get_verbosity()
    importances(equally_trained(trials(10)), SPACE)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


def test_where_too_few_are_complete_the_trials_of_a_rung_compare_as_they_stood_at_its_end():
    stopped = [Trial(number, {"a.b": number}, Status.STOPPED, scores=(0.5,)) for number in range(20)]
    reached = [Trial(20 + number, {"a.b": number}, Status.STOPPED, scores=(0.6, 0.7 + number)) for number in range(10)]
    complete = [Trial(30 + number, {"a.b": number}, Status.COMPLETE, scores=(0.7, 0.8, 0.9)) for number in range(2)]
    found = equally_trained([*stopped, *reached, *complete])
    assert [score for _, score in found.scored] == [*(0.7 + number for number in range(10)), 0.8, 0.8]
    assert found.described == "of 12 trials at the end of rung 2"


def test_rungs_of_several_brackets_do_not_compare():
    halves = [Trial(number, {"a.b": number}, Status.STOPPED, bracket=number % 2, scores=(0.5,)) for number in range(18)]
    assert equally_trained(halves) is None
    assert equally_trained([*halves, *halves]).described == "of 18 trials at the end of rung 1"


def test_a_trial_that_began_with_anothers_state_counts_from_its_own_rung_on():
    copies = [
        Trial(number, {"a.b": number}, Status.PAUSED, first_rung=1, parent=0, scores=(0.25,)) for number in range(10)
    ]
    found = equally_trained(copies)
    assert found.described == "of 10 trials at the end of rung 2"
    assert {score for _, score in found.scored} == {0.25}
