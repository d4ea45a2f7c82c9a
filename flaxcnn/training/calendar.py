"""The step calendar of a run: its steps, epochs, logged rows and checkpoints."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flaxcnn.data import Order, epoch_order
from flaxcnn.errors import ConfigError
from flaxcnn.training.schedules import MOST_STEPS


@dataclass(frozen=True)
class StepCalendar:
    """The steps, epochs, logged rows and checkpoints of a run. Steps are counted from 0.

    Attributes:
        examples: training examples per epoch.
        batch_size: examples per step.
        total_steps: steps of the whole run.
        log_every: the steps 0, log_every, 2 log_every, … are logged, each after its update.
        save_every: the state is saved after save_every, 2 save_every, … steps, and at the end.
        order: the order in which an epoch visits the examples.
    """

    examples: int
    batch_size: int
    total_steps: int
    log_every: int
    save_every: int
    order: Order = field(default=epoch_order, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        examples: int,
        *,
        batch_size: int,
        epochs: int,
        steps: int | None,
        log_every: int,
        save_every: int,
        order: Order = epoch_order,
    ) -> "StepCalendar":
        """Return the calendar of a number of epochs, cut off after `steps` if that is not None.

        Raises:
            ConfigError: the batch is larger than the data, or there are more than 2**31 - 1 steps.
        """
        if batch_size > examples:
            raise ConfigError(
                "batch larger than the data",
                where="training.batch_size",
                expected=f"at most the {examples:,} training images",
                found=batch_size,
            )
        total = epochs * (examples // batch_size)
        total = total if steps is None else min(steps, total)
        if total > MOST_STEPS:
            raise ConfigError(
                "more steps than are counted",
                where="training.epochs",
                expected=f"epochs of at most {MOST_STEPS:,} steps in all",
                found=f"{total:,}",
                fix="name fewer epochs, or end the run with --training.steps",
            )
        return cls(examples, batch_size, total, log_every, save_every, order)

    @property
    def steps_per_epoch(self) -> int:
        """The number of full batches per epoch."""
        return self.examples // self.batch_size

    def epoch(self, step: int) -> int:
        """Return a step's epoch, counted from 0."""
        return step // self.steps_per_epoch

    def logged(self, step: int) -> bool:
        """Return whether a step is logged."""
        return step % self.log_every == 0

    def saved(self, steps: int) -> bool:
        """Return whether the state is saved after this number of steps."""
        return steps % self.save_every == 0 or steps == self.total_steps

    def batch(self, seed: int, step: int) -> npt.NDArray[np.int32]:
        """Return the positions of a step's training examples, int32 (batch_size,)."""
        order = self.order(seed, self.epoch(step), self.examples)
        first = step % self.steps_per_epoch * self.batch_size
        return order[first : first + self.batch_size]

    def next_cut(self, step: int) -> int:
        """Return the latest end (exclusive) of a block that starts with `step`."""
        after_logged = -(-step // self.log_every) * self.log_every + 1
        epoch_end = (self.epoch(step) + 1) * self.steps_per_epoch
        save = (step // self.save_every + 1) * self.save_every
        return min(after_logged, epoch_end, save, self.total_steps)
