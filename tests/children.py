"""The processes that a process started, as Linux lists them."""

import time
from pathlib import Path


def children(pid):
    """The processes that a process started and that are there, be they only waited for."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(state[1]) == pid:
            found.append(int(status.parent.name))
    return sorted(found)


def gone(pids, seconds):
    end = time.monotonic() + seconds
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        if time.monotonic() > end:
            return left
        time.sleep(0.02)
    return []
