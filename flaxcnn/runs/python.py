"""Training from Python: `flaxcnn.train`, and the `Run` that it returns.

It writes the same folder and the same results as the command, in a script, in a notebook, and outside the main thread.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from flaxcnn.config import Experiment, ExperimentFile, load_experiment
from flaxcnn.data import Dataset
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.evaluation.intervals import bootstrap_intervals
from flaxcnn.evaluation.sums import predict
from flaxcnn.jax_settings import pinned
from flaxcnn.layers.pixels import CONSTANTS
from flaxcnn.models import folded
from flaxcnn.models.views import over_views
from flaxcnn.processes import is_first
from flaxcnn.runs.evaluate import saved_variables
from flaxcnn.runs.folder.record import METRICS, SUMMARY, read_rows, read_summary
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.given import Given
from flaxcnn.runs.output.console import RunConsole
from flaxcnn.runs.output.loggers import Logger, require_loggers
from flaxcnn.runs.running import Hook
from flaxcnn.runs.setup import Setup
from flaxcnn.runs.train import run
from flaxcnn.tasks import Predicted, Task, measured


def train(
    experiment: Experiment | str | Path = "paper_mnist",
    *,
    dataset: Dataset | None = None,
    model: Any = None,
    task: Task | None = None,
    variables: Any = None,
    out: str | Path | None = None,
    hooks: Sequence[Hook] = (),
    loggers: Sequence[Logger] = (),
    quiet: bool = False,
) -> "Run":
    """Train an experiment and return its run. If `out` holds an interrupted run of the same experiment, resume it.

    The results equal those of `flaxcnn train` bit for bit. Ctrl-C saves and stops the run after the current block of
    steps; to resume, call this again with the run's folder as `out`. The process keeps no signal handler and no JAX
    setting from the call.

    Args:
        experiment: an experiment, the name of a library config, or the path of a config file.
        dataset: the data, replacing `data.source` of the experiment (`flaxcnn.data.from_arrays`).
        model: a Flax module, Linen or NNX, its class, or a function that creates it; replaces `model.name`. A class or
            function is called with `classes=`, the number of outputs, if it takes that argument.
        task: the task, replacing `task.name`.
        variables: initial variables of the model, as from `model.init`.
        out: the run's folder, new or of the same run; None for the next free `runs/NAME-NNN`.
        hooks: functions to call every few steps (`flaxcnn.Hook`).
        loggers: where the logged rows go, too (`flaxcnn.Logger`), beside those that the section `logging` names.
        quiet: whether to print only warnings.

    Returns:
        The run, complete or stopped.

    Raises:
        ConfigError, DataError, ContractError: invalid arguments; nothing was written.
        RunFolderError: the folder holds another run, or a file cannot be written.
        TrainingError: the training diverged.
    """
    started = time.perf_counter()
    for number, hook in enumerate(hooks):
        if not isinstance(hook, Hook) or hook.every < 1:
            expected = "flaxcnn.Hook(every, call), every 1 or more"
            raise ConfigError("not a hook", where=f"hooks[{number}]", expected=expected, found=repr(hook))
    require_loggers(loggers)
    if isinstance(experiment, Experiment):
        file = ExperimentFile("experiment" if dataset is None else "own_data", experiment, ())
    else:
        file = load_experiment(str(experiment))
    given = Given(dataset, model, task, variables)
    console = RunConsole(Console(quiet=True) if quiet else None, speaks=is_first())
    with pinned():
        ended = run(
            file,
            file.experiment,
            None if out is None else str(out),
            started=started,
            given=given,
            hooks=hooks,
            loggers=loggers,
            console=console,
        )
    return Run(ended.folder.path, ended.setup)


class Run:
    """A run: its folder, its results and its trained model.

    Attributes:
        folder: the run's folder.
    """

    def __init__(self, folder: Path, setup: Setup):
        self.folder, self._setup = folder, setup
        self._variables: Any = None  # once they are read

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {'complete' if self.complete else 'stopped'})"

    @property
    def complete(self) -> bool:
        """Whether the run finished. Resume a stopped run with `flaxcnn.train(..., out=run.folder)`."""
        return (self.folder / SUMMARY).exists()

    @property
    def summary(self) -> dict[str, Any]:
        """The results in `summary.json`, by name; raises RunFolderError if the run is not complete."""
        return read_summary(RunFolder(self.folder))

    @property
    def metrics(self) -> dict[str, np.ndarray]:
        """The columns of the logged rows by name, float64 arrays of equal length; NaN for values not measured."""
        with (self.folder / METRICS).open("rb") as file:
            count = sum(line.endswith(b"\n") for line in file)
        rows = [row.to_json() for row in read_rows(RunFolder(self.folder), count)]
        return {name: np.array([row[name] for row in rows], np.float64) for name in (rows[0] if rows else ())}

    @property
    def variables(self) -> Any:
        """The trained model's saved variables; raises RunFolderError if the run is not complete."""
        if self._variables is None:
            self._variables = saved_variables(RunFolder(self.folder), self._setup)
        return self._variables

    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the predictions for images, arrays with N rows by name; for a classifier "logits", (N, classes).

        Args:
            images: uint8 (N, H, W, C), with the size of the training images.

        Raises:
            DataError: the images have another dtype or size.
        """
        images = np.asarray(images)
        shape = self._setup.dataset.image_shape
        if images.dtype != np.uint8 or images.shape[1:] != shape or not len(images):
            raise DataError(
                "images do not fit this run",
                where="images",
                expected=f"uint8 (N, {', '.join(map(str, shape))})",
                found=f"{images.dtype} {images.shape}",
            )
        with pinned():
            model = over_views(folded(self._setup.model), self._setup.experiment.model.tta)
            found = predict(model, self.variables, images, task=self._setup.task)
            return {name: np.asarray(array) for name, array in jax.device_get(found).items()}

    def evaluate(self, dataset: Dataset | None = None) -> Mapping[str, tuple[float, tuple[float, float]]]:
        """Return every metric of the task on a data set's test images, with its 95 % bootstrap confidence interval.

        Args:
            dataset: a data set with the same kind of images and targets as the run's; None for the run's own.

        Raises:
            DataError: the images or targets do not fit the run.
        """
        task = self._setup.task
        own = self._setup.dataset if dataset is None else dataset
        test = own.test
        task.check(test.targets, own.target_names, f"{own.source} test")
        predictions = self.predict(np.asarray(test.images))
        constants = {name: np.asarray(value) for name, value in self.variables.get(CONSTANTS, {}).items()}
        scores = task.scores(Predicted(test.targets, predictions, constants, own.target_names))
        values = measured(scores, len(test), task.metrics)
        intervals = bootstrap_intervals(scores, task.metrics, len(test), groups_N=test.groups)
        return {name: (values[name], intervals[name]) for name in task.metrics}
