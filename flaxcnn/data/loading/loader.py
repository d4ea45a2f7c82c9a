"""Prefetching of batches from a data set that does not fit in the device's memory.

A step's batch is a pure function of (seed, step), independent of the workers and the first step. It is the same batch
that a data set on the device gives.
"""

from collections import deque
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from flaxcnn.data.images import Images, StoredImages
from flaxcnn.data.loading.order import Order, epoch_order
from flaxcnn.data.targets import check_targets, map_targets
from flaxcnn.data.workers.workers import Workers
from flaxcnn.errors import ConfigError


class Chunk(NamedTuple):
    """The batches of consecutive steps. The caller owns the arrays.

    Attributes:
        images: uint8 (chunk_steps, rows, H, W, C); zeros after the last step.
        targets: the images' targets, each array (chunk_steps, rows, ...); zeros after the last step.
        first: the number of the first step, counted from 0 over all epochs.
        steps: the number of steps, 1 to chunk_steps.
    """

    images: npt.NDArray[np.uint8]
    targets: Any
    first: int
    steps: int


class Loader:
    """Loads a training's batches in chunks, in order. A context manager; its exit ends the worker processes.

    Step s is in epoch s // E, where E = N // batch_size is the number of full batches per epoch; its batch is the
    (s % E)-th of `order(seed, epoch, N)`. A chunk may span epochs; the last chunk may have fewer steps.

    Images on disk are read by `workers` processes into shared memory, up to `ahead` chunks in advance. Images that
    other processes cannot read are read in the calling thread on demand. Images in an array are copied in the calling
    thread regardless of `workers`, because there is nothing to wait for.

    Args:
        images: uint8 (N, H, W, C).
        targets: arrays with N rows (`flaxcnn.data.targets`).
        seed: seed of the example order.
        order: the order of an epoch.
        batch_size: images per step, over all processes that train together.
        first_step: the first step to load.
        total_steps: one past the last step to load.
        chunk_steps: steps per chunk.
        part: the range (start, stop) of each batch to load, for one of several training processes; None for the whole
            batch.
        workers: number of processes that read; 0 to read in the calling thread on demand.
        ahead: maximum number of chunks to read in advance.

    Raises:
        ConfigError: an argument out of range.
        DataError: the numbers of targets and images differ, or no worker can start.
    """

    def __init__(
        self,
        images: Images,
        targets: Any,
        *,
        seed: int,
        batch_size: int,
        first_step: int,
        total_steps: int,
        chunk_steps: int,
        part: tuple[int, int] | None = None,
        workers: int = 2,
        ahead: int = 4,
        order: Order = epoch_order,
    ):
        low, high = part or (0, batch_size)
        for name, value, least, most in (
            ("batch_size", batch_size, 1, len(images)),
            ("total_steps", total_steps, 0, None),
            ("first_step", first_step, 0, total_steps),
            ("chunk_steps", chunk_steps, 1, None),
            ("part[0]", low, 0, batch_size - 1),
            ("part[1]", high, low + 1, batch_size),
            ("workers", workers, 0, None),
            ("ahead", ahead, 1, None),
        ):
            if value < least or (most is not None and value > most):
                expected = f"at least {least}" if most is None else f"{least} to {most}"
                raise ConfigError("out of range", where=f"loader {name}", expected=expected, found=value)
        check_targets(targets, len(images), "targets", "the loader")
        self._images, self._targets, self._seed, self._order_of = images, targets, seed, order
        self._batch_size, self._low, self._rows = batch_size, low, high - low
        self._next_step, self._total_steps, self._chunk_steps = first_step, total_steps, chunk_steps
        self._epoch, self._order = -1, np.zeros(0, np.int32)
        self._closed = False
        self._wanted: deque[_Wanted] = deque()  # the chunks that the workers read, in order
        self._workers: Workers | None = None
        buffers = min(ahead, -(-(total_steps - first_step) // chunk_steps))
        if workers and buffers and isinstance(images, StoredImages) and images.in_workers:
            self._workers = Workers(images, workers, buffers, chunk_steps * self._rows)
            try:
                for buffer in range(buffers):
                    self._start(self._workers, buffer)
            except BaseException:
                self.close()
                raise

    def next(self) -> Chunk:
        """Return the next chunk.

        Raises:
            DataError: an image cannot be read, or a worker was killed. This closes the loader.
            ValueError: no steps are left, or the loader is closed.
        """
        if self._closed:
            raise ValueError("the loader is closed")
        wanted = self._wanted.popleft() if self._wanted else self._want(0)
        if not wanted.positions.size:
            raise ValueError(f"all {self._total_steps} steps were given")
        steps = len(wanted.positions)
        room = np.empty if steps == self._chunk_steps else np.zeros
        images = room((self._chunk_steps, self._rows, *self._images.shape[1:]), np.uint8)

        def rows_of(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
            rows = room((self._chunk_steps, self._rows, *array.shape[1:]), array.dtype)
            rows[:steps] = array[wanted.positions]
            return rows

        targets = map_targets(rows_of, self._targets)
        try:
            self._read(wanted, images[:steps].reshape(-1, *images.shape[2:]))
        except BaseException:
            self.close()
            raise
        return Chunk(images, targets, wanted.first, steps)

    def close(self) -> None:
        """End the workers and free the shared memory. Chunks returned earlier stay valid."""
        self._closed = True
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, wanted: "_Wanted", out_RHWC: npt.NDArray[np.uint8]) -> None:
        if self._workers is not None:
            self._workers.wait(wanted.buffer)
            out_RHWC[...] = self._workers.buffers.pixels_SRHWC[wanted.buffer, : len(out_RHWC)]
            if self._next_step < self._total_steps:
                self._start(self._workers, wanted.buffer)
        elif isinstance(self._images, StoredImages):
            self._images.read(wanted.positions.reshape(-1), out_RHWC)
        else:
            out_RHWC[...] = self._images[wanted.positions.reshape(-1)]

    def _start(self, workers: Workers, buffer: int) -> None:
        """Let the workers read the next chunk into a free buffer."""
        wanted = self._want(buffer)
        workers.buffers.positions_SR[buffer, : wanted.positions.size] = wanted.positions.reshape(-1)
        workers.start(buffer, wanted.positions.size)
        self._wanted.append(wanted)

    def _want(self, buffer: int) -> "_Wanted":
        """Return the next chunk to read; it has no steps if none are left."""
        first, per_epoch = self._next_step, len(self._images) // self._batch_size
        self._next_step = min(first + self._chunk_steps, self._total_steps)
        batches = [np.zeros((0, self._rows), np.int32)]
        step = first
        while step < self._next_step:
            epoch, start = divmod(step, per_epoch)
            if epoch != self._epoch:
                self._epoch, self._order = epoch, self._order_of(self._seed, epoch, len(self._images))
            count = min(self._next_step - step, per_epoch - start)
            visited = self._order[start * self._batch_size : (start + count) * self._batch_size]
            batches.append(visited.reshape(count, -1)[:, self._low : self._low + self._rows])
            step += count
        return _Wanted(first, buffer, np.concatenate(batches))


class _Wanted(NamedTuple):
    """A chunk to read: its first step, its buffer, and the positions of each step's images, (steps, rows)."""

    first: int
    buffer: int
    positions: npt.NDArray[np.int32]
