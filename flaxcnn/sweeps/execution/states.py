"""Trial states on disk: where each trial continues, and where its copies start."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flaxcnn.config import Experiment, to_json
from flaxcnn.errors import RunFolderError, TrainingError
from flaxcnn.files import cannot_write, refuse_links, remove
from flaxcnn.files.schema import MismatchError, conform
from flaxcnn.runs.folder.environment import versions
from flaxcnn.runs.running import Training
from flaxcnn.training import TrainState
from flaxcnn.training.checkpoints import CheckpointStore, DamagedCheckpointError, Metadata

_ALL = 10**9


class Kept(NamedTuple):
    """A trial's state as it was saved, and what it had reported until then: the metric by steps done."""

    state: TrainState
    step: int
    reports: Mapping[int, float]


class TrialStates:
    """The checkpoints of all trials, each in a folder of its own.

    Args:
        folder: the sweep's.
        keep_rungs: whether the state at the end of each rung is kept, since other trials may begin with it.
    """

    def __init__(self, folder: Path, *, keep_rungs: bool):
        self._folder, self._keep_rungs = folder, keep_rungs

    def newest(self, number: int, experiment: Experiment, end: int, target: TrainState) -> Kept | None:
        """Return the newest intact state of a trial that is not past a rung's end; None for none.

        A folder may outlive its study. What another trial of the same number left in it is removed.

        Args:
            number: the trial's.
            experiment: the trial's.
            end: the step at which its rung ends.
            target: as for `CheckpointStore.restore`.
        """
        store, wanted = self._store(number), _as_json(experiment)
        for step in reversed(store.steps()):
            try:
                found = store.read_metadata(step)
                if found.config != wanted:
                    self._forget(number)
                    return None
                if step <= end:
                    state = store.restore(step, target).state
                    return Kept(state, step, _reports(found.extra.get("reports", {})))
            except (DamagedCheckpointError, MismatchError):
                continue  # an older one, or the start: it comes to the same bits
        return None

    def at_rung(self, number: int, step: int, target: TrainState) -> TrainState:
        """Return the state of a trial at the end of a rung.

        Raises:
            TrainingError: it is lost.
        """
        try:
            state: TrainState = self._rungs(number).restore(step, target).state
        except RunFolderError as error:
            raise TrainingError(f"the state that it copies is lost: {error}") from error
        return state

    def save(
        self,
        number: int,
        training: Training,
        state: TrainState,
        seconds: float,
        reports: Mapping[int, float],
        *,
        ends_rung: bool,
    ) -> None:
        """Save a trial's state; raises RunFolderError where it cannot be written."""
        setup, step = training.setup, training.step
        metadata = Metadata(
            step=step,
            epoch=setup.calendar.epoch(step),
            config=_as_json(setup.experiment),
            contract_digest=setup.checked.contract_digest,
            data_digests=dict(setup.dataset.digests),
            versions=versions(),
            rows=0,
            train_seconds=seconds,
            eval_seconds=0.0,
            extra={"reports": {str(at): value for at, value in reports.items()}},
        )
        if ends_rung and self._keep_rungs:
            self._rungs(number).save(state, metadata)
        self._store(number).save(state, metadata)

    def steps(self, number: int) -> int:
        """Return the steps that the newest state of a trial has made; 0 for none."""
        return max(self._store(number).steps(), default=0)

    def _store(self, number: int) -> CheckpointStore:
        return CheckpointStore(self._path(number) / "checkpoints", keep=1)

    def _rungs(self, number: int) -> CheckpointStore:
        return CheckpointStore(self._path(number) / "rungs", keep=_ALL)

    def _path(self, number: int) -> Path:
        path = self._folder / "trials" / f"{number:05d}"
        refuse_links(path, self._folder)
        return path

    def _forget(self, number: int) -> None:
        path = self._path(number)
        if path.parent.is_symlink():
            raise RunFolderError("a link", where=path.parent, expected="a sweep's own", fix="remove it")
        try:
            remove(path)
        except OSError as error:
            raise cannot_write(path, error) from error


def _reports(found: Any) -> dict[int, float]:
    """Return a trial's reports as they were before they were saved; raises MismatchError."""
    reports: dict[str, float] = conform(found, dict[str, float], "extra.reports")
    for at in reports:
        if not at.isdecimal() or len(at) > 18:
            raise MismatchError("extra.reports", "numbers of steps", repr(at))
    return {int(at): value for at, value in reports.items()}


def _as_json(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment as it comes back from a file: with lists for tuples."""
    found: dict[str, Any] = json.loads(json.dumps(to_json(experiment)))
    return found
