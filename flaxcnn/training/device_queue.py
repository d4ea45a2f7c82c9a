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
    """Tells how long each program took, and keeps those apart in which devices tell each other something.

    Two programs that need nothing of each other may run at once on CPU. If both have sums over devices in them, one
    process may be in one and another in the other, each waiting for its own.

    Args:
        layout: of the devices.
    """

    def __init__(self, layout: DeviceLayout):
        self._layout = layout
        self._last: jax.Array | None = None
        self._idle_since = 0.0

    def after_last(self, value: np.int32) -> jax.Array | np.int32:
        """Return an argument for the next program that is there only once the last one's result is."""
        if self._layout.mesh.size == 1:
            return value
        placed = self._layout.put(value)
        return placed if self._last is None else _once_there(placed, self._last)

    def started(self, result: jax.Array) -> None:
        """Remember a program that was started, by a scalar of its results."""
        self._last = result

    def lap(self, started: float) -> float:
        """Return the seconds of what ends now: since it was started, or since what was before it ended."""
        now = time.perf_counter()
        seconds = now - max(started, self._idle_since)
        self._idle_since = now
        return seconds
