"""Worker processes that read or decode images: start them, give them tasks, wait for them and end them.

They are separate programs, not forks, because JAX has threads, and not `multiprocessing` processes, which would run a
user's script again. Any failure of a worker becomes one error here.
"""

import json
import os
import pickle
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from flaxcnn.data.workers.shared_buffers import SharedBuffers, open_unnamed
from flaxcnn.errors import DataError
from flaxcnn.files.user_code import outside_files
from flaxcnn.signals import held_back


class Reader(Protocol):
    """What the processes read from, such as `flaxcnn.data.images.StoredImages`; they get a pickle of it.

    Attributes:
        shape: (N, H, W, C).
    """

    shape: tuple[int, int, int, int]

    def read(self, positions_K: npt.NDArray[np.integer[Any]], out_KHWC: npt.NDArray[np.uint8]) -> Any:
        """Read images into an array, and return what else is to be told of them: None, or what JSON has."""


class Workers:
    """Processes that read images into buffers of shared memory, each a share of every buffer.

    They do not answer the signals that stop a run, which may go to all of its processes: this process decides. They
    end when it does, however it does.

    Args:
        images: to read from.
        count: how many processes.
        buffers: how many.
        rows: images that a buffer has room for.
        role: what each is called in an error.
        saving: what takes less memory, for an error.

    Attributes:
        buffers: the shared memory.

    Raises:
        DataError: the buffers take more memory than there is, or the system gives no processes.
    """

    def __init__(
        self,
        images: Reader,
        count: int,
        buffers: int,
        rows: int,
        role: str = "loading worker",
        saving: str = "use fewer workers or shorter chunks",
    ):
        shape = (buffers, rows, images.shape[1:])
        memory, setup = -1, -1
        self._workers: list[_Worker] = []
        self._saving = saving
        try:
            memory = open_unnamed("flaxcnn-chunks")
            os.ftruncate(memory, _possible(SharedBuffers.size(*shape)))
            self.buffers = SharedBuffers(memory, *shape)
            setup = open_unnamed("flaxcnn-setup")
            with open(setup, "wb", closefd=False) as file:
                pickle.dump((sys.path, outside_files()), file)
                pickle.dump((images, memory, *shape), file)
            for number in range(count):
                self._workers.append(_Worker(f"{role} {number + 1} of {count}", setup, memory))
        except OSError as error:
            self.close()
            raise DataError(
                "cannot start the workers",
                where=f"{count} {role}s",
                found=error.strerror,
                fix=saving,
            ) from error
        except BaseException:
            self.close()
            raise
        finally:
            for descriptor in (memory, setup):
                if descriptor >= 0:
                    os.close(descriptor)
        self._poll = select.poll()
        for worker in self._workers:
            self._poll.register(worker.answers, select.POLLIN)
        self._shares = [0] * buffers  # of each buffer, those that are not read yet
        self._told: list[list[Any]] = [[] for _ in range(buffers)]  # of each buffer, by those that are

    def start(self, buffer: int, rows: int) -> None:
        """Have the first rows of a buffer read, of the images at its positions.

        Raises:
            DataError: a worker has ended.
        """
        count = len(self._workers)
        for number, worker in enumerate(self._workers):
            start, stop = rows * number // count, rows * (number + 1) // count
            if start == stop:
                continue
            try:
                worker.tasks.write(b"%d %d %d\n" % (buffer, start, stop))
            except BrokenPipeError:
                self._fail(worker)
            self._shares[buffer] += 1

    def wait(self, buffer: int) -> list[Any]:
        """Return once a buffer is read, with what was told of its images by `Reader.read`, in any order.

        Raises:
            DataError: an image cannot be read, or a worker has ended; all others are ended too.
        """
        while self._shares[buffer]:
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            for worker in self._workers:
                if worker.answers.fileno() in ready:
                    self._take(worker)
        told, self._told[buffer] = self._told[buffer], []
        return told

    def close(self) -> None:
        """End all processes, whatever they are doing, wait until they are gone, and give back the memory."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
            worker.tasks.close()
            worker.answers.close()
            os.close(worker.printed)
        self._workers = []
        # the memory goes even if something, such as a traceback, holds on to this object
        vars(self).pop("buffers", None)

    def _take(self, worker: "_Worker") -> None:
        """Take note of a worker's answers."""
        received = worker.answers.read(1 << 16)
        if not received:
            self._fail(worker)
        *lines, worker.unfinished = (worker.unfinished + received).split(b"\n")
        for line in lines:
            if line.startswith(b"{"):
                self._raise(worker, **json.loads(line))
            number, _, told = line.partition(b" ")
            self._shares[int(number)] -= 1
            if told:
                self._told[int(number)].append(json.loads(told))

    def _fail(self, worker: "_Worker") -> NoReturn:
        """Raise the error of a worker that has ended, with its own report where it left one."""
        while received := worker.answers.read(1 << 16):
            worker.unfinished += received
        report = worker.unfinished.rpartition(b"\n")[0].rpartition(b"\n")[2]
        if report.startswith(b"{"):
            self._raise(worker, **json.loads(report))
        code = worker.process.wait()
        if code < 0:
            found = f"killed by {signal.Signals(-code).name}"
            fix = f"if memory was short, as the system's log tells, {self._saving}; then start again"
        else:
            found = f"exit code {code}: {worker.last_words() or 'it printed nothing'}"
            fix = "start again once that is fixed"
        self._raise(worker, "ended before its images were read", found=found, fix=fix)

    def _raise(self, worker: "_Worker", what: str, traceback: str = "", **parts: Any) -> NoReturn:
        self.close()
        error = DataError(
            what, **{**parts, "where": parts.get("where") or f"{worker.name} (process {worker.process.pid})"}
        )
        if traceback:
            error.add_note(f"in {worker.name}: {traceback}")
        raise error


class _Worker:
    """One process, with the pipes to and from it."""

    def __init__(self, name: str, setup: int, memory: int):
        self.name, self.unfinished = name, b""
        home = str(Path(__file__).parents[3])
        path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
        self.printed = open_unnamed("flaxcnn-printed")
        try:
            with held_back():
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "flaxcnn.data.workers.worker", str(setup)],
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self.printed,
                    pass_fds=(setup, memory),
                    env={**os.environ, "PYTHONPATH": path},
                )
        except BaseException:
            os.close(self.printed)
            raise
        assert self.process.stdin
        assert self.process.stdout
        self.tasks, self.answers = self.process.stdin, self.process.stdout

    def last_words(self) -> str:
        """Return the last line that the process printed."""
        start = max(0, os.fstat(self.printed).st_size - 4096)
        lines = os.pread(self.printed, 4096, start).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def _possible(size: int) -> int:
    """Return a size of shared memory, if the machine has as much at all.

    It is not set aside: where there is less than is set aside, Linux ends a process rather than refuse.
    """
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > most:
        raise DataError(
            "more memory for chunks than there is",
            where="loader",
            expected=f"at most {most:,} bytes",
            found=f"{size:,}",
            fix="use shorter chunks, or prefetch fewer",
        )
    return size
