"""The order and the timing of programs on the devices."""

import time

import jax
import numpy as np
from jax import lax

from flaxcnn.training.device_layout import DeviceLayout


@jax.jit
def _once_there(value: jax.Array, result: jax.Array) -> jax.Array:
    return lax.optimization_barrier((value, result))[0]


class DeviceQueue:
    """Measures each program's time, and prevents programs with communication between devices from overlapping.

    Independent programs may run at the same time on CPU. If both contain sums over devices, two processes can each wait
    in a different one: a deadlock.

    Args:
        layout: the device layout.
    """

    def __init__(self, layout: DeviceLayout):
        self._layout = layout
        self._last: jax.Array | None = None
        self._idle_since = 0.0

    def after_last(self, value: np.int32) -> jax.Array | np.int32:
        """Return an argument for the next program that becomes available only with the last program's result."""
        if self._layout.mesh.size == 1:
            return value
        placed = self._layout.put(value)
        return placed if self._last is None else _once_there(placed, self._last)

    def started(self, result: jax.Array) -> None:
        """Register a started program by a scalar of its results."""
        self._last = result

    def lap(self, started: float) -> float:
        """Return the seconds of the program that ends now, since its start or since the end of the previous one."""
        now = time.perf_counter()
        seconds = now - max(started, self._idle_since)
        self._idle_since = now
        return seconds
