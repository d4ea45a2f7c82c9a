"""Create everything that an experiment needs to train: data, step calendar, model and initial state."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from flaxcnn.adapters import FlaxModule
from flaxcnn.config import Experiment, outside_names
from flaxcnn.data import BalancedOrder, Dataset, Split, epoch_order
from flaxcnn.errors import ConfigError
from flaxcnn.files.user_code import loaded_digest
from flaxcnn.keys import Purpose, compiler_options, key_for
from flaxcnn.models import CheckedModel
from flaxcnn.models.weights.initial import Initial, read_initial
from flaxcnn.processes import share
from flaxcnn.runs.checked_model import checked_model, pixel_constants, published_weights
from flaxcnn.runs.fine_tuning import fine_tuned
from flaxcnn.runs.given import NOTHING_GIVEN, Given, Loaded, load
from flaxcnn.runs.recipe import augmentations_of, mixing_of, optimizer_of
from flaxcnn.runs.supported import require_sizes, require_supported
from flaxcnn.tasks import Task, create_task, require_computable
from flaxcnn.training import TrainState, create_state
from flaxcnn.training.batches import BatchSource, ResidentSource, StreamedSource
from flaxcnn.training.calendar import StepCalendar
from flaxcnn.training.device_layout import WIDE, DeviceLayout
from flaxcnn.training.hyperparameters import Hyperparameters
from flaxcnn.training.optimizer import RuntimeOptimizer


class Setup(NamedTuple):
    """Everything that an experiment needs to train."""

    experiment: Experiment
    dataset: Dataset
    train: Split  # without the images set aside for validation
    validation: Split | None
    task: Task
    constants: Mapping[str, np.ndarray]  # what the training data fix: the task's, and those of the pixels
    calendar: StepCalendar
    checked: CheckedModel
    layout: DeviceLayout
    device_bytes: int  # that the images of a split may take on each device
    variables: Any = None  # to start from; None for those that `model.init` names, or that the seed draws
    initial: Initial | None = None  # where they are from, once the file that `model.init` names is read

    @property
    def outputs(self) -> int:
        """The number of the model's outputs."""
        return self.task.outputs(self.train.targets, self.dataset.target_names)

    @property
    def model(self) -> FlaxModule:
        """The model to train."""
        return self.checked.module

    @property
    def code(self) -> dict[str, str]:
        """SHA-256 of the user's code that the experiment names, by field."""
        return {field: loaded_digest(name, field) for field, name in outside_names(self.experiment).items()}

    def begun(self) -> "Setup":
        """Return the setup with the weights that it begins with, from the file that `model.init` names, if any.

        What goes on from a checkpoint needs no such file.

        Raises:
            DataError, ContractError: the file cannot be read, or its weights are not the model's.
        """
        chosen = self.experiment.model
        if chosen.init is None or self.variables is not None:
            return self
        key = key_for(self.experiment.training.seed, Purpose.WEIGHTS)
        shape = self.dataset.image_shape
        published = published_weights(chosen)
        place = Path(chosen.init) if published is None else published.place()
        initial = read_initial(place, chosen.name, self.model, self.outputs, shape, key)
        setup = self._replace(variables=initial.variables, initial=initial)
        setup.state_target()  # says what does not fit
        return setup

    def first_state(self) -> TrainState:
        """Return the initial state, on the layout's devices; raises as `begun`."""
        return self.begun()._first_state()

    def _first_state(self) -> TrainState:
        if self.layout.mesh.size == 1:  # the pieces are compiled once for all trainings that differ in values alone
            return self._create()
        shapes = jax.eval_shape(self._create)
        options = compiler_options()
        return jax.jit(self._create, out_shardings=self.layout.of_tree(shapes), compiler_options=options)()

    def state_target(self) -> TrainState:
        """Return a state of shapes with shardings, without computing anything."""
        return self.layout.targets(jax.eval_shape(self._create))

    def batch_source(self) -> BatchSource:
        """Return the source of the batches."""
        return self.batch_source_for(self.calendar, self.experiment.training.seed)

    def batch_source_for(self, calendar: StepCalendar, seed: int) -> BatchSource:
        """Return the source of the batches of another training on the same data.

        Batches come from the devices' memory if the images fit there, else from the host.
        """
        if self.fits(self.train):
            return ResidentSource(self.train, calendar, seed, self.layout)
        return StreamedSource(self.train, calendar, seed, self.layout, self.experiment.data.workers)

    def fits(self, split: Split) -> bool:
        """Return whether all images of a split fit on each device."""
        return split.images.nbytes <= self.device_bytes

    def _create(self) -> TrainState:
        training, augmentation = self.experiment.training, self.experiment.augmentation
        return create_state(
            self.model,
            self._optimizer(),
            self.dataset.image_shape,
            training.seed,
            augmentations_of(augmentation),
            mixup=mixing_of(augmentation),
            hyperparameters=Hyperparameters.of(
                training.label_smoothing,
                self.experiment.model.dropout,
                self._class_weights(),
                training.ema_decay,
                training.focal_gamma or None,
            ),
            accumulate=training.accumulate,
            norm_momentum=training.norm_momentum,
            task=self.task,
            constants=self.constants,
            variables=self.variables,
        )

    def _optimizer(self) -> RuntimeOptimizer:
        optimizer = optimizer_of(self.experiment, self.calendar)
        return fine_tuned(optimizer, self.experiment, self.checked.contract, self.calendar)

    def _class_weights(self) -> np.ndarray | None:
        weights = self.experiment.training.class_weights
        if weights is None:
            return None
        if weights == "balanced":  # a class without an example has no loss to weigh, and is not one of the classes
            counts = self.task.class_counts(self.train.targets, self.outputs)
            assert counts is not None, "a task that uses class weights counts its classes"
            return len(self.train) / (np.count_nonzero(counts) * np.maximum(counts, 1))
        return np.asarray(weights)


def set_up(experiment: Experiment, loaded: Loaded | None = None, given: Given = NOTHING_GIVEN) -> Setup:
    """Load and check everything that an experiment needs; writes nothing.

    Args:
        experiment: the experiment.
        loaded: its data, if already loaded.
        given: objects that replace names in the experiment.

    Raises:
        ConfigError: an unknown source or model, or a value that does not fit the data.
        DataError: the data are missing or damaged, or too small for the model.
        ContractError: the model differs from its contract.
    """
    dataset, train, validation = load(experiment, given.dataset) if loaded is None else loaded
    experiment = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, **dataset.preparation))
    experiment.require_validation(validation is not None or experiment.data.validation > 0)
    task = create_task(experiment.task) if given.task is None else given.task
    names = dataset.target_names
    for kind, split in (("training", train), ("validation", validation), ("test", dataset.test)):
        if split is not None:
            task.check(split.targets, names, f"{dataset.source} {kind}")
    require_supported(task, experiment)
    task, outputs = task.fitted(train.targets, names), task.outputs(train.targets, names)
    require_sizes(experiment, outputs, dataset.image_shape)
    calendar = StepCalendar.of(
        len(train),
        batch_size=experiment.training.batch_size,
        epochs=experiment.training.epochs,
        steps=experiment.training.steps,
        log_every=experiment.logging.every,
        save_every=experiment.checkpoint.every,
        order=epoch_order if experiment.training.sampling == "uniform" else BalancedOrder(np.asarray(train.targets)),
    )
    if experiment.chooses and calendar.total_steps <= calendar.log_every:
        raise ConfigError(
            "nothing to choose from: only the first step is logged",
            where="logging.every",
            expected=f"fewer than the run's {calendar.total_steps:,} steps",
            found=calendar.log_every,
        )
    if experiment.model.init is not None and given.variables is not None:
        found = f"variables, and {experiment.model.init}"
        raise ConfigError("given twice", where="model.init", expected="one of them", found=found)
    checked = checked_model(experiment, outputs, dataset.image_shape, given, detects=task.detects)
    layout = DeviceLayout.of(calendar.batch_size, experiment.mesh.data, experiment.mesh.model)
    mebibytes = experiment.data.device_memory
    allowed = share(_device_bytes() // 4) if mebibytes is None else mebibytes * 2**20
    learned = task.constants(train.targets)
    for field, name in outside_names(experiment).items():
        if field.startswith("task."):
            require_computable(task, name, learned, train.targets, outputs)
    constants = {**pixel_constants(experiment.model, train), **learned}
    setup = Setup(
        experiment, dataset, train, validation, task, constants, calendar, checked, layout, allowed, given.variables
    )
    target = setup.state_target()  # the model says here what it cannot take, before anything is written
    if layout.model > 1 and not layout.divided(target.params):
        raise ConfigError(
            "no layer wide enough to divide",
            where="mesh.model",
            expected=f"1, or a model with a kernel of {WIDE:,} numbers whose output features it divides",
            found=layout.model,
        )
    return setup


def _device_bytes() -> int:
    """Return a device's memory in bytes; on CPU, where the backend reports none, the machine's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
