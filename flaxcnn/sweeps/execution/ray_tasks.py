"""The Ray task that trains a cohort of trials, in a worker process on any node.

This module does not import Ray: the main process passes in what a worker needs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flaxcnn.compilation_cache import use_compilation_cache
from flaxcnn.errors import FlaxcnnError
from flaxcnn.jax_settings import pin_settings
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.sweeps.execution.cohorts import Cohorts
from flaxcnn.sweeps.execution.ray_reports import Report
from flaxcnn.sweeps.execution.search import Search, check
from flaxcnn.sweeps.execution.trainer import Assignment, Outcome, Trainer, Watch


class Trained(NamedTuple):
    """What a task leaves."""

    reports: Sequence[Report] = ()
    outcomes: Sequence[Outcome] = ()
    compilations: int = 0
    error: str = ""
    exit_code: int = 0


class _Remote:
    """Trains the trials of a sweep in a worker process of Ray, task after task, with the same programs."""

    def __init__(self, search: Search, live: Any):
        pin_settings()
        use_compilation_cache()
        self._reports: list[Report] = []
        self._live = live
        self._cohorts = Cohorts(RunFolder(search.folder), search.how, search.parallel)
        watch = Watch(
            report=lambda *report: self._report(report),
            progress=lambda number, step, total: None,
            lost=lambda number: False,
            wants_stop=lambda: False,
        )
        self._trainer = Trainer(search.states, search.by.name, self._cohorts, watch)
        check(search, self._trainer)

    def _report(self, report: Report) -> None:
        self._reports.append(report)
        self._live.add.remote(report)

    def train(self, assignments: Sequence[Assignment]) -> Trained:
        compiled = self._cohorts.compilations
        self._reports.clear()
        outcomes = tuple(self._trainer.train(assignments))
        return Trained(tuple(self._reports), outcomes, self._cohorts.compilations - compiled)


_remotes: dict[tuple[str, Path], _Remote] = {}  # of this process: the one of the sweep that it works for


def train(search: Search, assignments: Sequence[Assignment], live: Any) -> Trained:
    """Train trials, as a task; `live` is the actor of `Reports` of whoever started it."""
    key = (search.name, search.folder)
    try:
        if key not in _remotes:
            _remotes.clear()
            _remotes[key] = _Remote(search, live)
        return _remotes[key].train(assignments)
    except FlaxcnnError as error:
        return Trained(error=str(error), exit_code=error.exit_code)
