"""Sources of a block's batches: all training images on the device, or a few streamed batches.

`Batches` are a pytree that a program indexes by step number; a `BatchSource` creates them. The examples in a step's
batch follow from seed and step alone, so both sources give the same batches.
"""

import math
from functools import partial
from typing import Any, NamedTuple, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding

from flaxcnn.data import Split
from flaxcnn.data.loading.loader import Loader
from flaxcnn.training.calendar import StepCalendar
from flaxcnn.training.device_layout import DeviceLayout

CHUNK_BYTES = 32 * 2**20  # maximum size of a chunk of streamed batches
MOST_CHUNK_STEPS = 64


class Batches(Protocol):
    """A pytree that holds the batches of some steps."""

    def batch(self, step: jax.Array) -> tuple[jax.Array, Any]:
        """Return images (B, H, W, C) and targets (B, ...) of a step."""
        ...


class BatchesUntil(NamedTuple):
    """Batches, and the step that ends them (exclusive)."""

    batches: Batches
    end: int


class BatchSource(Protocol):
    """A source of the batches of consecutive steps."""

    def batches(self, step: int) -> BatchesUntil:
        """Return the batches from a step on, with their end."""
        ...

    def close(self) -> None:
        """End all background work."""
        ...


@flax.struct.dataclass
class ResidentBatches:
    """All training images, and the order in which an epoch visits them.

    Attributes:
        images: uint8 (N, H, W, C).
        targets: the images' targets, arrays with N rows.
        order: the epoch's order of image positions, int32 (N,).
        first: the epoch's first step, an int32 scalar.
        batch_size: examples per step.
        sharding: sharding of a batch over several devices; None to let XLA decide.
    """

    images: jax.Array
    targets: Any
    order: jax.Array
    first: jax.Array | np.int32
    batch_size: int = flax.struct.field(pytree_node=False)
    sharding: NamedSharding | None = flax.struct.field(pytree_node=False, default=None)

    def batch(self, step: jax.Array) -> tuple[jax.Array, Any]:
        """Return images (B, H, W, C) and targets (B, ...) of a step: its part of the epoch's order."""
        indices = lax.dynamic_slice_in_dim(self.order, (step - self.first) * self.batch_size, self.batch_size)
        if self.sharding is not None:  # each device gathers its own
            indices = lax.with_sharding_constraint(indices, self.sharding)
        return self.images[indices], jax.tree.map(lambda array: array[indices], self.targets)


@flax.struct.dataclass
class StreamedBatches:
    """The batches of a few steps.

    Attributes:
        images: uint8 (steps, B, H, W, C).
        targets: the images' targets, arrays (steps, B, ...).
        first: the step of the first batch, an int32 scalar.
    """

    images: jax.Array
    targets: Any
    first: jax.Array | np.int32

    def batch(self, step: jax.Array) -> tuple[jax.Array, Any]:
        """Return images (B, H, W, C) and targets (B, ...) of a step."""
        index = step - self.first
        images = lax.dynamic_index_in_dim(self.images, index, keepdims=False)
        of_step = partial(lax.dynamic_index_in_dim, index=index, keepdims=False)
        return images, jax.tree.map(of_step, self.targets)


class ResidentSource:
    """Batches from training images that every device holds completely.

    Args:
        train: the training split.
        calendar: the run's calendar.
        seed: seed of the example order.
        layout: the device layout.
    """

    def __init__(self, train: Split, calendar: StepCalendar, seed: int, layout: DeviceLayout):
        self._calendar, self._seed, self._layout = calendar, seed, layout
        self._images = layout.put(np.asarray(train.images))
        self._targets = jax.tree.map(layout.put, train.targets)
        self._epoch, self._order = -1, jnp.zeros(0)

    def batches(self, step: int) -> BatchesUntil:
        """Return the batches for the rest of a step's epoch."""
        epoch, steps = self._calendar.epoch(step), self._calendar.steps_per_epoch
        if epoch != self._epoch:
            self._order = self._layout.put(self._calendar.order(self._seed, epoch, self._calendar.examples))
            self._epoch = epoch
        first, batch_size = np.int32(epoch * steps), self._calendar.batch_size
        sharding = self._layout.batch if self._layout.data > 1 else None
        batches = ResidentBatches(self._images, self._targets, self._order, first, batch_size, sharding)
        return BatchesUntil(batches, (epoch + 1) * steps)

    def close(self) -> None:
        """Nothing runs in the background."""


class StreamedSource:
    """Streamed batches, a few at a time, from training images that do not fit on the devices.

    Each process reads its devices' part of each batch. The next batches are decoded and sent to the devices while the
    devices compute with the current ones.

    Args:
        train: the training split.
        calendar: the run's calendar.
        seed: seed of the example order.
        layout: the device layout.
        workers: number of processes that read and decode; 0 to do it in this process.
    """

    def __init__(self, train: Split, calendar: StepCalendar, seed: int, layout: DeviceLayout, workers: int):
        self._train, self._calendar, self._seed, self._layout, self._workers = train, calendar, seed, layout, workers
        self._part = layout.part(calendar.batch_size)
        rows = self._part[1] - self._part[0]
        batch_bytes = rows * math.prod(train.images.shape[1:])
        self._chunk_steps = max(1, min(MOST_CHUNK_STEPS, CHUNK_BYTES // batch_bytes))
        self._loader: Loader | None = None
        self._upcoming: BatchesUntil | None = None
        self._first = -1

    def batches(self, step: int) -> BatchesUntil:
        """Return the batches of a step and the few after it."""
        if self._upcoming is not None and self._first <= step < self._upcoming.end:
            return self._upcoming
        if self._loader is None or self._upcoming is None or step != self._upcoming.end:
            self._open(step)
        assert self._loader is not None
        chunk, batch_size = self._loader.next(), self._calendar.batch_size
        images, targets = jax.tree.map(
            lambda array: self._layout.put_batches(array, batch_size), (chunk.images, chunk.targets)
        )
        self._first = chunk.first
        self._upcoming = BatchesUntil(
            StreamedBatches(images, targets, np.int32(chunk.first)), chunk.first + chunk.steps
        )
        return self._upcoming

    def close(self) -> None:
        """End the worker processes."""
        if self._loader is not None:
            self._loader.close()
            self._loader = None

    def _open(self, step: int) -> None:
        self.close()
        self._loader = Loader(
            self._train.images,
            self._train.targets,
            seed=self._seed,
            batch_size=self._calendar.batch_size,
            first_step=step,
            total_steps=self._calendar.total_steps,
            chunk_steps=self._chunk_steps,
            part=self._part,
            workers=self._workers,
            order=self._calendar.order,
        )
