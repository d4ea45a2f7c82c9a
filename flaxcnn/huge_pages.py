"""Large arrays in huge pages of memory, where Linux gives them only to programs that ask.

XLA takes new memory from the system for each step. A gigabyte is 250,000 pages of 4 KiB, and handing them over adds a
quarter to a half to a step's time, or several times that on a loaded virtual machine (docs/performance.md).
Where the system's setting is "always", it gives pages of 2 MiB by itself. Where it is "madvise", as on Ubuntu, the C
library has to ask, and reads once, as the process starts, whether it should.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE, ASKS = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_FIRST = (2, 35)  # of glibc, that reads this


def start_again() -> None:
    """Start this process again, with the same arguments, if that makes its C library ask for huge pages.

    Call it before anything is imported that takes long. The process keeps its number, its files and its environment,
    to which one variable is added; a user who has set that variable is not overruled.
    """
    if not needed(os.environ) or not sys.executable or sys.orig_argv[1:2] in ([], ["-"]):
        return
    os.environ[VARIABLE] = ASKS
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # None where Python found its descriptor closed
            stream.flush()
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError:  # no program to start, as in a sandbox: slower, and no reason to end
        del os.environ[VARIABLE]


def needed(environment: Mapping[str, str], setting: Path = _SETTING) -> bool:
    """Return whether the C library of a process with such an environment should ask and does not."""
    if VARIABLE in environment or sys.platform != "linux":
        return False
    try:
        library, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        known = library == "glibc" and tuple(map(int, version.split(".")[:2])) >= _FIRST
        return known and "[madvise]" in setting.read_text(encoding="ascii")
    except (OSError, ValueError):  # another C library, or no such setting
        return False
