"""Decide what a sweep process does next, and report results to the study.

A decision is made under the study's lock and recorded before it is carried out, so a process may be killed at any time:
the next process to decide finishes the recorded decision and continues the dead process's trials before it decides
anything new. A single process that is killed and restarted therefore makes the same decisions as one that is not.
"""

from collections.abc import Callable, Sequence

from flaxcnn.config import Experiment
from flaxcnn.errors import ConfigError
from flaxcnn.sweeps.execution.trainer import Assignment, Outcome
from flaxcnn.sweeps.files import Sweep
from flaxcnn.sweeps.metric import RankedBy
from flaxcnn.sweeps.schedulers import PopulationBased
from flaxcnn.sweeps.schedulers.exploration import perturb
from flaxcnn.sweeps.space import with_params
from flaxcnn.sweeps.study import LostTrialError, Step, Study
from flaxcnn.sweeps.trials import Action, GoOn, New, Proposal, Scheduler, Status, Stop, Trial

_MOST_TAKEOVERS = 5  # of a trial without getting further: then it is the trial that ends its processes


def scheduler_of(sweep: Sweep, experiment: Experiment) -> Scheduler:
    """Return a sweep's scheduler, which knows the space where it has to."""
    scheduler = sweep.scheduler
    if isinstance(scheduler, PopulationBased):
        return scheduler.bound(lambda params, rng: perturb(sweep.space, experiment, params, rng), sweep.seed)
    return scheduler


def budget_of(sweep: Sweep, experiment: Experiment) -> int:
    """Return how many trials a sweep has: as many as it says, or as there are different ones."""
    size = sweep.searcher.size(sweep.space, experiment)
    return sweep.trials if size is None else min(sweep.trials, size)


class Decisions:
    """Decides for one process of a sweep.

    Args:
        sweep: what is searched, and how.
        experiment: that is searched.
        by: what its trials are ranked by.
        study: keeps the trials.
        reached: returns the step to which a trial's state on the disk has got.
    """

    def __init__(self, sweep: Sweep, experiment: Experiment, by: RankedBy, study: Study, reached: Callable[[int], int]):
        self._sweep, self._experiment, self._by, self._study, self._reached = sweep, experiment, by, study, reached
        self._scheduler = scheduler_of(sweep, experiment)
        self._budget = budget_of(sweep, experiment)

    def take_on(self, free: int) -> list[Assignment] | None:
        """Return trials that this process now owns and is to train, at most as many as are asked for.

        Returns:
            None where the sweep is done, and an empty list where others have to end something first.
        """
        with self._study.deciding():
            while True:
                plan = self._study.plan()
                if plan is None:
                    trials = self._study.trials()
                    again = self._left_over(trials, free)
                    if again:
                        return self._assignments(again)
                    trials = self._study.trials()  # some may have failed just now
                    plan = self._planned(trials, free)
                    if not plan:
                        return [] if any(t.status in (Status.RUNNING, Status.WAITING) for t in trials) else None
                    self._study.set_plan(plan)
                taken = [number for step in plan if (number := self._carry_out(step)) is not None]
                self._study.set_plan(None)
                assignments = self._assignments(taken)
                if assignments:
                    return assignments

    def record(self, outcome: Outcome) -> None:
        """Tell the study how a rung ended; nothing where another process has taken the trial over."""
        with self._study.deciding():
            try:
                if outcome.value is None:
                    self._study.fail(outcome.number, outcome.reason, outcome.seconds)
                    return
                trial = self._study.trials()[outcome.number]
                last = trial.rung + 1 == len(self._scheduler.fractions(trial.bracket))
                self._study.end_rung(outcome.number, self._by.score(outcome.value), outcome.seconds, last=last)
            except LostTrialError:
                pass

    def release(self, numbers: Sequence[int]) -> None:
        """Leave trials to whoever comes next."""
        with self._study.deciding():
            for number in numbers:
                if self._study.owns(number):
                    self._study.release(number)

    def _left_over(self, trials: Sequence[Trial], free: int) -> list[int]:
        """Take on trials whose process has ended, or was stopped; those that end every process fail.

        Copies come first, while what they copy is as they need it. A trial that was taken over before, and has got no
        further, may be what ends the processes: it is trained alone, so that no other is taken for it.
        """
        abandoned = set(self._study.abandoned())
        taken: list[int] = []
        for trial in sorted(trials, key=lambda trial: (trial.parent is None, trial.number)):
            if len(taken) == free:
                break
            if trial.number in abandoned:
                suspect = trial.adopted > 0
                if suspect and taken:
                    continue  # next time
                if self._study.adopt(trial.number, self._reached(trial.number)) > _MOST_TAKEOVERS:
                    reason = f"{_MOST_TAKEOVERS + 1} processes ended while they trained it: out of memory?"
                    self._study.fail(trial.number, reason, 0.0)
                    continue
                taken.append(trial.number)
                if suspect:
                    break
            elif trial.status is Status.WAITING:
                self._study.claim(trial.number)
                taken.append(trial.number)
        return taken

    def _planned(self, trials: Sequence[Trial], free: int) -> list[Step]:
        """Return what the scheduler wants as steps that another process can carry out; what is proposed stands in it.

        Where it wants nothing and nothing runs, what is left paused is stopped.
        """
        actions: Sequence[Action] = self._scheduler.decide(trials, self._budget, free)
        if not actions and not any(trial.status in (Status.RUNNING, Status.WAITING) for trial in trials):
            actions = [Stop(trial.number) for trial in trials if trial.status is Status.PAUSED]
        history, plan = list(trials), []
        for action in actions:
            if isinstance(action, New):
                proposal = self._proposal(action, history)
                new = Trial(
                    number=len(history),
                    params=dict(proposal.params),
                    status=Status.RUNNING,
                    bracket=action.bracket,
                    first_rung=action.first_rung,
                    parent=action.parent,
                    attributes=dict(proposal.attributes),
                )
                history.append(new)
                kept = dict(new.params), dict(new.attributes)
                plan.append(Step("add", new.number, new.bracket, new.first_rung, new.parent, *kept))
            else:
                plan.append(Step("go on" if isinstance(action, GoOn) else "stop", action.number))
        return plan

    def _proposal(self, new: New, history: Sequence[Trial]) -> Proposal:
        if new.params is not None:
            return Proposal(new.params)
        sweep = self._sweep
        return sweep.searcher.propose(sweep.space, self._experiment, len(history), history, sweep.seed)

    def _carry_out(self, step: Step) -> int | None:
        """Carry out a step of a plan, of which a process that was killed may have carried it out already.

        Returns:
            The trial that this process now owns; None where there is nothing to train.
        """
        trials, number = self._study.trials(), step.trial
        status = trials[number].status if 0 <= number < len(trials) else None
        if step.do == "stop":
            if status is Status.PAUSED:
                self._study.stop(number)
            return None
        if status is None:
            proposal = Proposal(step.params, step.attributes)
            self._study.add(proposal, bracket=step.bracket, first_rung=step.first_rung, parent=step.parent)
        elif status.ended:  # by another program, as Optuna's dashboard may end a trial
            return None
        elif status in (Status.PAUSED, Status.WAITING):
            self._study.claim(number)
        elif not self._study.owns(number):  # the process that made the plan took it, and was killed
            self._study.adopt(number, self._reached(number))
        return number

    def _assignments(self, numbers: Sequence[int]) -> list[Assignment]:
        trials, found = self._study.trials(), []
        for trial in (trials[number] for number in numbers):
            try:
                experiment = with_params(self._experiment, trial.params)
            except ConfigError as error:
                self._study.fail(trial.number, str(error), 0.0)
                continue
            fractions = self._scheduler.fractions(trial.bracket)
            before = fractions[trial.first_rung - 1] if trial.parent is not None else 0.0
            found.append(Assignment(trial.number, experiment, fractions[trial.rung], trial.parent, before))
        return found
