"""Train trials: those that share a program run in the slots of one cohort, each to the end of its rung.

A trial's state is on disk whenever it pauses, so it can continue in this process or another. A trial's results do not
depend on the other trials: with one trial after the other, they equal a solo run's bit for bit.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

from flaxcnn.config import Experiment
from flaxcnn.errors import FlaxcnnError, RunFolderError
from flaxcnn.runs.given import Loaded, load
from flaxcnn.runs.running import Diverged, Training
from flaxcnn.runs.setup import Setup, set_up
from flaxcnn.sweeps.execution.cohorts import Cohorts, Program, bucket_of, data_of, out_of_memory
from flaxcnn.sweeps.execution.states import TrialStates
from flaxcnn.training import TrainState
from flaxcnn.training.parallel import Position, TrialBlock


class Assignment(NamedTuple):
    """A trial that is to be trained to the end of a rung.

    Attributes:
        number: the trial's.
        experiment: the trial's.
        fraction: of its steps, at which the rung ends.
        parent: the trial with whose state it begins; None where it starts fresh, or goes on.
        parent_fraction: of the parent's steps, at which that state is taken.
    """

    number: int
    experiment: Experiment
    fraction: float
    parent: int | None = None
    parent_fraction: float = 0.0


class Outcome(NamedTuple):
    """How a rung ended: with the metric, or with the reason for which the trial failed."""

    number: int
    value: float | None
    reason: str
    seconds: float


class Watch(NamedTuple):
    """What the trainer tells while it trains, and asks.

    Attributes:
        report: called with a trial's number, its steps done and the metric, wherever it is measured.
        progress: called with a trial's number, its steps done and all its steps.
        lost: whether another process has taken a trial over, and this one is to drop it.
        wants_stop: whether to save and end.
    """

    report: Callable[[int, int, float], None]
    progress: Callable[[int, int, int], None]
    lost: Callable[[int], bool]
    wants_stop: Callable[[], bool]


@dataclass
class _RunningTrial:
    """A trial while it is trained: a training up to the end of its rung."""

    number: int
    training: Training  # its state is with the program's slots while it is in one
    end: int
    reports: dict[int, float] = field(default_factory=dict)

    @property
    def position(self) -> Position:
        setup, step = self.training.setup, self.training.step
        calendar = setup.calendar
        pause = min(self.end, *((step // every + 1) * every for every in (calendar.log_every, calendar.save_every)))
        return Position(calendar, setup.experiment.training.seed, step, pause)

    @property
    def due(self) -> bool:
        """Whether the metric is measured here: every so many steps, and at the rung's end."""
        step = self.training.step
        return step == self.end or (step > 0 and step % self.training.setup.calendar.log_every == 0)

    @property
    def seconds(self) -> float:
        """What its steps and its measurements took."""
        return self.training.clocks.train + self.training.clocks.evaluation


class Trainer:
    """Trains trials of one sweep.

    Args:
        states: of the trials, on the disk.
        metric: the name of what trials are ranked by, among the numbers of an evaluated row.
        cohorts: makes the programs.
        watch: whom to tell.
        load: loads the data of an experiment.
    """

    def __init__(
        self,
        states: TrialStates,
        metric: str,
        cohorts: Cohorts,
        watch: Watch,
        load: Callable[[Experiment], Loaded] = load,
    ):
        self._states, self._metric, self._cohorts, self._watch, self._load = states, metric, cohorts, watch, load
        self._loaded: tuple[Hashable, Loaded] | None = None

    def set_up(self, experiment: Experiment) -> Setup:
        """Return what an experiment is trained with; raises as `flaxcnn.runs.setup.set_up`."""
        if self._loaded is None or self._loaded[0] != data_of(experiment):
            self._loaded = data_of(experiment), self._load(experiment)  # one at a time, since images are large
        return set_up(experiment, self._loaded[1])

    def train(self, assignments: Sequence[Assignment]) -> Iterator[Outcome]:
        """Train trials, and yield how the rung of each ended as soon as its state is on the disk.

        Those of which nothing is yielded were stopped on request, their states are on the disk too; or another process
        has taken them over.

        Raises:
            RunFolderError: a state cannot be written.
        """
        ready: dict[Hashable, list[tuple[Assignment, _RunningTrial]]] = {}
        for assignment in assignments:  # all of them first: a trial's parent may be trained on, too
            try:
                trial = self._prepare(assignment)
            except RunFolderError:
                raise
            except FlaxcnnError as error:
                yield Outcome(assignment.number, None, str(error), 0.0)
                continue
            ready.setdefault(bucket_of(trial.training.setup), []).append((assignment, trial))
        for group in ready.values():
            # All at once, the longest trial decides: those with as much to do go together.
            group.sort(key=lambda each: each[1].end - each[1].training.step)
            most = self._cohorts.most_parallel(group[0][1].training.setup)
            for first in range(0, len(group), most):
                if not self._watch.wants_stop():
                    yield from self._train_cohort(group[first : first + most])

    def _prepare(self, assignment: Assignment) -> _RunningTrial:
        """Return a trial with the state from which it goes on, which is on the disk if it is another trial's."""
        experiment = assignment.experiment
        setup = self.set_up(experiment)
        total = setup.calendar.total_steps
        training = Training(setup, None)
        trial = _RunningTrial(assignment.number, training, _steps(assignment.fraction, total))
        kept = self._states.newest(assignment.number, experiment, trial.end, setup.state_target())
        if kept is not None:
            training.state, training.step, trial.reports = kept.state, kept.step, dict(kept.reports)
            for step, value in trial.reports.items():  # whoever trained it may not have come to tell
                self._watch.report(trial.number, step, value)
        elif assignment.parent is None:
            training.state = setup.first_state()
        else:
            training.step = _steps(assignment.parent_fraction, total)
            parent = self._states.at_rung(assignment.parent, training.step, setup.state_target())
            training.state = inherit(parent, setup.first_state())
            self._save(trial, training.state)
        return trial

    def _train_cohort(self, cohort: list[tuple[Assignment, _RunningTrial]]) -> Iterator[Outcome]:
        """Train trials of one bucket side by side; one by one where memory does not suffice for that."""
        left = {trial.number: (assignment, trial) for assignment, trial in cohort}
        try:
            for outcome in self._run([trial for _, trial in cohort]):
                del left[outcome.number]
                yield outcome
            return
        except Exception as error:
            if not out_of_memory(error):
                raise
            self._cohorts.run_alone(cohort[0][1].training.setup)
            if len(cohort) == 1:
                yield Outcome(cohort[0][0].number, None, f"out of memory: {error}".splitlines()[0], 0.0)
                return
        for assignment, _ in left.values():
            if not self._watch.wants_stop():
                yield from self._train_cohort([(assignment, self._prepare(assignment))])

    def _run(self, cohort: list[_RunningTrial]) -> Iterator[Outcome]:
        """Run a cohort until each of its trials has ended its rung, or is to stop."""
        program = self._cohorts.program(cohort[0].training.setup, len(cohort))
        with closing(program.trials):
            yield from self._run_in(program, cohort)

    def _run_in(self, program: Program, cohort: list[_RunningTrial]) -> Iterator[Outcome]:
        active = dict(enumerate(cohort))
        for index, trial in active.items():
            program.trials.put(index, trial.training.current)
            trial.training.state = None
        yield from self._look(program, active, stopping=False)
        while active:
            started = time.perf_counter()
            slots = range(program.trials.count)
            blocks = program.trials.run([active[i].position if i in active else None for i in slots])
            made = {index: block for index, block in enumerate(blocks) if block is not None}
            yield from self._advance(active, made, started)
            stopping = self._watch.wants_stop()
            yield from self._look(program, active, stopping=stopping)
            if stopping:
                return

    def _advance(
        self, active: dict[int, _RunningTrial], blocks: Mapping[int, TrialBlock], started: float
    ) -> Iterator[Outcome]:
        """Count the steps of a block, and share its seconds among the trials in it; yield those that failed."""
        seconds = (time.perf_counter() - started) / max(1, sum(len(block.losses) for block in blocks.values()))
        for index, block in blocks.items():
            trial, failed = active[index], ""
            try:
                trial.training.count(block.losses, len(block.losses) * seconds, finite=block.finite)
            except Diverged as diverged:
                where = f"step {diverged.step:,}, epoch {diverged.epoch}"
                loss = "no step was made" if diverged.loss is None else f"loss {diverged.loss:g}"
                failed = f"{where}: the loss, its gradient or the update is not finite; {loss}"
            self._watch.progress(trial.number, trial.training.step, trial.training.setup.calendar.total_steps)
            if failed:
                yield self._ended(active, index, None, failed)

    def _look(self, program: Program, active: dict[int, _RunningTrial], *, stopping: bool) -> Iterator[Outcome]:
        """Measure and save the trials that are due, and yield those that ended their rung."""
        for index in [index for index in active if self._watch.lost(active[index].number)]:
            del active[index]
        due = {index: program.trials.take(index) for index, trial in active.items() if trial.due}
        # All are started before the first one is waited for.
        started = {index: program.evaluator.start_row(state.variables) for index, state in due.items()}
        for index, trial in list(active.items()):
            value, step = None, trial.training.step
            if index in started:
                at = time.perf_counter()
                value = program.evaluator.finish_row(started[index])[self._metric]
                trial.training.clocks.evaluation += time.perf_counter() - at
                if value is None or not math.isfinite(value):
                    yield self._ended(active, index, None, f"step {step:,}: {self._metric} is {value}")
                    continue
                self._watch.report(trial.number, step, value)
                trial.reports[step] = value
            ends = step == trial.end
            if ends or stopping or (step and trial.training.setup.calendar.saved(step)):
                self._save(trial, due.get(index) or program.trials.take(index), ends_rung=ends)
            if ends:
                yield self._ended(active, index, value)

    def _ended(self, active: dict[int, _RunningTrial], index: int, value: float | None, reason: str = "") -> Outcome:
        trial = active.pop(index)
        return Outcome(trial.number, value, reason, trial.seconds)

    def _save(self, trial: _RunningTrial, state: TrainState, *, ends_rung: bool = False) -> None:
        self._states.save(trial.number, trial.training, state, trial.seconds, trial.reports, ends_rung=ends_rung)


def inherit(parent: TrainState, child: TrainState) -> TrainState:
    """Return the parent's state with the child's hyperparameters: those of the optimizer and of everything else.

    Args:
        parent: the state to go on from: weights, statistics, moments, step and seed.
        child: its first state, for the values that it was given; a tree of the same structure.
    """
    opt_state = parent.opt_state
    if hasattr(opt_state, "hyperparams"):
        opt_state = opt_state._replace(hyperparams=child.opt_state.hyperparams)
    return dataclasses.replace(
        parent,
        opt_state=opt_state,
        hyperparameters=child.hyperparameters,
        augmentations=child.augmentations,
        mixup=child.mixup,
    )


def _steps(fraction: float, total: int) -> int:
    """Return how many of a trial's steps a fraction is; at least one."""
    return max(1, min(total, round(fraction * total)))
