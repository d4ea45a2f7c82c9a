"""What the report of a run is made of: its folder's files, and as far as they are there, its model and its data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from flaxcnn.config import Experiment
from flaxcnn.data import Dataset, Split
from flaxcnn.errors import FlaxcnnError, RunFolderError
from flaxcnn.evaluation.predictions import VALIDATION, Predictions, load_predictions
from flaxcnn.evaluation.table import LoggedRow
from flaxcnn.prediction.loading import of_run
from flaxcnn.prediction.trained import Trained
from flaxcnn.reports.intervals import interval_over
from flaxcnn.runs.folder.form import FORM, ModelForm, read_form
from flaxcnn.runs.folder.named import Named
from flaxcnn.runs.folder.record import (
    ENVIRONMENT,
    RecordedConfig,
    read_config,
    read_environment,
    read_rows,
    read_summary,
    require_same_data,
)
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.given import anywhere
from flaxcnn.runs.given import load as load_data
from flaxcnn.tasks import Interval, Predicted, Task, create_task

TEST = "predictions.npz"  # of a finished run
_TASK, _MODEL, _DATA = "task.", "model.", "data."


class Material(NamedTuple):
    """What a run left.

    Attributes:
        called: what the user calls it, its folder.
        folder: of the run.
        config: what it ran.
        task: with the sizes of its data.
        form: what its model takes and answers.
        summary: its final numbers.
        rows: that it logged.
        environment: `environment.json`.
        test: its predictions of the test images.
        validation: those of the validation images; None without.
        trained: its model; None where it cannot be loaded, or is not needed.
        dataset: its data; None where they are not there.
        training: the images that it was trained on, without those set aside for validation; None without data.
        lacking: why there is no model, and why there are no data, in sentences.
    """

    called: str
    folder: RunFolder
    config: RecordedConfig
    task: Task
    form: ModelForm
    summary: Mapping[str, Any]
    rows: list[LoggedRow]
    environment: Mapping[str, Any]
    test: Predictions
    validation: Predictions | None
    trained: Trained | None
    dataset: Dataset | None
    training: Split | None
    lacking: tuple[str, ...]

    @property
    def experiment(self) -> Experiment:
        """What the run trained."""
        return self.config.file.experiment

    @property
    def predicted(self) -> Predicted:
        """The predictions of the test images, with names."""
        return self.test.predicted()._replace(names=self.form.target_names)

    @property
    def validated(self) -> Predicted | None:
        """The predictions of the validation images, with names; None without."""
        return None if self.validation is None else self.validation.predicted()._replace(names=self.form.target_names)

    @property
    def groups(self) -> int | None:
        """How many groups the test images have; None without groups."""
        return None if self.test.groups_N is None else len(np.unique(self.test.groups_N))

    @property
    def calibration(self) -> dict[str, Any]:
        """How the model is calibrated, by its validation images; {} without."""
        return {} if self.validated is None else self.task.calibration(self.validated)

    @property
    def interval(self) -> Interval:
        """The 95 % interval of a share of the test images."""
        return interval_over(len(self.test.index_N), self.test.groups_N)


def gather(
    called: str,
    folder: RunFolder,
    named: Named,
    source: str | None = None,
    data_dir: str | None = None,
    *,
    with_model: bool = True,
) -> Material:
    """Read what a run left, and load its model and its data where they are there.

    What the user names has to be right; what is not named, and not there, is left out of the report, with the reason.

    Args:
        called: what the user calls the run.
        folder: of the run.
        named: the run's own code, by field, named again.
        source: the data's new source; None for the recorded one.
        data_dir: the new folder of the data; None for the recorded one.
        with_model: whether its model is needed: several runs beside each other have no explanations.

    Raises:
        RunFolderError: the run did not end, or a file of it is damaged.
        ConfigError, DataError, ContractError: what the user names is not the run's.
    """
    summary = read_summary(folder)
    read_environment(folder)  # checks what is used of it
    config = read_config(folder, _only(named, _TASK), _TASK)
    form, task = read_form(folder), create_task(config.file.experiment.task)
    task.check(form.targets, form.target_names, str(folder.path / FORM))
    task = task.fitted(form.targets, form.target_names)
    test, kept = _predictions(folder.path / TEST, task, form), folder.path / VALIDATION
    lacking, trained = [], None
    try:
        if with_model:
            trained = of_run(folder, _only(named, _TASK, _MODEL))
    except FlaxcnnError as error:
        if any(value is not None for field, value in named.items() if field.startswith(_MODEL)):
            raise
        lacking.append(f"The model is not there, and so no explanations, filters or map of features: {error}")
    dataset = training = None
    try:
        experiment = read_config(folder, _only(named, _TASK, _DATA), (_TASK, _DATA)).file.experiment
        dataset, training, _ = load_data(anywhere(experiment, source, data_dir))
        require_same_data(folder, dataset)
    except (FlaxcnnError, OSError) as error:
        if source is not None or data_dir is not None:
            raise
        dataset = training = None
        lacking.append(f"The data are not there, and so no images and nothing that is computed of them: {error}")
    return Material(
        called,
        folder,
        config,
        task,
        form,
        summary,
        read_rows(folder, summary["rows"]),
        folder.read_json(ENVIRONMENT),
        test,
        _predictions(kept, task, form) if kept.exists() else None,
        trained,
        dataset,
        training,
        tuple(lacking),
    )


def _predictions(path: Path, task: Task, form: ModelForm) -> Predictions:
    """Return a run's predictions, which are of its task and its outputs, and finite.

    Raises:
        RunFolderError, DataError: they are missing, damaged or another run's.
    """
    found = load_predictions(path)
    task.check(found.targets, form.target_names, str(path))
    shape = task.shape_of(task.outputs(form.targets, form.target_names))
    outputs = jax.ShapeDtypeStruct((1, *shape), np.float32)
    try:
        shapes = jax.eval_shape(task.decode, dict(found.constants), outputs)
    except (KeyError, TypeError, ValueError) as error:  # constants that are missing, or of another shape
        raise RunFolderError("damaged: not this task's constants", where=path, found=str(error)[:100]) from error
    for name, shape in shapes.items():
        array = found.predictions.get(name)
        if array is None or array.shape[1:] != shape.shape[1:] or not len(array) or not np.isfinite(array).all():
            expected = f"finite numbers, (N, {', '.join(map(str, shape.shape[1:]))})"
            shown = "none" if array is None else array.shape
            raise RunFolderError("not this run's predictions", where=f"{path}: {name}", expected=expected, found=shown)
    return found


def _only(named: Named, *beginnings: str) -> Named:
    """Return what is named of some sections."""
    return {field: name for field, name in named.items() if field.startswith(beginnings)}
