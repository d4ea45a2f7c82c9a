"""Several worker processes on this machine that share a sweep, each with a share of the cores."""

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import NamedTuple

from flaxcnn.compilation_cache import use_compilation_cache
from flaxcnn.errors import ConfigError, FlaxcnnError, ProcessError
from flaxcnn.jax_settings import pin_settings
from flaxcnn.signals import held_back
from flaxcnn.sweeps.execution.search import Search, Worked, work

_LOOK_SECONDS = 0.5


class _Ended(NamedTuple):
    """How a worker ended that could say so."""

    worked: Worked = Worked(done=False, compilations=0)
    error: str = ""
    exit_code: int = 0


class WorkerError(FlaxcnnError):
    """An error of another process, which has said it in one line already."""

    def __init__(self, line: str, exit_code: int):
        super().__init__(line)
        self.exit_code = exit_code


def work_in_processes(
    search: Search, count: int, *, wants_stop: Callable[[], bool], look: Callable[[int], None]
) -> Worked:
    """Train trials in several processes of this machine until the search is done, or they are to stop.

    A worker that is lost takes nothing with it: the others go on with its trials.

    Args:
        search: the search.
        count: how many processes.
        wants_stop: whether to save and end.
        look: called twice a second, with the programs that workers that ended have compiled.

    Returns:
        How it went; the programs are those of all workers that could tell.

    Raises:
        ConfigError: the search holds what no other process can read.
        FlaxcnnError: as `flaxcnn.sweeps.execution.search.work`, of the first worker that ended with one.
        ProcessError: all workers were lost, or ended before the search was done.
    """
    _require_portable(search)
    context = multiprocessing.get_context("spawn")
    workers = []
    with held_back():  # until a worker is ready for them
        for index in range(count):
            ours, theirs = context.Pipe(duplex=False)
            worker = context.Process(target=_work, args=(search, index, count, os.getpid(), theirs), daemon=False)
            worker.start()
            theirs.close()
            workers.append((worker, ours))
    told: dict[int, _Ended] = {}
    asked = False
    try:
        while any(worker.is_alive() for worker, _ in workers):
            if wants_stop() and not asked:
                asked = True
                _ask_to_stop(workers)
            look(_compilations(told))
            workers[0][0].join(_LOOK_SECONDS) if workers[0][0].is_alive() else time.sleep(_LOOK_SECONDS)
            _hear(workers, told)
            if any(each.error for each in told.values()) and not asked:
                asked = True
                _ask_to_stop(workers)
        _hear(workers, told)
    finally:
        for worker, ours in workers:
            if worker.is_alive():  # an error of this process
                worker.terminate()
            worker.join()
            ours.close()
    for each in told.values():
        if each.error:
            raise WorkerError(each.error, each.exit_code)
    done = any(each.worked.done for each in told.values())
    if not done and not asked:
        codes = ", ".join(str(worker.exitcode) for worker, _ in workers)
        what = "all workers ended before the sweep was done"
        raise ProcessError(what, where="sweep", found=f"exit codes {codes}", fix="run it again")
    return Worked(done, _compilations(told))


def cores_of(index: int, count: int, cores: list[int]) -> list[int]:
    """Return a worker's part of the cores: all of them once, or one where there are more workers than cores.

    >>> [cores_of(index, 2, [0, 1, 2, 3, 4]) for index in range(2)]
    [[0, 1], [2, 3, 4]]
    >>> [cores_of(index, 3, [4, 5]) for index in range(3)]
    [[4], [5], [4]]
    """
    if count >= len(cores):
        return [cores[index % len(cores)]]
    return cores[index * len(cores) // count : (index + 1) * len(cores) // count]


def _require_portable(search: Search) -> None:
    """Raise ConfigError where other processes could not read a search: it holds what is of the user's own classes."""
    try:
        pickle.dumps(search)
    except (pickle.PicklingError, AttributeError, TypeError, ImportError) as error:
        raise ConfigError(
            "the sweep holds what other processes cannot read",
            where="--executor processes",
            expected="values and classes of flaxcnn and Python alone",
            found=str(error),
        ) from error


def _work(search: Search, index: int, count: int, parent: int, told: Connection) -> None:
    """Be one of the workers: a process of a session of its own, so that Ctrl-C reaches it by way of its parent."""
    os.setsid()
    if hasattr(os, "sched_setaffinity"):  # before XLA counts the cores
        os.sched_setaffinity(0, cores_of(index, count, sorted(os.sched_getaffinity(0))))
    pin_settings()
    use_compilation_cache()
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    with told:
        try:
            study = search.open()
            worked = work(search, study, wants_stop=lambda: asked.is_set() or os.getppid() != parent)
        except FlaxcnnError as error:
            ended = _Ended(error=str(error), exit_code=error.exit_code)
        else:
            ended = _Ended(worked)
        with suppress(BrokenPipeError):  # nobody is left to be told
            told.send(ended)


def _compilations(told: Mapping[int, _Ended]) -> int:
    return sum(each.worked.compilations for each in told.values())


def _ask_to_stop(workers: Sequence[tuple[BaseProcess, Connection]]) -> None:
    for worker, _ in workers:
        if worker.is_alive() and worker.pid is not None:
            os.kill(worker.pid, signal.SIGTERM)


def _hear(workers: Sequence[tuple[BaseProcess, Connection]], told: dict[int, _Ended]) -> None:
    for index, (_, ours) in enumerate(workers):
        if index not in told and ours.poll():
            try:
                told[index] = ours.recv()
            except EOFError:  # it was killed
                continue
