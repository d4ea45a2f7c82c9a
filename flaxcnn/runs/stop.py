"""Stopping on request: the first signal stops the run between blocks of steps, a second ends the process at once."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from flaxcnn.signals import REQUESTS, STOPS
from flaxcnn.terminal import write_now


class StopRequest:
    """A context manager in which signals that stop a run set `signal` instead of ending the process.

    Outside the main thread, it does nothing. The signals are Ctrl-C (SIGINT), SIGTERM, SIGQUIT, the warnings of batch
    systems before they end a job (SIGUSR1, SIGUSR2, SIGXCPU) and a closing terminal (SIGHUP). A warning that the
    process was started to ignore, for example by `nohup`, stays ignored. After a SIGINT, SIGTERM or SIGQUIT, another
    one of these ends the process at once; only what is already on disk remains. Warnings never do that, because they
    may repeat while the run is being saved.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None  # the first one
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():  # Python gives signals to that one alone
            return self
        for number in STOPS:
            before = signal.getsignal(number)
            if number in (signal.SIGINT, signal.SIGTERM) or before not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """The shell's exit code for a process ended by the signal: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signal if self.signal else 0

    def _remember(self, number: int, frame: FrameType | None) -> None:
        came, request = signal.Signals(number), number in REQUESTS
        if request and self._asked:
            os._exit(128 + number)
        first = self.signal is None
        # Recorded before anything is written: another signal may come, and be answered, while that is done.
        self.signal, self._asked = self.signal or came, self._asked or request
        if request:
            write_now("flaxcnn: stopping after this block of steps; a second signal ends it at once")
        elif first:
            write_now(f"flaxcnn: stopping after this block of steps, as {came.name} asks")
