"""Real processes that make a run together, started fast: forked from one that has imported JAX but not started it.

A forked process runs its program to the end of the interpreter, exit handlers included. A program is Python; it finds
`index`, `count`, `host` and `port`, and is the main program of its process: what it prints goes to files.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]

FORK = """
import json, os, select, sys
import jax.numpy, flaxcnn.processes, flaxcnn.training.checkpoints
flaxcnn.training.checkpoints.import_orbax()

def serve():
    rest = b""
    while True:
        if select.select([0], [], [], 0.02)[0]:
            data = os.read(0, 65536)
            if not data:
                os._exit(0)
            *lines, rest = (rest + data).split(b"\\n")
            for line in lines:
                asked = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    return asked
                print(json.dumps({"name": asked["name"], "pid": pid}), flush=True)
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                print(json.dumps({"pid": ended[0], "code": os.waitstatus_to_exitcode(ended[1])}), flush=True)
        except ChildProcessError:
            pass

asked = serve()
for number, name in ((1, "out"), (2, "err")):
    os.dup2(os.open(f"{asked['files']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
os.environ.update(asked["environment"])
exec(asked["program"], {"__name__": "__main__", **asked["names"]})
"""

# What each program begins with; it says "at NAME" for the test to wait for.
JOINED = """
import sys, time
from flaxcnn import processes
from flaxcnn.errors import FlaxcnnError, RunFolderError
from flaxcnn.processes import Processes, barrier, connections, gather, guarded, in_each
from flaxcnn.processes import is_first, join, leave, share, together

def at(name):
    print(f"at {name}", flush=True)

def run(work, timeout=60.0):
    code = 0
    try:
        join(Processes(f"{host}:{port}", count, index) if count > 1 else Processes(), timeout)
        with guarded():
            work()
        leave()
    except FlaxcnnError as error:
        print(f"flaxcnn: {error}", file=sys.stderr)
        code = error.exit_code
    sys.exit(code)
"""


@contextlib.contextmanager
def held_port(host: str = "127.0.0.1") -> Iterator[int]:
    """Yield a port that nothing else on this machine is given until process 0 of a run has it."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, 0))
        port = held.getsockname()[1]
        if sys.platform != "linux":  # elsewhere a second socket may be refused a port that one is bound to
            held.close()
        yield port


def without_gloo(text: str) -> str:
    """Leave out what the library of XLA's collectives on CPU prints of itself; now and then before it aborts."""
    own = ("[Gloo] ", "terminate called after throwing an instance of 'gloo::", "  what():  [enforce fail at ")
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(own))


@dataclass
class Started:
    """One of the processes."""

    name: str
    files: Path
    port: int = 0
    pid: int = 0
    code: int | None = None

    @property
    def out(self) -> str:
        """What it printed, without what Gloo prints."""
        return without_gloo(self._read(".out"))

    @property
    def err(self) -> str:
        """What it complained of, without what Gloo prints."""
        return without_gloo(self._read(".err"))

    def _read(self, suffix: str) -> str:
        """Return what stands in a file; nothing before the process has opened it, which is later than its start."""
        path = self.files.with_suffix(suffix)
        return path.read_text() if path.exists() else ""

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)


class Fork:
    """The process that the others are forked from."""

    def __init__(self, environment: dict[str, str]):
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0
        )
        self._rest = b""
        self._ports = contextlib.ExitStack()
        self._started: list[Started] = []

    def start(
        self, program: str, count: int, out: Path, *, host: str = "127.0.0.1", devices: int = 1, **names: object
    ) -> list[Started]:
        """Start a program in so many processes; each finds the names, and has so many devices."""
        out.mkdir(parents=True, exist_ok=True)
        port = self._ports.enter_context(held_port(host.strip("[]")))
        flags = f"--xla_force_host_platform_device_count={devices}"
        started = [Started(f"{port}-{index}", out / f"{port}-{index}", port) for index in range(count)]
        self._started += started
        for index, each in enumerate(started):
            asked = {
                "name": each.name,
                "files": str(each.files),
                "program": JOINED + program,
                "names": {"index": index, "count": count, "host": host, "port": port, **names},
                "environment": {"XLA_FLAGS": flags},
            }
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._until(lambda: all(each.pid for each in started), 120)
        return started

    def wait_until_at(self, name: str, started: list[Started], seconds: float = 60) -> None:
        """Return once all of the processes said that they are there."""
        self._until(lambda: all(f"at {name}\n" in each.out or each.code is not None for each in started), seconds)
        assert all(f"at {name}\n" in each.out for each in started), [each.out + each.err for each in started]

    def wait(self, started: list[Started], seconds: float = 60) -> None:
        """Return once all of the processes ended."""
        self._until(lambda: all(each.code is not None for each in started), seconds)

    def run(self, program: str, count: int, out: Path, **names: object) -> list[str]:
        """Run a program in so many processes that end without an error, and return what each printed."""
        started = self.start(program, count, out, **names)
        self.wait(started)
        assert [(each.code, each.err) for each in started] == [(0, "")] * count
        return [each.out for each in started]

    def close(self) -> None:
        """End what still runs."""
        for each in self._started:
            if each.pid and each.code is None:
                with contextlib.suppress(ProcessLookupError):
                    each.kill()
        self._ports.close()
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _until(self, holds, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, [(each.name, each.code, each.out, each.err) for each in self._started]
            if select.select([self._process.stdout], [], [], 0.02)[0]:
                data = os.read(self._process.stdout.fileno(), 65536)
                assert data, "the process to fork from ended"
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in map(json.loads, lines):
                    for each in self._started:
                        if each.name == line.get("name"):
                            each.pid = line["pid"]
                        elif each.pid == line["pid"] and each.code is None and "code" in line:
                            each.code = line["code"]


def line_of(process: Started) -> str:
    """Return the one line that a process ended with."""
    (line,) = process.err.splitlines()
    return str(line)
