"""Workers that carry out what a scheduler wants, with scores from a function in the place of training."""

import dataclasses
import random

from flaxcnn.sweeps.trials import GoOn, New, Status, Stop, Trial

BUSY = (Status.RUNNING, Status.WAITING)


def told(actions):
    """What is to be done, in a form in which equal means alike: as tuples, `GoOn(1)` and `Stop(1)` are equal."""
    return [repr(action) for action in actions]


class Orderly:
    """One worker, which takes on all that it may; trials end their rungs in the order of their numbers."""

    def carried_out(self, actions, must):
        return len(actions)

    def free(self, parallel):
        return parallel

    def ends(self, busy):
        return busy[0]

    def released(self):
        return False


class Disorderly(Orderly):
    """Workers that take on less than they may, are killed amid their actions, let go of trials, and end in any order.

    Args:
        choices: a `random.Random`.
    """

    def __init__(self, choices):
        self.choices = choices

    def carried_out(self, actions, must):
        return self.choices.randint(min(must, len(actions)), len(actions))

    def free(self, parallel):
        return self.choices.randint(1, parallel)

    def ends(self, busy):
        return self.choices.choice(busy)

    def released(self):
        return self.choices.random() < 0.2


def scattered(trial, rung, seed=0):
    """A score that is the same for the same trial and rung, and has ties."""
    return random.Random(f"{seed} {trial.number} {rung}").randint(0, 20) / 20


class Simulation:
    """A sweep from its begin to its end.

    Args:
        scheduler: decides.
        budget: number of trials.
        parallel: how many trials may run at once.
        score: (trial, rung) -> number.
        fails: (trial, rung) -> whether the trial fails there.
        workers: who does what, when.
        trials: where it begins.

    Attributes:
        trials: at the end, by number.
        actions: all that were carried out, in order.
        work: what was trained, in steps of a whole trial.
    """

    def __init__(
        self,
        scheduler,
        budget,
        parallel=1,
        score=scattered,
        fails=lambda trial, rung: False,
        workers=None,
        trials=(),
    ):
        self.scheduler, self.budget, self.parallel, self.workers = scheduler, budget, parallel, workers or Orderly()
        self.score, self.fails = score, fails
        self.trials, self.actions, self.work = list(trials), [], 0.0
        while True:
            busy = self._numbers(*BUSY)
            free = self.parallel - len(busy)
            wanted = self._wanted(self.workers.free(free)) if free else self._wanted(0)
            for action in wanted[: self.workers.carried_out(wanted, must=0 if busy else 1)]:
                self._carry_out(action)
            busy = self._numbers(*BUSY)
            if not busy and not wanted:
                return
            if busy and self.workers.released():
                self._change(self.workers.ends(busy), status=Status.WAITING)
            elif busy:
                self._end_rung(self.workers.ends(busy))

    def _wanted(self, free):
        wanted = self.scheduler.decide(self.trials, self.budget, free)
        assert told(wanted) == told(self.scheduler.decide(list(self.trials), self.budget, free))
        assert sum(not isinstance(each, Stop) for each in wanted) <= free
        numbers = [each.number for each in wanted if isinstance(each, GoOn | Stop)]
        assert len(set(numbers)) == len(numbers)
        return wanted

    def _carry_out(self, action):
        self.actions.append(action)
        if isinstance(action, New):
            params = {"x": len(self.trials)} if action.params is None else action.params
            status = Status.RUNNING
            place = (action.bracket, action.first_rung, action.parent)
            self.trials.append(Trial(len(self.trials), params, status, *place))
            assert sum(trial.parent is None for trial in self.trials) <= self.budget
            return
        assert self.trials[action.number].status is Status.PAUSED
        self._change(action.number, status=Status.RUNNING if isinstance(action, GoOn) else Status.STOPPED)

    def _end_rung(self, number):
        trial = self.trials[number]
        fractions = self.scheduler.fractions(trial.bracket)
        if self.fails(trial, trial.rung):
            self._change(number, status=Status.FAILED)
            return
        self.work += fractions[trial.rung] - (fractions[trial.rung - 1] if trial.rung else 0)
        last = trial.rung + 1 == len(fractions)
        scores = (*trial.scores, self.score(trial, trial.rung))
        self._change(number, status=Status.COMPLETE if last else Status.PAUSED, scores=scores)

    def _change(self, number, **changes):
        self.trials[number] = dataclasses.replace(self.trials[number], **changes)

    def _numbers(self, *statuses):
        return [trial.number for trial in self.trials if trial.status in statuses]

    def numbers(self, status):
        """The trials that ended so."""
        return self._numbers(status)

    def reached(self, rung, bracket=0):
        """How many trials of a bracket began a rung; for sweeps in which none failed."""
        return sum(trial.bracket == bracket and trial.rung > rung for trial in self.trials)
