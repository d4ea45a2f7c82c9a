"""The state of a rung, for every scheduler: who has not finished it, who waits or passed it, and who is best."""

import math
from collections.abc import Iterable

from flaxcnn.sweeps.trials import Status, Trial


def blocks(trial: Trial, rung: int) -> bool:
    """Return whether a trial that entered a rung has yet to end it; a failed one never will, so nobody waits for it."""
    return trial.rung <= rung and trial.status is not Status.FAILED


def passed(trial: Trial, rung: int) -> bool:
    """Return whether a trial ended a rung and was sent on to the next one, also where it failed there."""
    went_no_further = trial.status in (Status.PAUSED, Status.STOPPED, Status.COMPLETE)
    return trial.rung > rung + 1 or (trial.rung == rung + 1 and not went_no_further)


def pauses_after(trial: Trial, rung: int) -> bool:
    """Return whether a trial ended a rung, and waits to hear whether it goes on."""
    return trial.status is Status.PAUSED and trial.rung == rung + 1


def ranked(trials: Iterable[Trial], rung: int) -> list[Trial]:
    """Return those that ended a rung, the best score first, the lower number of equal ones; not-a-number comes last."""
    ended = [trial for trial in trials if trial.rung > rung]
    return sorted(ended, key=lambda trial: (-_score(trial, rung), trial.number))


def _score(trial: Trial, rung: int) -> float:
    score = trial.scores[rung - trial.first_rung]
    return -math.inf if math.isnan(score) else score


def misfit(trial: Trial, rungs: int) -> str:
    """Return what a trial lacks to stand so in a sweep, "" for nothing; a study may come from anybody.

    Args:
        trial: the trial.
        rungs: how many its bracket has; 0 where there is no such bracket.
    """
    if trial.bracket < 0 or not 0 <= trial.first_rung < rungs:
        return "a rung of a bracket"
    if (trial.parent is None) != (trial.first_rung == 0) or not -1 < (trial.parent or 0) <= trial.number:
        return "an earlier trial as its parent where it begins above rung 0"
    paused = trial.status in (Status.PAUSED, Status.STOPPED)
    sound = trial.rung == rungs if trial.status is Status.COMPLETE else trial.rung < rungs
    return "" if sound and (trial.scores or not paused) else "a score for each rung that it ended"
