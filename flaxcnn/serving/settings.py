"""The options of a service, checked."""

from dataclasses import dataclass
from typing import Literal

from flaxcnn.config.checks import require

_MOST_BATCH = 1024
_MOST_QUEUE = 65_536
MAX_BYTES, MAX_PIXELS = 1 << 28, 1 << 26
"""Of `flaxcnn.data.photographs.decoding`, which imports what a command's help does not wait for."""


@dataclass(frozen=True)
class Settings:
    """How a service answers, and what it bears."""

    top: int = 3
    """How many classes to name."""
    precision: float | None = None
    """A classifier withholds answers below the probability from which on this fraction of its answers was right on the
    run's validation images, such as 0.95. None answers always."""
    prepare: Literal["as_trained", "digits"] = "as_trained"
    """digits: photographs of one digit each become as MNIST's are: light on dark, centred, 28×28."""
    max_batch: int = 32
    """The most images that are computed at once. 1 computes each alone."""
    max_wait_ms: float = 5.0
    """The longest that an image waits for others, in milliseconds. Nobody waits where as many came as last time."""
    queue: int = 1024
    """The most images that are decoded, waiting or computed; who asks for more is told to come again (429)."""
    max_body: int = 16 << 20
    """The largest request, in bytes (413)."""
    max_pixels: int = 25_000_000
    """The largest image, in pixels."""
    page: bool = True
    """Whether there is a page at / for people, who draw or drop an image and see the answer, what it rests on, and each
    layer."""
    timeout: float = 30.0
    """The longest that a request takes, in seconds: its body (408) and its answer (503)."""

    def __post_init__(self) -> None:
        require(self.top >= 1, "--top", "at least 1", self.top)
        sound = self.precision is None or 0 < self.precision <= 1
        require(sound, "--precision", "above 0, at most 1", self.precision)
        require(1 <= self.max_batch <= _MOST_BATCH, "--max_batch", f"1 to {_MOST_BATCH:,}", self.max_batch)
        require(0 <= self.max_wait_ms <= 60_000, "--max_wait_ms", "0 to 60,000", self.max_wait_ms)
        require(1 <= self.queue <= _MOST_QUEUE, "--queue", f"1 to {_MOST_QUEUE:,}", self.queue)
        require(1 <= self.max_body <= MAX_BYTES, "--max_body", f"1 to {MAX_BYTES:,} bytes", self.max_body)
        require(1 <= self.max_pixels <= MAX_PIXELS, "--max_pixels", f"1 to {MAX_PIXELS:,}", self.max_pixels)
        require(0 < self.timeout <= 3600, "--timeout", "above 0, at most 3,600 seconds", self.timeout)
