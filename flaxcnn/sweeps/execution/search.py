"""A search with its storage, and the work of one process on it."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from flaxcnn.config import Experiment
from flaxcnn.runs.folder.environment import environment
from flaxcnn.runs.folder.record import ENVIRONMENT, require_same_data
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.sweeps.execution.cohorts import Cohorts
from flaxcnn.sweeps.execution.decisions import Decisions
from flaxcnn.sweeps.execution.states import TrialStates
from flaxcnn.sweeps.execution.trainer import Trainer
from flaxcnn.sweeps.execution.worker import Progress, Worker
from flaxcnn.sweeps.files import Sweep, fingerprint
from flaxcnn.sweeps.metric import RankedBy
from flaxcnn.sweeps.schedulers import PopulationBased
from flaxcnn.sweeps.schedulers.rungs import misfit
from flaxcnn.sweeps.study import Study
from flaxcnn.sweeps.study.journal import Journal


class Search(NamedTuple):
    """What a process needs to know to take part in a search; it can be pickled.

    Attributes:
        name: of its study in the storage.
        sweep: what is searched, and how.
        experiment: that is searched, as trials run it.
        by: what its trials are ranked by.
        folder: where states and results are kept; all processes see the same one.
        storage: URL of the database.
        how: "map", "vmap", or "auto" for the faster one.
        parallel: trials that a process trains side by side, at most.
    """

    name: str
    sweep: Sweep
    experiment: Experiment
    by: RankedBy
    folder: Path
    storage: str
    how: Literal["map", "vmap", "auto"]
    parallel: int

    def open(self) -> Study:
        """Open the study, which is made where there is none; raises as `Study.open`."""
        return Study.open(
            self.storage,
            self.name,
            fingerprint(self.sweep, self.experiment, self.by),
            self.sweep.space,
            higher_is_better=self.by.higher_is_better,
            journal=Journal(self.folder / "journal"),
            misfit=lambda trial: misfit(trial, len(self.sweep.scheduler.fractions(trial.bracket))),
        )

    @property
    def states(self) -> TrialStates:
        """The states of its trials."""
        return TrialStates(self.folder, keep_rungs=isinstance(self.sweep.scheduler, PopulationBased))

    def decisions(self, study: Study) -> Decisions:
        """Return what decides for a process that has opened the study."""
        return Decisions(self.sweep, self.experiment, self.by, study, self.states.steps)


class Worked(NamedTuple):
    """How one process, or several, worked on a search."""

    done: bool  # nothing is left of it
    compilations: int  # of training programs


def work(
    search: Search,
    study: Study,
    *,
    wants_stop: Callable[[], bool],
    look: Callable[[Progress, Cohorts], None] = lambda progress, cohorts: None,
) -> Worked:
    """Train trials in this process until the search is done, or the process is to stop.

    Args:
        search: the search.
        study: it, opened.
        wants_stop: whether to save and end.
        look: called after each block of steps, with how far this process's trials are, and its programs.

    Returns:
        How it went.

    Raises:
        ConfigError, DataError, ContractError: nothing can be trained so; before anything is.
        DataError: the data are no longer those of the sweep.
        RunFolderError: a file cannot be written.
    """
    folder = RunFolder(search.folder)
    cohorts = Cohorts(folder, search.how, search.parallel)
    worker = Worker(
        study,
        search.decisions(study),
        lambda watch: Trainer(search.states, search.by.name, cohorts, watch),
        search.parallel,
        wants_stop=wants_stop,
        look=lambda progress: look(progress, cohorts),
    )
    with study.deciding():  # one process writes on what data the trials are
        check(search, worker.trainer)
    done = worker.run()
    return Worked(done, cohorts.compilations)


def check(search: Search, trainer: Trainer) -> None:
    """Raise what `work` raises before anything is trained; the first one to call it writes on what data trials are."""
    folder, setup = RunFolder(search.folder), trainer.set_up(search.experiment)
    if (folder.path / ENVIRONMENT).exists():
        require_same_data(folder, setup.dataset)
    else:
        steps = setup.calendar.total_steps
        folder.write_json(ENVIRONMENT, {**environment(setup.dataset.digests, setup.layout.mesh.size), "steps": steps})
