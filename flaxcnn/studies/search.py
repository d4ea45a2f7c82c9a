"""The small search of an entry on one fold: each setting is trained and ranked on a part of the training images.

Nothing here reads a test image: this is the inner loop of nested cross-validation. The trials are those of a sweep
(`flaxcnn.sweeps.execution`), so they share compiled programs, and an interrupted one continues from its checkpoint.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from flaxcnn.config import Checkpoint, Experiment, Logging
from flaxcnn.data import Dataset
from flaxcnn.errors import RunFolderError, TrainingError
from flaxcnn.files import cannot_write, refuse_links, remove
from flaxcnn.runs.folder.record import require_same_digests
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.studies.examples import FoldData
from flaxcnn.studies.plan import Entry, Setting
from flaxcnn.studies.planning import with_setting
from flaxcnn.sweeps.execution.cohorts import Cohorts
from flaxcnn.sweeps.execution.states import TrialStates
from flaxcnn.sweeps.execution.trainer import Assignment, Trainer, Watch
from flaxcnn.sweeps.metric import RankedBy

_FILE = "search.json"
_NEVER = 2**30  # steps between two evaluations: a trial is measured at its end alone
_SEVERAL = 1  # trials at once: a large model's states would not fit side by side


class _Tried(TypedDict):
    setting: dict[str, Any]
    value: float | None  # None of a trial that failed
    reason: str


class _Record(TypedDict):  # search.json
    metric: str
    seed: int
    data_sha256: dict[str, str]
    tried: list[_Tried]


class Search(NamedTuple):
    """What the search of an entry on one fold found.

    Attributes:
        settings: that were tried.
        values: of the metric on the validation images, None where a trial failed.
        reasons: for which it failed, "" where it did not.
        chosen: the place of the best setting, the first of equals.
    """

    settings: tuple[Setting, ...]
    values: tuple[float | None, ...]
    reasons: tuple[str, ...]
    chosen: int


def search_on(
    entry: Entry,
    experiment: Experiment,
    fraction: float,
    data: FoldData,
    folder: Path,
    root: Path,
    by: RankedBy,
    wants_stop: Callable[[], bool],
) -> Search | None:
    """Search an entry's settings on a fold, or go on with that, and return what is found; None where it was stopped.

    Args:
        entry: with the settings to try.
        experiment: the entry's, on the fold, with the seed of the search.
        fraction: of the training images that are set aside, where the source has no validation split.
        data: of the fold.
        folder: where it is kept.
        root: the study's folder, in which all links are refused.
        by: what settings are ranked by.
        wants_stop: whether to save and end.

    Raises:
        ConfigError, DataError: a setting cannot be trained on these data.
        RunFolderError: a file cannot be written, or is damaged.
        TrainingError: no setting could be trained.
    """
    refuse_links(folder, root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    files, dataset = RunFolder(folder), data.dataset(experiment.data)
    experiment = for_search(experiment, fraction, dataset)
    tried = _read(files, entry, by, experiment.training.seed, dataset)
    left = [number for number in range(len(entry.settings)) if number not in tried]
    if left:
        cohorts = Cohorts(files, "map", _SEVERAL)
        watch = Watch(_nothing, _nothing, lambda number: False, wants_stop)
        trainer = Trainer(TrialStates(folder, keep_rungs=False), by.name, cohorts, watch, load=data.loaded)
        for number in left:
            trial = with_setting(experiment, entry.settings[number])
            for outcome in trainer.train([Assignment(number, trial, 1.0)]):
                tried[number] = _Tried(setting=dict(entry.settings[number]), value=outcome.value, reason=outcome.reason)
                _write(files, by, experiment.training.seed, dataset, tried)
            if wants_stop():
                return None
        _remove(folder / "trials")
    return _chosen(entry, [tried[number] for number in range(len(entry.settings))], by, folder)


def is_searched(folder: Path, entry: Entry) -> bool:
    """Return whether nothing is left of a search; raises RunFolderError where what is kept of it is damaged."""
    if not (folder / _FILE).exists():
        return False
    found: _Record = RunFolder(folder).read_json(_FILE, _Record)
    return len(found["tried"]) == len(entry.settings)


def for_search(experiment: Experiment, fraction: float, dataset: Dataset) -> Experiment:
    """Return an experiment as the trials of a search run it: with validation images, and no look at test images."""
    own = 0.0 if dataset.validation is not None else experiment.data.validation or fraction
    return dataclasses.replace(
        experiment,
        data=dataclasses.replace(experiment.data, validation=own),
        mesh=dataclasses.replace(experiment.mesh, data=experiment.mesh.data or 1),
        logging=Logging(every=_NEVER, test_examples=0),
        checkpoint=Checkpoint(every=experiment.checkpoint.every),
    )


def _read(files: RunFolder, entry: Entry, by: RankedBy, seed: int, dataset: Dataset) -> dict[int, _Tried]:
    """Return what is known of the settings already, by their place."""
    if not (files.path / _FILE).exists():
        return {}
    found: _Record = files.read_json(_FILE, _Record)
    require_same_digests(found["data_sha256"], dataset)
    places = {_name(setting): number for number, setting in enumerate(entry.settings)}
    if (
        found["metric"] != by.name
        or found["seed"] != seed
        or any(_name(t["setting"]) not in places for t in found["tried"])
    ):
        raise RunFolderError("the search of another study", where=files.path / _FILE, fix="delete it to search again")
    return {places[_name(tried["setting"])]: tried for tried in found["tried"]}


def _write(files: RunFolder, by: RankedBy, seed: int, dataset: Dataset, tried: Mapping[int, _Tried]) -> None:
    record = _Record(
        metric=by.name, seed=seed, data_sha256=dict(dataset.digests), tried=[tried[number] for number in sorted(tried)]
    )
    files.write_json(_FILE, record)


def _chosen(entry: Entry, tried: list[_Tried], by: RankedBy, folder: Path) -> Search:
    scores = [None if each["value"] is None else by.score(each["value"]) for each in tried]
    known = [score for score in scores if score is not None]
    if not known:
        raise TrainingError(
            "no setting of the search could be trained", where=folder, found="; ".join(each["reason"] for each in tried)
        )
    values, reasons = tuple(each["value"] for each in tried), tuple(each["reason"] for each in tried)
    return Search(entry.settings, values, reasons, scores.index(max(known)))


def _name(setting: Setting) -> str:
    return json.dumps(setting, sort_keys=True)


def _nothing(*told: object) -> None:
    """Take what is told, as a study shows only how a search ends."""


def _remove(path: Path) -> None:
    try:
        remove(path)
    except OSError as error:
        raise cannot_write(path, error) from error
