"""The worker process that reads or decodes images: `python -m flaxcnn.data.workers.worker SETUP`.

`flaxcnn.data.workers.workers` starts it. SETUP is the descriptor of a file with two pickles: first the import path and
the user's files, then what reads the images and the arguments of `SharedBuffers`. Each line on stdin is a task, "BUFFER
START STOP": read these rows of the buffer. Each line on stdout is an answer: the number of the finished buffer, with
what else was told of its images in JSON, or a JSON object with the parts of an error, after which the worker ends. The
worker also ends when stdin closes, even in the middle of a task, because its parent is then dead. This module does not
import JAX.
"""

import io
import json
import mmap
import os
import pickle
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from flaxcnn.data.workers.shared_buffers import SharedBuffers
from flaxcnn.data.workers.workers import Reader
from flaxcnn.errors import DataError, FlaxcnnError
from flaxcnn.files.user_code import object_in


def main() -> None:
    """Answer tasks until stdin ends."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what a decoder prints is no answer
    tasks: SimpleQueue[str] = SimpleQueue()
    Thread(target=_receive, args=(tasks,), daemon=True).start()
    try:
        images, buffers = _set_up(int(sys.argv[1]))
        _answer(tasks, answers, images, buffers)
    except BrokenPipeError:
        pass  # the parent is dead
    except Exception as error:
        report = {**_parts(error), "traceback": traceback.format_exc()}
        os.write(answers, json.dumps(report).encode() + b"\n")
    os._exit(0)  # at once, whatever threads a decoder has


def _receive(tasks: "SimpleQueue[str]") -> None:
    """Put the tasks into a queue, and end the process when stdin ends."""
    for task in sys.stdin:
        tasks.put(task)
    os._exit(0)


def _set_up(file: int) -> tuple[Reader, SharedBuffers]:
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as content:
        stream = io.BytesIO(content)
    os.close(file)
    sys.path[:], files = pickle.load(stream)
    try:
        images, memory, *shape = _Unpickler(stream, files).load()
    except Exception as error:
        raise DataError(
            "a loading worker cannot unpickle the images' source",
            where="data.workers",
            expected="a source that another process can import and open",
            found="".join(traceback.format_exception_only(error)).strip(),
            fix="define its class in a module that can be imported, or set data.workers to 0",
        ) from error
    buffers = SharedBuffers(memory, *shape)
    os.close(memory)
    return images, buffers


class _Unpickler(pickle.Unpickler):
    """Finds classes in the files that a user named in the parent process, which no import finds."""

    def __init__(self, stream: io.BytesIO, files: Mapping[str, Path]):
        super().__init__(stream)
        self._files = files

    def find_class(self, module: str, name: str) -> Any:
        if module in self._files:
            return object_in(self._files[module], name)
        return super().find_class(module, name)


def _answer(tasks: "SimpleQueue[str]", answers: int, images: Reader, buffers: SharedBuffers) -> None:
    while True:
        buffer, start, stop = map(int, tasks.get().split())
        told = images.read(buffers.positions_SR[buffer, start:stop], buffers.pixels_SRHWC[buffer, start:stop])
        answer = memoryview(f"{buffer}\n".encode() if told is None else f"{buffer} {json.dumps(told)}\n".encode())
        while answer:
            answer = answer[os.write(answers, answer) :]


def _parts(error: Exception) -> dict[str, str | None]:
    """Return the parts of the error for the user; where it says nothing, the parent says which worker it was."""
    if isinstance(error, FlaxcnnError):
        parts = {name: getattr(error, name) for name in ("what", "where", "expected", "found", "fix")}
        return {name: None if part is None else str(part) for name, part in parts.items()}
    found = "".join(traceback.format_exception_only(error)).strip()
    if isinstance(error, MemoryError):
        fix = "use fewer workers or shorter chunks"
    else:
        fix = "start again; if it comes back, report it with the traceback that --debug shows"
    return {"what": "cannot read images", "where": None, "expected": None, "found": found, "fix": fix}


if __name__ == "__main__":
    main()
