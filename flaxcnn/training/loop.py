"""The driver: runs blocks of steps that end where something is logged and are short enough to answer signals soon.

The next block starts while the previous one computes, so the devices never wait for the host. The driver knows nothing
of files or terminals. Block boundaries do not change the results, so they may depend on the clock.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from flaxcnn.training.batches import BatchSource
from flaxcnn.training.calendar import StepCalendar
from flaxcnn.training.device_layout import DeviceLayout, single_device
from flaxcnn.training.device_queue import DeviceQueue
from flaxcnn.training.state import TrainState
from flaxcnn.training.step import run_block

MOST_STEPS = 256  # maximum steps in a block: bounds the array of losses that a block returns
BLOCK_SECONDS = 0.25  # target time of a block, so that Ctrl-C, with two blocks under way, is answered soon


class Started(NamedTuple):
    """A running block of steps.

    Attributes:
        state: the state after the block.
        first: its first step.
        end: its end (exclusive).
        losses: the losses of its steps, on the device.
        metrics: the metrics of its last step, on the device.
        at: its start time, from `time.perf_counter`.
    """

    state: TrainState
    first: int
    end: int
    losses: jax.Array
    metrics: Mapping[str, jax.Array]
    at: float


class Block(NamedTuple):
    """The result of a block of steps.

    Attributes:
        state: the state after the block; already donated if a later block was started.
        losses: the losses of its steps, float32; the last one may be the faulty one.
        metrics: the metrics of its last step, as from `train_step`.
        finite: whether all losses, gradients and updates are finite. If not, the state is from before the faulty step,
            and so is the state of a block that was started after it.
        seconds: the time the block took.
    """

    state: TrainState
    losses: np.ndarray
    metrics: Mapping[str, float]
    finite: bool
    seconds: float


class BlockRunner:
    """Runs blocks of steps of one calendar.

    The constructor compiles the program; no block compiles anything, for any length.

    Args:
        state: any state of the run, for its shapes.
        calendar: the run's calendar.
        batch_source: the source of the batches.
        layout: layout of the state and the batches; None for the first device only.
        wants_stop: returns whether this process wants the run to end.
        device_queue: the devices' queue, shared with other work on them; None for a new one.
    """

    def __init__(
        self,
        state: TrainState,
        calendar: StepCalendar,
        batch_source: BatchSource,
        layout: DeviceLayout | None = None,
        *,
        wants_stop: Callable[[], bool] = lambda: False,
        device_queue: DeviceQueue | None = None,
    ):
        self.calendar, self._wants_stop = calendar, wants_stop
        self._layout = single_device() if layout is None else layout
        self._batch_source = batch_source
        self._device_queue = DeviceQueue(self._layout) if device_queue is None else device_queue
        self._several = self._layout.processes > 1
        self._finite: Any = self._layout.put(np.bool_(True))  # of the block that was started last
        # A step's, until one is measured: the first block is a single step. The same in all processes.
        self._step_seconds = self._measured = BLOCK_SECONDS
        self._agreed_stop = False
        started = time.perf_counter()
        self._block = self._compile(state)
        self.compile_seconds = time.perf_counter() - started

    @property
    def stopping(self) -> bool:
        """Whether the run must end: this process wants it or, with several processes, all know that one does."""
        return self._agreed_stop if self._several else self._wants_stop()

    def start(self, state: TrainState, step: int, most: int = MOST_STEPS) -> Started:
        """Start the next block, and return at once.

        Args:
            state: the state at `step`; its memory is donated.
            step: the number of the block's first step.
            most: the maximum length of the block.
        """
        upcoming = self._batch_source.batches(step)
        affordable = max(1, int(BLOCK_SECONDS / self._step_seconds))
        end = min(self.calendar.next_cut(step), upcoming.end, step + min(affordable, most, MOST_STEPS))
        at = time.perf_counter()
        steps = self._device_queue.after_last(np.int32(end - step))
        state, losses, metrics = self._block(state, upcoming.batches, steps, self._finite, self._process_flags())
        self._finite = metrics["finite"]
        self._device_queue.started(metrics["steps"])
        return Started(state, step, end, losses, metrics, at)

    def finish(self, started: Started) -> Block:
        """Wait for the oldest running block to end."""
        losses = np.asarray(started.losses)
        numbers = {name: np.asarray(value) for name, value in started.metrics.items()}
        seconds = self._device_queue.lap(started.at)
        self._step_seconds = self._measured = seconds / (started.end - started.first)
        if self._several:
            slowest, stop = numbers.pop("process_flags")
            self._step_seconds, self._agreed_stop = slowest / 1e6, bool(stop)
        finite, steps = bool(numbers.pop("finite")), int(numbers.pop("steps"))
        metrics = {name: float(value) for name, value in numbers.items()}
        return Block(started.state, losses[:steps], metrics, finite, seconds)

    def run(self, state: TrainState, step: int, most: int = MOST_STEPS) -> Block:
        """Run the next block and wait for it; arguments as for `start`."""
        return self.finish(self.start(state, step, most))

    @property
    def text(self) -> str:
        """The text of the compiled program, from XLA."""
        return self._block.as_text()

    def _compile(self, state: TrainState) -> Any:
        replicated = self._layout.replicated
        jitted = jax.jit(
            run_block,
            donate_argnums=0,
            static_argnames="most_steps",
            out_shardings=(self._layout.of_tree(state), replicated, replicated),
        )
        batches = self._batch_source.batches(min(int(state.step), self.calendar.total_steps - 1)).batches
        process_flags = self._process_flags()
        lowered = jitted.lower(
            self._layout.targets(state),
            batches,
            self._device_queue.after_last(np.int32(1)),
            self._finite,
            process_flags,
            most_steps=MOST_STEPS,
        )
        return lowered.compile()

    def _process_flags(self) -> jax.Array | None:
        """Return this process's flags for the others: the microseconds of a step, and whether to stop.

        The maximum over all processes comes back with the block's metrics, so all processes decide alike.
        """
        if not self._several:
            return None
        flags = [min(int(self._measured * 1e6), 2**31 - 1), int(self._wants_stop())]
        mine = np.array([flags] * len(self._layout.mesh.local_devices), np.int32)
        return jax.make_array_from_process_local_data(self._layout.each, mine)
