"""The driver: blocks of steps, cut where something is logged and short enough that a signal is answered soon.

It knows nothing of files or terminals. Where the cuts fall changes no bit of the result, so they may follow the clock.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from flaxcnn.data import Split, epoch_order
from flaxcnn.errors import ConfigError
from flaxcnn.training.state import TrainState
from flaxcnn.training.step import batch_indices, train_block

MOST_STEPS = 256  # in one block: bounds the array of losses that a block returns
BLOCK_SECONDS = 0.25  # a block aims to take no longer, so that Ctrl-C is answered well within a second


@dataclass(frozen=True)
class Plan:
    """Where a run's steps, epochs and logged rows fall. Steps are counted from 0.

    Attributes:
        examples: training examples in an epoch.
        batch_size: examples a step.
        total_steps: steps of the whole run.
        log_every: the steps 0, log_every, 2 log_every, … are logged, each after its update.
        save_every: the state is saved when so many steps are done, and twice as many, …, and at the end.
    """

    examples: int
    batch_size: int
    total_steps: int
    log_every: int
    save_every: int

    @classmethod
    def of(
        cls, examples: int, *, batch_size: int, epochs: int, steps: int | None, log_every: int, save_every: int
    ) -> "Plan":
        """Return the plan of so many epochs, ended after `steps` where that is not None and comes first.

        Raises:
            ConfigError: a batch holds more examples than there are.
        """
        if batch_size > examples:
            raise ConfigError(
                "batch larger than the data",
                where="training.batch_size",
                expected=f"at most the {examples:,} training images",
                found=batch_size,
            )
        total = epochs * (examples // batch_size)
        return cls(examples, batch_size, total if steps is None else min(steps, total), log_every, save_every)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return self.examples // self.batch_size

    def epoch(self, step: int) -> int:
        """Return the epoch, counted from 0, that a step belongs to."""
        return step // self.steps_per_epoch

    def logged(self, step: int) -> bool:
        """Return whether a step is logged."""
        return step % self.log_every == 0

    def saved(self, steps: int) -> bool:
        """Return whether the state is saved when so many steps are done."""
        return steps % self.save_every == 0 or steps == self.total_steps

    def next_cut(self, step: int) -> int:
        """Return where a block that starts with `step` ends at the latest: before which step."""
        after_logged = -(-step // self.log_every) * self.log_every + 1
        epoch_end = (self.epoch(step) + 1) * self.steps_per_epoch
        save = (step // self.save_every + 1) * self.save_every
        return min(after_logged, epoch_end, save, self.total_steps)


class Block(NamedTuple):
    """What a block of steps leaves.

    Attributes:
        state: after the block.
        losses: of its steps, float32; the last one may be the faulty one.
        metrics: of its last step, as `train_step` gives them.
        finite: whether all losses, gradients and updates are; where not, the state is the one before the faulty step.
        seconds: that the block took.
    """

    state: TrainState
    losses: np.ndarray
    metrics: Mapping[str, float]
    finite: bool
    seconds: float


class BlockRunner:
    """Runs blocks of steps of one plan, on training data that lies on the device.

    The program is compiled once, when the runner is made: no block can compile anything, whatever its length.

    Args:
        state: any state of the run, for its shapes.
        train: the training split.
        plan: the run's plan.
        seed: of the order of examples.
    """

    def __init__(self, state: TrainState, train: Split, plan: Plan, seed: int):
        self.plan, self.seed = plan, seed
        self._images, self._labels = jnp.asarray(train.images), jnp.asarray(train.labels)
        self._epoch, self._order = -1, jnp.zeros((plan.examples,), jnp.int32)
        self._step_seconds = BLOCK_SECONDS  # until one is measured: the first block is a single step
        started = time.perf_counter()
        self._block: Any = train_block.lower(
            state,
            self._images,
            self._labels,
            self._order,
            jnp.int32(1),
            batch_size=plan.batch_size,
            most_steps=MOST_STEPS,
        ).compile()
        self.compile_seconds = time.perf_counter() - started

    def run(self, state: TrainState, step: int, most: int = MOST_STEPS) -> Block:
        """Run the next block and wait for its end.

        Args:
            state: the state at `step`; its memory is taken over.
            step: the number of the block's first step.
            most: the longest block that is wanted.
        """
        self._enter(self.plan.epoch(step))
        affordable = max(1, int(BLOCK_SECONDS / self._step_seconds))
        steps = min(self.plan.next_cut(step) - step, affordable, most, MOST_STEPS)
        started = time.perf_counter()
        state, losses, metrics = self._block(state, self._images, self._labels, self._order, jnp.int32(steps))
        losses, numbers = np.asarray(losses), {name: float(value) for name, value in metrics.items()}
        seconds = time.perf_counter() - started
        self._step_seconds = seconds / steps
        finite = bool(numbers.pop("finite"))
        if not finite:
            steps = int(state.step) - step + 1
        return Block(state, losses[:steps], numbers, finite, seconds)

    def batch(self, step: int) -> np.ndarray:
        """Return the indices of the training examples that a step sees, int32 (batch_size,)."""
        self._enter(self.plan.epoch(step))
        return np.asarray(batch_indices(self._order, jnp.int32(step), self.plan.batch_size))

    def _enter(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch, self._order = epoch, jnp.asarray(epoch_order(self.seed, epoch, self.plan.examples))
