"""Run a sweep on a Ray cluster: this process decides, and Ray tasks on any node train cohorts of trials.

Trial states are in the sweep's folder, which all nodes must see. If a node is lost, Ray repeats its task, which
continues from the saved states.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any

from flaxcnn.errors import ProcessError
from flaxcnn.sweeps.execution.decisions import Decisions
from flaxcnn.sweeps.execution.ray_cluster import cluster, environment, require_room, room
from flaxcnn.sweeps.execution.ray_reports import Report, Reports
from flaxcnn.sweeps.execution.ray_tasks import Trained, train
from flaxcnn.sweeps.execution.search import Search, Worked
from flaxcnn.sweeps.execution.trainer import Assignment, Outcome
from flaxcnn.sweeps.execution.workers import WorkerError
from flaxcnn.sweeps.options import Execution
from flaxcnn.sweeps.study import LostTrialError, Study

_LOOK_SECONDS = 0.5
_RETRIES = 5  # of a task whose worker or node was lost


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
    search = search._replace(folder=search.folder.resolve())
    decisions = search.decisions(study)
    with cluster(execution.ray.address) as ray:
        require_room(ray, execution)
        has = {"env_vars": environment(execution.ray.cpus)}
        reports = ray.remote(num_cpus=0, max_restarts=-1, runtime_env=has)(Reports).remote()
        wants = {"num_cpus": execution.ray.cpus, "num_gpus": execution.ray.gpus}
        task = ray.remote(**wants, max_retries=_RETRIES, runtime_env=has)(train)
        with study.beating():
            return _drive(ray, task, reports, search, study, decisions, execution, wants_stop, look)


def _drive(
    ray: ModuleType,
    task: Any,
    reports: Any,
    search: Search,
    study: Study,
    decisions: Decisions,
    execution: Execution,
    wants_stop: Callable[[], bool],
    look: Callable[[int], None],
) -> Worked:
    under_way: dict[Any, list[Assignment]] = {}
    compilations = 0
    told: set[tuple[int, int]] = set()  # trials and steps: a task that is repeated tells them again

    def tell(found: Sequence[Report]) -> None:
        for number, step, value in found:
            if (number, step) not in told:
                told.add((number, step))
                with suppress(LostTrialError):
                    study.report(number, step, value)

    while True:
        taken: list[Assignment] | None = []
        while not wants_stop() and len(under_way) < (execution.workers or room(ray, execution)):
            taken = decisions.take_on(search.parallel)
            if not taken:
                break
            under_way[task.remote(search, taken, reports)] = taken
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
            tell(trained.reports)
            for outcome in trained.outcomes:
                decisions.record(outcome)
        tell(_so_far(ray, reports))
        look(compilations)


def _so_far(ray: ModuleType, reports: Any) -> Sequence[Report]:
    """Return what tasks have reported since the last time; nothing where the node of the actor is lost."""
    try:
        found: Sequence[Report] = ray.get(reports.take.remote(), timeout=_LOOK_SECONDS)
    except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
        return ()  # a task's result has them all
    return found


def _result(ray: ModuleType, reference: Any, assignments: Sequence[Assignment]) -> Trained:
    """Return what a task left; where its workers were lost again and again, its trials have failed."""
    try:
        trained: Trained = ray.get(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError) as error:
        reason = f"its worker was lost {_RETRIES + 1} times: {type(error).__name__}"
        return Trained(outcomes=[Outcome(each.number, None, reason, 0.0) for each in assignments])
    except ray.exceptions.RayError as error:
        said = str(error).strip().splitlines()
        raise ProcessError("a task on Ray failed", where="--executor ray", found=said[-1] if said else "") from error
    return trained
