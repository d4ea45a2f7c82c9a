"""A bound on the processor's time for what has to be answered at once, whatever else the machine does meanwhile."""

import contextlib
import signal

SECONDS = 20  # of the processor for one answer of milliseconds: who takes quadratic or exponential time takes minutes


@contextlib.contextmanager
def answered():
    """Fail where the body takes this process minutes of work: its own time counts, and not the clock's."""

    def too_long(number, frame):
        raise AssertionError(f"not answered after {SECONDS} seconds of the processor")

    before = signal.signal(signal.SIGVTALRM, too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
