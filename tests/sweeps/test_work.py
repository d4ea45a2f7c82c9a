"""How many trainings a sweep adds up to, and how many steps were made, by hand."""

import pytest

from flaxcnn.sweeps import ASHA, Hyperband, PopulationBased, Straight, SuccessiveHalving
from flaxcnn.sweeps.report.work import expected_trainings, steps_made
from flaxcnn.sweeps.trials import Status, Trial


def population(generations, replaced=0.25):
    return PopulationBased(generations, replaced).bound(lambda params, rng: params, seed=0)


@pytest.mark.parametrize("parallel", [1, 3, 8])
@pytest.mark.parametrize(
    ("scheduler", "budget", "trainings"),
    [
        (Straight(), 16, 16),
        # 9 trials to 1/9, the best 3 of them to 1/3, the best one to the end.
        (SuccessiveHalving(), 9, 9 / 9 + 3 * 2 / 9 + 1 * 6 / 9),
        (SuccessiveHalving(reduction=2, least=0.25), 7, 7 / 4 + 3 / 4 + 1 / 2),  # 7 // 2 = 3, 3 // 2 = 1
        (SuccessiveHalving(least=1.0), 5, 5),  # a single rung
        # Brackets of 9, 5 and 3 trials, from 1/9, from 1/3, and to the end.
        (Hyperband(), 17, (9 / 9 + 3 * 2 / 9 + 6 / 9) + (5 / 3 + 2 / 3) + 3),
        (population(5), 8, 8),  # a copy makes the steps that the one it replaces would have made
        (population(3, replaced=0.5), 2, 2),
    ],
)
def test_what_waits_for_whole_rungs_is_known_exactly_however_many_slots_there_are(
    scheduler, budget, trainings, parallel
):
    assert expected_trainings(scheduler, budget, parallel) == pytest.approx(trainings)


@pytest.mark.parametrize("parallel", [1, 8])
def test_asha_makes_at_least_the_steps_of_halving_and_not_many_more(parallel):
    """Beside those that halving promotes, it promotes some that were among the best only when they were asked."""
    exact = 27 / 9 + 9 * 2 / 9 + 3 * 6 / 9
    assert exact <= expected_trainings(ASHA(), 27, parallel) <= 1.5 * exact


def test_the_steps_that_were_made_are_those_of_the_last_report_or_of_what_is_shown_since():
    trials = [
        Trial(0, {}, Status.COMPLETE, reports={50: 0.1, 90: 0.2}),
        Trial(1, {}, Status.RUNNING, reports={50: 0.1}),  # and is at step 72 now
        Trial(2, {}, Status.RUNNING),  # its first steps
        Trial(3, {}, Status.WAITING, reports={50: 0.1}),  # was let go of at step 60: nobody knows
        Trial(4, {}, Status.FAILED),
    ]
    assert steps_made(trials, {1: (72, 90), 2: (3, 90)}, Straight(), 90) == 90 + 72 + 3 + 50
    assert steps_made([], {}, Straight(), 0) == 0


def test_a_copy_did_not_make_the_steps_with_which_it_began():
    """Three generations of 30 steps: a copy of the second begins with 30, which are its parent's."""
    trials = [
        Trial(0, {}, Status.PAUSED, reports={30: 0.1, 60: 0.2}),
        Trial(1, {}, Status.STOPPED, reports={30: 0.1}),
        Trial(2, {}, Status.RUNNING, first_rung=1, parent=0, reports={50: 0.1}),
        Trial(3, {}, Status.RUNNING, first_rung=1, parent=0),  # has not made a step
    ]
    assert steps_made(trials, {}, population(3), 90) == 60 + 30 + 20 + 0
    assert steps_made(trials, {2: (55, 90)}, population(3), 90) == 60 + 30 + 25 + 0
