"""The best settings trained again with fresh seeds: which ones, with which seeds, and what is said of them."""

from statistics import mean

import pytest
from scipy import stats

from flaxcnn.config import Experiment, Training
from flaxcnn.errors import TrainingError
from flaxcnn.sweeps import Float, Int, Random, Sweep
from flaxcnn.sweeps.confirm import confirmation_of
from flaxcnn.sweeps.execution.search import Search
from flaxcnn.sweeps.execution.trainer import Outcome
from flaxcnn.sweeps.trials import Status, Trial
from tests.sweeps.metrics import ACCURACY, LOSS

RATE, SEED = "optimizer.learning_rate", "training.seed"
EXPERIMENT = Experiment(training=Training(seed=4))


@pytest.fixture
def search(tmp_path):
    """Make a search in the test's folder: `search()`, with fields of `Sweep` and the number of parallel trials."""

    def search(space=None, parallel=1, by=ACCURACY, **fields):
        sweep = Sweep(space or {RATE: Float(1e-4, 1e-2, log=True)}, Random(), trials=6, **fields)
        return Search("lr", sweep, EXPERIMENT, by, tmp_path, f"sqlite:///{tmp_path}/study.db", "map", parallel)

    return search


def trial(number, rate, *scores, status=Status.COMPLETE, seed=None):
    params = {RATE: rate} if seed is None else {RATE: rate, SEED: seed}
    return Trial(number, params, status, scores=scores)


RATES = [trial(0, 0.001, 0.90), trial(1, 0.002, 0.95), trial(2, 0.003, 0.92), trial(3, 0.004, 0.93)]


def trained(confirmation, value):
    """Let every trial of it end with what `value` says of its rate and seed; the params, by number."""
    study = confirmation.search.open()
    decisions = confirmation.search.decisions(study)
    while assignments := decisions.take_on(confirmation.search.parallel):
        for each in assignments:
            experiment = each.experiment
            found = value(experiment.optimizer.learning_rate, experiment.training.seed)
            decisions.record(Outcome(each.number, found, "out of memory" if found is None else "", 1.0))
    trials = study.trials()
    study.close()
    return [dict(each.params) for each in trials]


def test_the_configs_own_setting_and_the_best_ones_are_trained_with_the_same_seeds_in_order(search):
    confirmation = confirmation_of(search(), EXPERIMENT, RATES, settings=2, seeds=3, parallel=8)
    assert [each.number for each in confirmation.candidates] == [1, 3]
    assert list(confirmation.seeds) == [5, 6, 7]  # after the config's own, 4
    own = [{SEED: seed} for seed in (5, 6, 7)]
    second = [{RATE: 0.002, SEED: seed} for seed in (5, 6, 7)]
    third = [{RATE: 0.004, SEED: seed} for seed in (5, 6, 7)]
    assert trained(confirmation, lambda rate, seed: rate) == [*own, *second, *third]
    assert confirmation.introduction == [
        "confirming the best 2 settings and the config's own with the fresh seeds 5, 6, 7"
    ]


def test_a_setting_that_several_trials_had_with_other_seeds_is_a_candidate_once(search):
    space = {RATE: Float(1e-4, 1e-2, log=True), SEED: Int(0, 99)}
    trials = [
        trial(0, 0.001, 0.90, seed=9),
        trial(1, 0.002, 0.95, seed=41),
        trial(2, 0.002, 0.96, seed=7),
        trial(3, 0.001, 0.94, seed=12),
        trial(4, 0.003, 0.93, seed=0),
    ]
    confirmation = confirmation_of(search(space), EXPERIMENT, trials, settings=3, seeds=2, parallel=8)
    assert [each.number for each in confirmation.candidates] == [2, 3, 4]
    assert list(confirmation.seeds) == [42, 43]  # no trial had a higher one than 41


def test_failed_trials_and_those_without_a_score_are_no_candidates_and_stopped_ones_come_last(search):
    trials = [
        trial(0, 0.001, 0.99, status=Status.STOPPED),
        trial(1, 0.002, 0.10, 0.20),
        trial(2, 0.003, 0.98, 0.99, status=Status.FAILED),
        trial(3, 0.004, status=Status.FAILED),
    ]
    confirmation = confirmation_of(search(), EXPERIMENT, trials, settings=9, seeds=2, parallel=8)
    assert [each.number for each in confirmation.candidates] == [1, 0]


def test_the_report_has_the_means_the_intervals_and_the_setting_whose_fresh_mean_is_best(search):
    """Trial 3, second in the sweep, is the best with fresh seeds; by seed, so that the differences have a spread."""
    values = {
        1e-3: {5: 0.90, 6: 0.91, 7: 0.92},  # the config's own rate
        0.002: {5: 0.91, 6: 0.93, 7: 0.92},
        0.004: {5: 0.95, 6: 0.96, 7: 0.98},
    }
    confirmation = confirmation_of(search(), EXPERIMENT, RATES, settings=2, seeds=3, parallel=8)
    trained(confirmation, lambda rate, seed: values[rate][seed])
    result = confirmation.results()
    best = list(values[0.004].values())
    assert result.best is RATES[3]
    low, high = stats.ttest_1samp(best, 0).confidence_interval(0.95)
    assert result.words == f"validation accuracy {mean(best):.4f} ({low:.4f} to {high:.4f}) over 3 fresh seeds"
    paired = stats.ttest_rel(best, list(values[1e-3].values()))
    low, high = paired.confidence_interval(1 - 0.05 / 2)  # of two settings, together 95 %
    assert result.report.startswith("# lr: the best 2, retrained\n")
    lines = [line for line in result.report.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [row[0] for row in cells[2:]] == ["base", "trial 1: learning_rate 0.002", "trial 3: learning_rate 0.004"]
    assert cells[2][1] == f"{mean(values[1e-3].values()):.4f}"
    assert cells[4][1] == f"{mean(best):.4f}"
    assert cells[4][3] == f"{mean(best) - mean(values[1e-3].values()):+.4f}"
    assert cells[4][4] == f"{low:+.4f} to {high:+.4f}"
    assert (cells[3][5], cells[4][5]) == ("not shown", "**yes**")


def test_of_losses_the_lowest_fresh_mean_is_best(search):
    trials = [trial(0, 0.001, -0.3), trial(1, 0.002, -0.1), trial(2, 0.003, -0.2)]
    losing = confirmation_of(search(by=LOSS), EXPERIMENT, trials, settings=2, seeds=2, parallel=8)
    assert [each.number for each in losing.candidates] == [1, 2]
    trained(losing, lambda rate, seed: {1e-3: 0.5, 0.002: 0.4, 0.003: 0.2}[rate] + seed / 1e3)
    result = losing.results()
    assert result.best is trials[2]
    assert result.words.startswith("validation loss 0.2055 (")  # of 0.205 and 0.206
    assert "-0.1000" in result.report


@pytest.mark.parametrize(
    ("by", "own", "best", "words"),
    [
        (ACCURACY, 0.95, None, "validation accuracy 0.9500 ("),
        (ACCURACY, 0.93, None, "validation accuracy 0.9300 ("),  # no better than the best candidate's
        (ACCURACY, 0.92, 3, "validation accuracy 0.9300 ("),
        (LOSS, 0.10, None, "validation loss 0.1000 ("),
        (LOSS, 0.92, 1, "validation loss 0.9100 ("),
    ],
)
def test_the_configs_own_setting_stays_the_best_where_no_other_has_a_better_mean(search, by, own, best, words):
    confirmation = confirmation_of(search(by=by), EXPERIMENT, RATES, settings=2, seeds=2, parallel=8)
    trained(confirmation, lambda rate, seed: {1e-3: own, 0.002: 0.91, 0.004: 0.93}[rate] + (seed - 5.5) / 1e3)
    result = confirmation.results()
    assert (None if result.best is None else result.best.number) == best
    assert result.words.startswith(words)
    winner = "the config's own setting" if best is None else f"trial {best}: learning_rate 0.00{best + 1}"
    assert f"The best mean is that of {winner}, which best.py holds." in result.report


def test_a_setting_that_cannot_be_trained_anew_is_said_with_its_reason(search):
    confirmation = confirmation_of(search(), EXPERIMENT, RATES, settings=1, seeds=2, parallel=8)
    trained(confirmation, lambda rate, seed: None if (rate, seed) == (0.002, 6) else 0.9)
    with pytest.raises(
        TrainingError, match=r"--confirm: could not be trained again.*seed 6.*trial 1: .*0\.002.*out of memory"
    ):
        confirmation.results()


def test_of_several_settings_one_that_cannot_be_trained_anew_is_not_judged(search):
    confirmation = confirmation_of(search(), EXPERIMENT, RATES, settings=2, seeds=2, parallel=8)
    trained(confirmation, lambda rate, seed: None if (rate, seed) == (0.002, 6) else 0.9 + rate + seed / 1e4)
    result = confirmation.results()
    assert result.best is RATES[3]
    assert "Not trained with seed 6, and so not judged: trial 1: learning_rate 0.002 (out of memory)." in result.report


def test_a_confirmation_that_was_interrupted_trains_what_is_left(search, tmp_path):
    first = confirmation_of(search(), EXPERIMENT, RATES, settings=1, seeds=2, parallel=8)
    study = first.search.open()
    decisions = first.search.decisions(study)
    (one, *others) = decisions.take_on(4)
    decisions.record(Outcome(one.number, 0.5, "", 1.0))
    decisions.release([each.number for each in others])
    study.close()
    again = confirmation_of(search(), EXPERIMENT, RATES, settings=1, seeds=2, parallel=8)
    assert again.search == first.search
    asked = []
    trained(again, lambda rate, seed: asked.append((rate, seed)) or 0.9)
    assert asked == [(1e-3, 6), (0.002, 5), (0.002, 6)]
    assert again.search.folder.parent == tmp_path
    assert again.search.folder.is_dir()


def test_other_numbers_of_settings_or_seeds_are_another_search(search):
    names = {
        confirmation_of(search(), EXPERIMENT, RATES, settings=k, seeds=seeds, parallel=8).search.name
        for k, seeds in ((1, 2), (2, 2), (1, 3))
    }
    assert len(names) == 3


def test_after_the_highest_seed_comes_0(search):
    experiment = Experiment(training=Training(seed=2**32 - 2))
    confirmation = confirmation_of(search(), experiment, RATES, settings=1, seeds=3, parallel=8)
    assert list(confirmation.seeds) == [2**32 - 1, 0, 1]
