"""A training as it goes on: the one owner of its state, its steps, its rows and its clocks.

A run's and a sweep's trial are the same here: both count their steps, and diverge, by the same lines.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from flaxcnn.evaluation.table import LoggedRow
from flaxcnn.runs.choice import best_row, just_improved, stops_early
from flaxcnn.runs.setup import Setup
from flaxcnn.training import TrainState


@dataclass
class Clocks:
    """What a training took so far, in seconds, over all of its sessions.

    Attributes:
        train: the steps alone.
        save: saving checkpoints.
        evaluation: rows and the final numbers.
        compilation: of programs.
        before: all of the sessions before this one.
        started: when this session began, by `time.perf_counter`.
    """

    train: float = 0.0
    save: float = 0.0
    evaluation: float = 0.0
    compilation: float = 0.0
    before: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @property
    def total(self) -> float:
        """Everything, the work between these included."""
        return self.before + time.perf_counter() - self.started


class Diverged(Exception):  # noqa: N818 -- a signal to the driver's caller, which says it in its own words
    """A step whose loss, gradient or update is not finite; the training stands before it.

    Args:
        loss: of that step; None where no step was made.
        step: the step, counted from 0.
        epoch: its epoch, counted from 0.
    """

    def __init__(self, loss: float | None, step: int, epoch: int):
        super().__init__(loss, step, epoch)
        self.loss, self.step, self.epoch = loss, step, epoch


@dataclass
class Training:
    """A training as it goes on.

    Attributes:
        setup: what is trained, and with what.
        state: the training state; None while another owner has it.
        step: steps done.
        rows: the rows logged.
        clocks: what it took.
    """

    setup: Setup
    state: TrainState | None
    step: int = 0
    rows: list[LoggedRow] = field(default_factory=list)
    clocks: Clocks = field(default_factory=Clocks)

    @property
    def current(self) -> TrainState:
        """The state; there is one."""
        assert self.state is not None, "the state is with another owner"
        return self.state

    def count(self, losses: np.ndarray, seconds: float, *, finite: bool) -> None:
        """Count the steps of a block.

        Args:
            losses: of its steps, the faulty one included.
            seconds: that they took.
            finite: whether all losses, gradients and updates are.

        Raises:
            Diverged: one is not; the training stands before that step.
        """
        self.step += len(losses) - (not finite)
        self.clocks.train += seconds
        if not finite:
            loss = float(losses[-1]) if len(losses) else None
            raise Diverged(loss, self.step, self.setup.calendar.epoch(self.step))

    @property
    def is_over(self) -> bool:
        """Whether all steps are made, or validation says to stop."""
        return self.step >= self.setup.calendar.total_steps or self.ends_early

    @property
    def ends_early(self) -> bool:
        """Whether validation says to stop (`training.patience`)."""
        return stops_early(self.rows, self.setup.task, self.setup.experiment)

    @property
    def improved(self) -> bool:
        """Whether the last row is the best so far, whose checkpoint is kept (`checkpoint.keep_best`)."""
        return just_improved(self.rows, self.setup.task, self.setup.experiment)

    def best(self) -> LoggedRow:
        """Return the best row by `checkpoint.keep_best`, which is set."""
        column = self.setup.experiment.checkpoint.keep_best
        assert column is not None, "a metric to choose by"
        return self.rows[best_row(self.rows, self.setup.task, column)]


class Moment(NamedTuple):
    """What a hook is told.

    Attributes:
        step: steps done.
        state: the training state after them. The next step takes its memory over: take what is to be kept with
            `jax.device_get`.
        metrics: of the last step, as `train_step` gives them, and of its row where it is logged, as "validation_loss".
    """

    step: int
    state: TrainState
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class Hook:
    """What a run does besides, every so many steps; it changes no bit of the run.

    Attributes:
        every: how many steps, 1 or more.
        call: a function of a `Moment`.
    """

    every: int
    call: Callable[[Moment], None]
