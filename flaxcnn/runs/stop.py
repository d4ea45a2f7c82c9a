"""Stopping on request: the first signal is answered between blocks of steps, the second ends the process at once."""

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Self


class StopRequest:
    """While entered, SIGINT (Ctrl-C) and SIGTERM (preemption) set `signal` instead of ending the program.

    The second one ends the process at once, whatever it is doing: what is on the disk then is what stays.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """The exit code that shells give to a program ended by the signal: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signal if self.signal else 0

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = signal.Signals(number)
        os.write(2, b"flaxcnn: stopping after this block of steps; a second signal ends it at once\n")
