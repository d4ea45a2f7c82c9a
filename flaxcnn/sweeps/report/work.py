"""The total and the finished work of a sweep, to estimate the remaining time."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from flaxcnn.sweeps.trials import GoOn, New, Scheduler, Status, Trial

_MOST_SIMULATED = 200  # trials; of more, the same share is trained on


def expected_trainings(scheduler: Scheduler, budget: int, parallel: int) -> float:
    """Return how many whole trainings a sweep's steps add up to, had its trials scores at random.

    Exact for schedulers that wait for all of a rung; about right for those that do not, and for many trials.
    """
    if budget > _MOST_SIMULATED:
        return expected_trainings(scheduler, _MOST_SIMULATED, parallel) * budget / _MOST_SIMULATED
    draws = random.Random(0)
    trials: list[Trial] = []
    trainings = 0.0
    while True:
        actions = scheduler.decide(trials, budget, parallel)
        running = []
        for action in actions:
            if isinstance(action, New):
                running.append(len(trials))
                params = action.params or {}
                trials.append(
                    Trial(len(trials), params, Status.RUNNING, action.bracket, action.first_rung, action.parent)
                )
            elif isinstance(action, GoOn):
                running.append(action.number)
            else:
                trials[action.number] = replace(trials[action.number], status=Status.STOPPED)
        if not actions:
            return trainings
        for number in running:
            trial, ends = trials[number], (0.0, *scheduler.fractions(trials[number].bracket))
            trainings += ends[trial.rung + 1] - ends[trial.rung]
            status = Status.COMPLETE if trial.rung + 2 == len(ends) else Status.PAUSED
            trials[number] = replace(trial, status=status, scores=(*trial.scores, draws.random()))


def steps_made(
    trials: Sequence[Trial], progress: Mapping[int, tuple[int, int]], scheduler: Scheduler, total_steps: int
) -> int:
    """Return the steps that all trials have made, those aside with which a copy began.

    Args:
        trials: the sweep's.
        progress: steps done, of how many, of those that are trained now.
        scheduler: the sweep's.
        total_steps: of a whole training.
    """
    made = 0
    for trial in trials:
        began = 0
        if trial.first_rung:
            began = round(scheduler.fractions(trial.bracket)[trial.first_rung - 1] * total_steps)
        made += max(0, max(progress.get(trial.number, (0, 0))[0], *trial.reports, 0) - began)
    return made
