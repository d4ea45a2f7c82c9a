"""The loader's worker processes: start them, give them tasks, wait for them and end them.

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
from typing import Any, NoReturn

from flaxcnn.data.images import StoredImages
from flaxcnn.data.loading.shared_buffers import SharedBuffers, open_unnamed
from flaxcnn.errors import DataError
from flaxcnn.files.user_code import outside_files
from flaxcnn.signals import held_back


class Workers:
    """Processes that read images into buffers of shared memory, each a share of every buffer.

    They do not answer the signals that stop a run, which may go to all of its processes: this process decides. They
    end when it does, however it does.

    Args:
        images: to read from.
        count: how many processes.
        buffers: how many.
        rows: images that a buffer has room for.

    Attributes:
        buffers: the shared memory.

    Raises:
        DataError: the chunks take more memory than there is, or the system gives no processes.
    """

    def __init__(self, images: StoredImages, count: int, buffers: int, rows: int):
        shape = (buffers, rows, images.shape[1:])
        memory, setup = -1, -1
        self._workers: list[_Worker] = []
        try:
            memory = open_unnamed("flaxcnn-chunks")
            os.ftruncate(memory, _possible(SharedBuffers.size(*shape)))
            self.buffers = SharedBuffers(memory, *shape)
            setup = open_unnamed("flaxcnn-setup")
            with open(setup, "wb", closefd=False) as file:
                pickle.dump((sys.path, outside_files()), file)
                pickle.dump((images, memory, *shape), file)
            for number in range(count):
                self._workers.append(_Worker(f"loading worker {number + 1} of {count}", setup, memory))
        except OSError as error:
            self.close()
            raise DataError(
                "cannot start the workers",
                where=f"{count} loading workers",
                found=error.strerror,
                fix="use fewer, or shorter chunks",
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

    def wait(self, buffer: int) -> None:
        """Return once a buffer is read.

        Raises:
            DataError: an image cannot be read, or a worker has ended; all others are ended too.
        """
        while self._shares[buffer]:
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            for worker in self._workers:
                if worker.answers.fileno() in ready:
                    self._take(worker)

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
            self._shares[int(line)] -= 1

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
            fix = (
                "if memory was short, as the system's log tells, use fewer workers or shorter chunks; then start again"
            )
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
                    [sys.executable, "-P", "-m", "flaxcnn.data.loading.worker", str(setup)],
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
