"""A search and where it is kept, and what one process does to get it done."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from flaxcnn.config import Experiment
from flaxcnn.runs.environment import environment
from flaxcnn.runs.folder import RunFolder
from flaxcnn.runs.record import ENVIRONMENT, require_same_data
from flaxcnn.sweeps.cohorts import Cohorts
from flaxcnn.sweeps.decisions import Decisions
from flaxcnn.sweeps.files import Sweep, fingerprint
from flaxcnn.sweeps.journal import Journal
from flaxcnn.sweeps.population import PopulationBased
from flaxcnn.sweeps.study import Study
from flaxcnn.sweeps.trainer import Trainer
from flaxcnn.sweeps.worker import Progress, Worker


class Search(NamedTuple):
    """What a process needs to know to take part in a search; it can be pickled.

    Attributes:
        name: of its study in the storage.
        sweep: what is searched, and how.
        experiment: that is searched, as trials run it.
        folder: where states and results are kept; all processes see the same one.
        storage: URL of the database.
        how: "map", "vmap", or "auto" for the faster one.
        lanes: trials that a process trains side by side, at most.
    """

    name: str
    sweep: Sweep
    experiment: Experiment
    folder: Path
    storage: str
    how: Literal["map", "vmap", "auto"]
    lanes: int

    def open(self) -> Study:
        """Open the study, which is made where there is none; raises as `Study.open`."""
        return Study.open(
            self.storage,
            self.name,
            fingerprint(self.sweep, self.experiment),
            self.sweep.space,
            higher_is_better=self.sweep.higher_is_better,
            journal=Journal(self.folder / "journal"),
        )

    @property
    def keep(self) -> int:
        """How many checkpoints of a trial stay: where trials begin with another's state, that of each generation."""
        scheduler = self.sweep.scheduler
        return scheduler.generations + 1 if isinstance(scheduler, PopulationBased) else 1


def work(
    search: Search,
    study: Study,
    *,
    wants_stop: Callable[[], bool],
    look: Callable[[Progress, Cohorts], None] = lambda progress, cohorts: None,
) -> Cohorts:
    """Train trials in this process until the search is done, or the process is to stop.

    Args:
        search: the search.
        study: it, opened.
        wants_stop: whether to save and end.
        look: called after each block of steps, with how far this process's trials are, and its programs.

    Returns:
        The programs that were used.

    Raises:
        ConfigError, DataError, ContractError: nothing can be trained so; before anything is.
        DataError: the data are no longer those of the sweep.
        RunFolderError: a file cannot be written.
    """
    folder = RunFolder(search.folder)
    cohorts = Cohorts(folder, search.how, search.lanes)
    worker = Worker(
        study,
        Decisions(search.sweep, search.experiment, study),
        lambda watch: Trainer(folder.path, search.sweep.metric, cohorts, search.keep, watch),
        search.lanes,
        wants_stop=wants_stop,
        look=lambda progress: look(progress, cohorts),
    )
    check(search, worker.trainer)
    worker.run()
    return cohorts


def check(search: Search, trainer: Trainer) -> None:
    """Raise what `work` raises before anything is trained; the first one to call it writes on what data trials are."""
    folder, dataset = RunFolder(search.folder), trainer.set_up(search.experiment).dataset
    if (folder.path / ENVIRONMENT).exists():
        require_same_data(folder, dataset)
    else:
        folder.write_json(ENVIRONMENT, environment(dataset.digests))
