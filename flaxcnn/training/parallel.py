"""Parallel trials: several trials in the slots of one program, one after the other or all at once.

Trials share a program if their states have the same structure and their batches the same size. They then differ only in
values such as the learning rate, the seed or the strength of an augmentation. Each trial counts its own steps, so
trials may be at different steps, and a trial with nothing to do runs none.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from flaxcnn.training.batches import BatchSource, ResidentBatches
from flaxcnn.training.calendar import StepCalendar
from flaxcnn.training.device_layout import DeviceLayout
from flaxcnn.training.loop import BLOCK_SECONDS, MOST_STEPS, BlockRunner
from flaxcnn.training.state import TrainState
from flaxcnn.training.step import train_block

How = Literal["map", "vmap"]  # trials one after the other, or all at once
Tree = TypeVar("Tree")


class Position(NamedTuple):
    """A trial's next step and the end of its training without a pause.

    Attributes:
        calendar: the trial's calendar; all trials share the batch size and the number of examples.
        seed: seed of the example order.
        step: the next step.
        end: the step before which to pause, greater than `step`.
    """

    calendar: StepCalendar
    seed: int
    step: int
    end: int


class TrialBlock(NamedTuple):
    """The result of a block of steps in one slot.

    Attributes:
        losses: the losses of its steps, float32; the last one may be the faulty one.
        finite: whether all losses, gradients and updates are finite; if not, the state is from before the faulty step.
    """

    losses: np.ndarray
    finite: bool


class ParallelTrials(Protocol):
    """Parallel trials.

    Attributes:
        count: the number of slots.
    """

    count: int

    def put(self, slot: int, state: TrainState) -> None:
        """Put a state into a slot, for its trial to go on from."""
        ...

    def take(self, slot: int) -> TrainState:
        """Return the state of a slot."""
        ...

    def run(self, positions: Sequence[Position | None]) -> list[TrialBlock | None]:
        """Run a block of steps in every slot that has a position, and return the results.

        A block takes about `BLOCK_SECONDS`. In each slot it ends at the latest at the position's end or an epoch's end.
        """
        ...

    def close(self) -> None:
        """End whatever runs in the background."""
        ...


class CohortTrials:
    """Trials of one program, on one device that holds all images. The constructor compiles the program.

    Args:
        state: any state of the trainings, for its shapes.
        batch_size: batch size of all trials.
        images: training images, uint8 (N, H, W, C), on the device.
        targets: their targets, arrays with N rows, on the device.
        count: number of slots.
        how: "map" runs trials one after the other, which suits a CPU; "vmap" runs all at once, which suits a GPU.
        layout: the device layout.
    """

    def __init__(
        self,
        state: TrainState,
        batch_size: int,
        images: jax.Array,
        targets: Any,
        count: int,
        how: How,
        layout: DeviceLayout,
    ):
        self.count, self.how = count, how
        self._batch_size, self._images, self._targets = batch_size, images, targets
        self._epochs: list[tuple[int, int] | None] = [None] * count  # seed and epoch of each slot's order
        self._orders = layout.put(np.zeros((count, len(images)), np.int32))
        self._states = jax.jit(
            lambda tree: jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), tree),
            out_shardings=layout.replicated,
        )(state)
        self._step_seconds = BLOCK_SECONDS  # of one step in all slots, until it is measured: the first block is short
        self._program = self._compile()

    def put(self, slot: int, state: TrainState) -> None:
        """Put a state into a slot, for its trial to go on from."""
        self._states = _put(self._states, np.int32(slot), state)
        self._epochs[slot] = None

    def take(self, slot: int) -> TrainState:
        """Return the state of a slot."""
        return _take(self._states, np.int32(slot))

    def run(self, positions: Sequence[Position | None]) -> list[TrialBlock | None]:
        """Run a block of steps in every slot that has a position; see `ParallelTrials`."""
        affordable = min(MOST_STEPS, max(1, int(BLOCK_SECONDS / self._step_seconds)))
        steps, firsts = np.zeros(self.count, np.int32), np.zeros(self.count, np.int32)
        for slot, position in enumerate(positions):
            if position is not None:
                calendar, step = position.calendar, position.step
                firsts[slot] = calendar.epoch(step) * calendar.steps_per_epoch
                steps[slot] = min(firsts[slot] + calendar.steps_per_epoch, position.end, step + affordable) - step
                assert steps[slot] > 0, f"a slot at step {step} is to pause at {position.end}"
                self._visit(slot, position)
        started = time.perf_counter()
        self._states, losses, metrics = self._program(
            self._states, self._images, self._targets, self._orders, firsts, steps
        )
        losses, finite, made = (np.asarray(each) for each in (losses, metrics["finite"], metrics["steps"]))
        # With `map`, slots share the time; with `vmap`, all slots take as many steps as the longest.
        busy = [int(count) for count in steps if count]
        together = sum(busy) / len(busy) if self.how == "map" else max(busy)
        self._step_seconds = (time.perf_counter() - started) / together
        return [
            None if position is None else TrialBlock(losses[slot, : made[slot]], bool(finite[slot]))
            for slot, position in enumerate(positions)
        ]

    def close(self) -> None:
        """Do nothing: nothing runs in the background."""

    def _visit(self, slot: int, position: Position) -> None:
        """Set a slot's example order to that of its position's epoch."""
        epoch = position.calendar.epoch(position.step)
        if self._epochs[slot] != (position.seed, epoch):
            order = position.calendar.order(position.seed, epoch, position.calendar.examples)
            self._orders = _put(self._orders, np.int32(slot), order)
            self._epochs[slot] = position.seed, epoch

    def _compile(self) -> Any:
        numbers = jax.ShapeDtypeStruct((self.count,), np.int32)
        arguments = self._states, self._images, self._targets, self._orders, numbers, numbers
        jitted = jax.jit(_train_trials, donate_argnums=0, static_argnames=("batch_size", "how"))
        return jitted.lower(*arguments, batch_size=self._batch_size, how=self.how).compile()


class SingleTrial:
    """A single trial, for cases that a cohort does not support: images that do not fit the device, or several devices.

    Each training has its own runner and so its own compiled program.

    Args:
        layout: the device layout.
        batch_source: returns the batch source of a position's training.
        compiled: called after each compilation.
    """

    count = 1

    def __init__(
        self,
        layout: DeviceLayout,
        batch_source: Callable[[Position], BatchSource],
        compiled: Callable[[], None] = lambda: None,
    ):
        self._layout, self._batch_source_of, self._compiled = layout, batch_source, compiled
        self._state: TrainState | None = None
        self._runner: BlockRunner | None = None
        self._batch_source: BatchSource | None = None

    def put(self, slot: int, state: TrainState) -> None:
        """Put a state into the slot, for its trial to go on from."""
        self.close()
        self._state = state

    def take(self, slot: int) -> TrainState:
        """Return the state of the slot; it is valid until the slot runs again."""
        assert self._state is not None, "nothing was put"
        return self._state

    def run(self, positions: Sequence[Position | None]) -> list[TrialBlock | None]:
        """Run a block of steps; see `ParallelTrials`."""
        (position,) = positions
        if position is None:
            return [None]
        if self._runner is None:
            self._batch_source = self._batch_source_of(position)
            self._runner = BlockRunner(self.take(0), position.calendar, self._batch_source, self._layout)
            self._compiled()
        block = self._runner.run(self.take(0), position.step, position.end - position.step)
        self._state = block.state
        return [TrialBlock(block.losses, block.finite)]

    def close(self) -> None:
        """End whatever reads images in the background."""
        if self._batch_source is not None:
            self._batch_source.close()
        self._runner = self._batch_source = self._state = None


def _train_trials(
    states: TrainState,
    images: jax.Array,
    targets: Any,
    orders: jax.Array,
    firsts: jax.Array,
    steps: jax.Array,
    *,
    batch_size: int,
    how: How,
) -> tuple[TrainState, jax.Array, dict[str, jax.Array]]:
    """Run a block of steps in every slot: `train_block` with a leading axis of slots and shared images."""

    def one(slot: tuple[TrainState, jax.Array, jax.Array, jax.Array]) -> Any:
        state, order, first, steps = slot
        return train_block(
            state, ResidentBatches(images, targets, order, first, batch_size), steps, most_steps=MOST_STEPS
        )

    over: Callable[..., Any] = partial(lax.map, one) if how == "map" else jax.vmap(one)
    return over((states, orders, firsts, steps))


@partial(jax.jit, donate_argnums=0)
def _put(stacked: Tree, slot: jax.Array | np.int32, tree: Tree) -> Tree:
    return jax.tree.map(lambda all_of, one: all_of.at[slot].set(one), stacked, tree)


@jax.jit
def _take(stacked: Tree, slot: jax.Array | np.int32) -> Tree:
    return jax.tree.map(lambda all_of: all_of[slot], stacked)
