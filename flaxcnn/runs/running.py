"""A training in progress: the single owner of its state, steps, logged rows and clocks.

Runs and sweep trials both use it, so both count steps and detect divergence with the same code.
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
    """The time a training took so far, in seconds, over all of its sessions.

    Attributes:
        train: training steps.
        save: saving checkpoints.
        evaluation: evaluating for logged rows and final results.
        compilation: compiling programs.
        before: all earlier sessions.
        started: the start of this session, from `time.perf_counter`.
    """

    train: float = 0.0
    save: float = 0.0
    evaluation: float = 0.0
    compilation: float = 0.0
    before: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @property
    def total(self) -> float:
        """The total time, including all other work."""
        return self.before + time.perf_counter() - self.started


class Diverged(Exception):  # noqa: N818 -- a signal to the driver's caller, which reports it
    """A step with a non-finite loss, gradient or update. The training's state is from before that step.

    Args:
        loss: the step's loss; None if no step ran.
        step: the step, counted from 0.
        epoch: its epoch, counted from 0.
    """

    def __init__(self, loss: float | None, step: int, epoch: int):
        super().__init__(loss, step, epoch)
        self.loss, self.step, self.epoch = loss, step, epoch


@dataclass
class Training:
    """A training in progress.

    Attributes:
        setup: the experiment with its data, model and task.
        state: the training state; None while another owner has it.
        step: number of finished steps.
        rows: the logged rows.
        clocks: the time spent.
    """

    setup: Setup
    state: TrainState | None
    step: int = 0
    rows: list[LoggedRow] = field(default_factory=list)
    clocks: Clocks = field(default_factory=Clocks)

    @property
    def current(self) -> TrainState:
        """The state; fails if another owner has it."""
        assert self.state is not None, "the state is with another owner"
        return self.state

    def count(self, losses: np.ndarray, seconds: float, *, finite: bool) -> None:
        """Count the steps of a block.

        Args:
            losses: the losses of its steps, including a faulty last one.
            seconds: the time the steps took.
            finite: whether all losses, gradients and updates are finite.

        Raises:
            Diverged: the last step is not finite and does not count.
        """
        self.step += len(losses) - (not finite)
        self.clocks.train += seconds
        if not finite:
            loss = float(losses[-1]) if len(losses) else None
            raise Diverged(loss, self.step, self.setup.calendar.epoch(self.step))

    @property
    def is_over(self) -> bool:
        """Whether all steps are done, or early stopping ends the training."""
        return self.step >= self.setup.calendar.total_steps or self.ends_early

    @property
    def ends_early(self) -> bool:
        """Whether early stopping ends the training (`training.patience`)."""
        return stops_early(self.rows, self.setup.task, self.setup.experiment)

    @property
    def improved(self) -> bool:
        """Whether the last row is the best so far by `checkpoint.keep_best`, so its checkpoint must be kept."""
        return just_improved(self.rows, self.setup.task, self.setup.experiment)

    def best(self) -> LoggedRow:
        """Return the best row by `checkpoint.keep_best`, which must be set."""
        column = self.setup.experiment.checkpoint.keep_best
        assert column is not None, "a metric to choose by"
        return self.rows[best_row(self.rows, self.setup.task, column)]


class Moment(NamedTuple):
    """The argument of a hook: the training after a step.

    Attributes:
        step: number of finished steps.
        state: the training state after them. The next step donates its memory; copy values to keep with
            `jax.device_get`.
        metrics: of the last step, as `train_step` gives them, and of its row where it is logged, as "validation_loss".
    """

    step: int
    state: TrainState
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class Hook:
    """A function that a run calls every few steps. It does not change the run's results.

    Attributes:
        every: steps between calls, 1 or more.
        call: the function, which takes a `Moment`.
    """

    every: int
    call: Callable[[Moment], None]
