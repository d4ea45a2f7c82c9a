"""A sweep on a Ray cluster: this process decides, and each cohort of trials is trained by a task, on any node.

Trials' states are kept in the sweep's folder, which all nodes see. Ray repeats the task of a node that was lost, and it
goes on with the states that are there.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from flaxcnn.compilation_cache import use_compilation_cache
from flaxcnn.errors import ConfigError, FlaxcnnError, ProcessError
from flaxcnn.runs.folder import RunFolder
from flaxcnn.sweeps.execution.cohorts import Cohorts
from flaxcnn.sweeps.execution.decisions import Decisions
from flaxcnn.sweeps.execution.search import Search, Worked, check
from flaxcnn.sweeps.execution.trainer import Assignment, Outcome, Trainer, Watch
from flaxcnn.sweeps.execution.workers import WorkerError
from flaxcnn.sweeps.options import Execution
from flaxcnn.sweeps.study import LostTrialError, Study

_LOOK_SECONDS = 0.5
_RETRIES = 5  # of a task whose worker or node was lost
_ANSWER_SECONDS = 10.0  # that a cluster's head node has to answer in
# What a gRPC client says first, with settings of none, and the type of the frame that its server says: RFC 9113, 3.4.
_HTTP2_SETTINGS = b"\4"
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _HTTP2_SETTINGS + bytes(5)
_PASSED_ON = ("JAX_", "XLA_", "FLAXCNN_")  # what begins so in the environment, tasks have too


class _Trained(NamedTuple):
    """What a task leaves."""

    reports: Sequence[tuple[int, int, float]] = ()  # trial, step, metric
    outcomes: Sequence[Outcome] = ()
    compilations: int = 0
    error: str = ""
    exit_code: int = 0


def work_on_ray(
    search: Search,
    study: Study,
    execution: Execution,
    *,
    wants_stop: Callable[[], bool],
    look: Callable[[int], None],
) -> Worked:
    """Train trials on a Ray cluster until the search is done, or is to stop.

    Args:
        search: the search; its folder is the same on all nodes.
        study: it, opened by this process, which owns all running trials.
        execution: the cluster's address, what a task takes up, and how many there are at a time.
        wants_stop: whether to end; tasks are broken off then, at their last checkpoint.
        look: called twice a second, with the programs compiled so far.

    Returns:
        How it went.

    Raises:
        ConfigError: Ray isn't installed, the cluster cannot be reached, or has no room for a task.
        FlaxcnnError: as `flaxcnn.sweeps.execution.search.work`.
    """
    ray = _import_ray()
    search = search._replace(folder=search.folder.resolve())
    decisions = search.decisions(study)
    _connect(ray, execution.ray.address)
    try:
        _require_room(ray, execution)
        task = ray.remote(
            num_cpus=execution.ray.cpus,
            num_gpus=execution.ray.gpus,
            max_retries=_RETRIES,
            runtime_env={"env_vars": _environment(execution.ray.cpus)},
        )(_train)
        with study.beating():
            return _drive(ray, task, search, study, decisions, execution, wants_stop, look)
    finally:
        ray.shutdown()


def _drive(
    ray: ModuleType,
    task: Any,
    search: Search,
    study: Study,
    decisions: Decisions,
    execution: Execution,
    wants_stop: Callable[[], bool],
    look: Callable[[int], None],
) -> Worked:
    under_way: dict[Any, list[Assignment]] = {}
    compilations = 0
    while True:
        taken: list[Assignment] | None = []
        while not wants_stop() and len(under_way) < (execution.workers or _room(ray, execution)):
            taken = decisions.take_on(search.lanes)
            if not taken:
                break
            under_way[task.remote(search, taken)] = taken
        if wants_stop():
            for reference in under_way:
                ray.cancel(reference, force=True)
            decisions.release([each.number for group in under_way.values() for each in group])
            return Worked(done=False, compilations=compilations)
        if taken is None and not under_way:
            return Worked(done=True, compilations=compilations)
        done: list[Any] = []
        if under_way:
            done, _ = ray.wait(list(under_way), timeout=_LOOK_SECONDS)
        else:  # other processes train what is left
            time.sleep(_LOOK_SECONDS)
        for reference in done:
            trained = _result(ray, reference, under_way.pop(reference))
            if trained.error:
                raise WorkerError(trained.error, trained.exit_code)
            compilations += trained.compilations
            with suppress(LostTrialError):
                for report in trained.reports:
                    study.report(*report)
            for outcome in trained.outcomes:
                decisions.record(outcome)
        look(compilations)


def _result(ray: ModuleType, reference: Any, assignments: Sequence[Assignment]) -> _Trained:
    """Return what a task left; where its workers were lost again and again, its trials have failed."""
    try:
        trained: _Trained = ray.get(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError) as error:
        reason = f"its worker was lost {_RETRIES + 1} times: {type(error).__name__}"
        return _Trained(outcomes=[Outcome(each.number, None, reason, 0.0) for each in assignments])
    except ray.exceptions.RayError as error:
        said = str(error).strip().splitlines()
        raise ProcessError("a task on Ray failed", where="--executor ray", found=said[-1] if said else "") from error
    return trained


class _Remote:
    """Trains the trials of a sweep in a worker process of Ray, task after task, with the same programs."""

    def __init__(self, search: Search):
        use_compilation_cache()
        self._reports: list[tuple[int, int, float]] = []
        self._cohorts = Cohorts(RunFolder(search.folder), search.how, search.lanes)
        watch = Watch(
            report=lambda number, step, value: self._reports.append((number, step, value)),
            progress=lambda number, step, total: None,
            lost=lambda number: False,
            wants_stop=lambda: False,
        )
        self._trainer = Trainer(search.states, search.sweep.metric, self._cohorts, watch)
        check(search, self._trainer)

    def train(self, assignments: Sequence[Assignment]) -> _Trained:
        compiled = self._cohorts.compilations
        self._reports.clear()
        outcomes = tuple(self._trainer.train(assignments))
        return _Trained(tuple(self._reports), outcomes, self._cohorts.compilations - compiled)


_remotes: dict[tuple[str, Path], _Remote] = {}  # of this process: the one of the sweep that it works for


def _train(search: Search, assignments: Sequence[Assignment]) -> _Trained:
    """Train trials, as a task."""
    key = (search.name, search.folder)
    try:
        if key not in _remotes:
            _remotes.clear()
            _remotes[key] = _Remote(search)
        return _remotes[key].train(assignments)
    except FlaxcnnError as error:
        return _Trained(error=str(error), exit_code=error.exit_code)


def _import_ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("needs Ray", where="--executor ray", fix="run pip install 'flaxcnn[ray]'") from error
    return ray


def _connect(ray: ModuleType, address: str | None) -> None:
    _require_listener(address or os.environ.get("RAY_ADDRESS"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        said = str(error).strip().partition("\n")[0].rstrip(".")
        raise ConfigError(
            "the Ray cluster cannot be reached",
            where=f"--ray.address {address or os.environ.get('RAY_ADDRESS', '')}",
            found=said,
            fix="start one with: ray start --head",
        ) from error
    finally:
        for number, handler in handlers.items():  # Ray has put its own in their place
            signal.signal(number, handler)


def _require_listener(address: str | None) -> None:
    """Raise ConfigError where no gRPC server answers at HOST:PORT; Ray itself would try for minutes, or for ever."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        return
    where, fix = f"--ray.address {address}", "start one with: ray start --head"
    try:
        with socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "1":
                return  # such a server answers to a handshake only
            connection.sendall(_HTTP2_PREFACE)
            answer = connection.recv(4)
    except OSError as error:
        found = error.strerror or str(error)
        raise ConfigError("no Ray cluster answers", where=where, found=found, fix=fix) from error
    if answer[3:] != _HTTP2_SETTINGS:
        fix = "name the port of the head node's GCS, which is 6379 where ray start got no --port"
        raise ConfigError("a server answers that is no Ray cluster", where=where, found=answer, fix=fix)


def _environment(cpus: float) -> dict[str, str]:
    """Return what tasks find in their environment besides what their node has."""
    package = str(Path(__file__).parents[2])
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    # XLA would use all cores for each task; NPROC is what it takes for their number.
    return {**passed_on, "PYTHONPATH": path, "NPROC": str(max(1, int(cpus)))}


def _room(ray: ModuleType, execution: Execution) -> int:
    """Return how many tasks the nodes that the cluster has now have room for; at least one, as more may come."""
    has, wants = ray.cluster_resources(), execution.ray
    room = has.get("CPU", 0) / wants.cpus
    if wants.gpus:
        room = min(room, has.get("GPU", 0) / wants.gpus)
    return max(1, int(room + 1e-9))


def _require_room(ray: ModuleType, execution: Execution) -> None:
    """Raise ConfigError where no task would ever run."""
    wants = execution.ray
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= wants.cpus and node.get("GPU", 0) >= wants.gpus for node in nodes):
        raise ConfigError(
            "no node of the Ray cluster has room for a task",
            where="--ray",
            expected=f"{wants.cpus:g} CPUs and {wants.gpus:g} GPUs",
            found=", ".join(f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in nodes),
        )
