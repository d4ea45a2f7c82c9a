"""One training of a study: an ordinary run in its own folder, made once, continued after a kill, and read again."""

import dataclasses
import time
from pathlib import Path
from typing import NamedTuple, TypedDict

from rich.console import Console

from flaxcnn.config import Experiment, ExperimentFile
from flaxcnn.data import Dataset
from flaxcnn.errors import RunFolderError, TrainingError, printable
from flaxcnn.evaluation.predictions import Predictions, load_predictions
from flaxcnn.files import cannot_write, refuse_links, remove
from flaxcnn.runs.folder.changes import changes
from flaxcnn.runs.folder.named import Named
from flaxcnn.runs.folder.record import CONFIG, SUMMARY, read_config, read_summary, require_same_data
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.output.console import RunConsole
from flaxcnn.runs.train import run
from flaxcnn.studies.examples import FoldData
from flaxcnn.sweeps.execution.cohorts import out_of_memory

FAILED = "failed.json"  # in a run's folder: why it has no result
_FREE = ("data.source", "data.dir", "data.cache", "data.device_memory", "data.workers", "mesh.data", "mesh.model")


class Done(NamedTuple):
    """What a finished job has to say.

    Attributes:
        predictions: of the test examples.
        parameters: of the model.
        steps: of the training, of `batch_size` images each.
        batch_size: images of a step.
        train_seconds: of the training's steps.
    """

    predictions: Predictions
    parameters: int
    steps: int
    batch_size: int
    train_seconds: float


class Failed(NamedTuple):
    """Why a job has no result: it diverged, or took too much memory."""

    reason: str


class Stopped(NamedTuple):
    """A signal stopped a job, whose state is saved."""

    code: int


class _Failure(TypedDict):  # failed.json
    reason: str


class JobConsole(RunConsole):
    """A run's console that is quiet, but for warnings, each of which is printed once a study."""

    def __init__(self, warned: set[str]):
        super().__init__(Console(quiet=True), speaks=True)
        self._warned = warned

    def warn(self, line: str) -> None:
        """Print a warning that was not printed yet."""
        if line not in self._warned:
            self._warned.add(line)
            super().warn(line)


def train_job(
    experiment: Experiment, name: str, folder: Path, root: Path, data: FoldData, named: Named, console: RunConsole
) -> Done | Failed | Stopped:
    """Train an experiment in a folder, or continue it; what is finished there is checked and read.

    A finished run keeps its weights and no checkpoint: a study has many runs.

    Args:
        experiment: what is trained, with its fold and seed.
        name: of the entry.
        folder: of the run.
        root: the study's folder, in which all links are refused.
        data: of the fold.
        named: the user's code in the experiment, by field.
        console: says what is to be said of the run.

    Raises:
        ConfigError, DataError, ContractError: it cannot be trained, or the folder holds something else.
        RunFolderError: a file is damaged or cannot be written.
    """
    refuse_links(folder, root)
    experiment = dataclasses.replace(
        data.prepared(experiment), checkpoint=dataclasses.replace(experiment.checkpoint, keep=1)
    )
    files = RunFolder(folder)
    if (folder / FAILED).exists():
        failure: _Failure = files.read_json(FAILED, _Failure)
        return Failed(printable(failure["reason"]))
    if not (folder / SUMMARY).exists():
        try:
            ended = run(
                ExperimentFile(name, experiment, ()),
                experiment,
                str(folder),
                started=time.perf_counter(),
                loaded=data.loaded(experiment),
                console=console,
            )
        except TrainingError as error:
            return _failed(files, str(error))
        except Exception as error:
            if not out_of_memory(error):
                raise
            return _failed(files, f"out of memory: {error}".splitlines()[0])
        if ended.code:
            return Stopped(ended.code)
    _remove(folder / "checkpoints")
    return read_job(experiment, files, data.dataset(experiment.data), named)


def read_job(experiment: Experiment, files: RunFolder, dataset: Dataset, named: Named) -> Done:
    """Return what a finished run has to say; raises RunFolderError or DataError where it is not that of the study."""
    recorded = read_config(files, named).file.experiment
    other = [each for each in changes(recorded, experiment) if each.field not in _FREE]
    if other:
        raise RunFolderError(
            "not the run of this study",
            where=files.path / CONFIG,
            expected=f"{other[0].field} {other[0].now!r}",
            found=repr(other[0].before),
            fix="delete this run to train it again",
        )
    require_same_data(files, dataset)
    summary = read_summary(files)
    predictions = load_predictions(files.path / "predictions.npz")
    if len(predictions.index_N) != len(dataset.test):
        found = f"{len(predictions.index_N):,}"
        raise RunFolderError(
            "not the test examples", where=files.path, expected=f"{len(dataset.test):,} predictions", found=found
        )
    return Done(
        predictions,
        summary["parameters"],
        summary["steps"],
        recorded.training.batch_size,
        float(summary.get("train_seconds") or 0.0),
    )


def _failed(files: RunFolder, reason: str) -> Failed:
    files.write_json(FAILED, _Failure(reason=reason))
    return Failed(printable(reason))


def _remove(path: Path) -> None:
    try:
        remove(path)
    except OSError as error:
        raise cannot_write(path, error) from error
