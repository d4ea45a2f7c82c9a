"""The signals by which a person, a terminal or a batch system asks a program to end, and the processes spared them."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

# A person or the system means these: the second one ends a run at once.
REQUESTS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGQUIT") if hasattr(signal, name))

# Warnings, which may come more than once: of a terminal that closes, of SLURM, LSF, PBS and Grid Engine before they end
# a job, and of Linux each second from a limit of processor time to the next.
WARNINGS = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU") if hasattr(signal, name))

STOPS = (*REQUESTS, *WARNINGS)


@contextmanager
def held_back() -> Iterator[None]:
    """While entered, the signals that stop a run wait; a process started meanwhile holds them back for ever."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
