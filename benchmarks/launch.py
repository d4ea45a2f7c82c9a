"""Runs one command and prints, as the last line, what it took: `python -I -S launch.py FILE COMMAND...`.

A small process of its own between the harness and what it times: the system counts the memory of the process that
starts another as the other's, up to the moment when that one has its own program. Needs the standard library alone.

The line is JSON: `seconds` from start to exit, `first_row_seconds` until FILE had content (None if it never had),
`peak_bytes` of resident memory, and `exit_code`.
"""

import json
import os
import subprocess
import sys
import time

POLL_SECONDS = 0.002


def main(file: str, command: list[str]) -> None:
    """Run, wait, print."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    first_row_seconds = None
    pid = 0
    while not pid:
        pid, status, usage = os.wait4(process.pid, 0 if first_row_seconds else os.WNOHANG)
        seconds = time.perf_counter() - started
        if not first_row_seconds and os.path.exists(file) and os.path.getsize(file):
            first_row_seconds = seconds
        elif not pid:
            time.sleep(POLL_SECONDS)
    measured = {
        "seconds": seconds,
        "first_row_seconds": first_row_seconds,
        "peak_bytes": usage.ru_maxrss * 1024,
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
