"""Create everything that an experiment needs to train: data, step calendar, model and initial state."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn import config, data
from flaxcnn.adapters import FlaxModule, keeping, module_name, takes
from flaxcnn.config import GIVEN, WEIGHTS, Experiment, outside_names, refuse_given, with_data
from flaxcnn.data import BalancedOrder, Dataset, Split, channel_moments, epoch_order, split_validation
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.files.user_code import loaded_digest
from flaxcnn.keys import Purpose, compiler_options, key_for
from flaxcnn.layers.pixels import IMAGENET
from flaxcnn.models import MODELS, CheckedModel, check_given, create_checked, given_name
from flaxcnn.models.weights.initial import Initial, read_initial
from flaxcnn.models.weights.published import Published
from flaxcnn.processes import share
from flaxcnn.runs.data_options import data_options
from flaxcnn.runs.fine_tuning import fine_tuned
from flaxcnn.runs.recipe import augmentations_of, mixing_of, optimizer_of
from flaxcnn.tasks import Task, create_task, require_computable, require_used
from flaxcnn.terminal import counter
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


class Given(NamedTuple):
    """Objects that a caller passed, which replace names in an experiment.

    Attributes:
        dataset: replaces `data.source`.
        model: a Flax module, its class or a function that creates it; replaces `model.name`.
        task: replaces `task.name`.
        variables: initial variables, as from `model.init`; None to draw them from the seed.
    """

    dataset: Dataset | None = None
    model: Any = None
    task: Task | None = None
    variables: Any = None

    def named_in(self, experiment: Experiment) -> Experiment:
        """Return the experiment with the passed objects named as `given:NAME`, which no command can load."""
        changes: dict[str, Any] = {}
        if self.dataset is not None:
            source = f"{GIVEN}{self.dataset.source.removeprefix(GIVEN)}"
            changes["data"] = dataclasses.replace(experiment.data, source=source, dir=None)
        if self.model is not None:
            changes["model"] = dataclasses.replace(experiment.model, name=f"{GIVEN}{given_name(self.model)}")
        if self.task is not None:
            changes["task"] = config.Task(name=f"{GIVEN}{self.task.name}")
        return dataclasses.replace(experiment, **changes)


NOTHING_GIVEN = Given()


class Loaded(NamedTuple):
    """The data of an experiment, or of several with the same section `data`."""

    dataset: Dataset
    train: Split
    validation: Split | None


def load(experiment: Experiment, dataset: Dataset | None = None) -> Loaded:
    """Load and verify an experiment's data, or use the given data set; raises as `set_up`."""
    if dataset is None:
        refuse_given(experiment.data.source, "data.source")
        dataset = data.load(
            experiment.data.source, data_options(experiment.data), progress=counter("decoding {:,} of {:,} images")
        )
    train, validation = dataset.train, dataset.validation
    if experiment.data.validation:
        if validation is not None:
            fix = "leave out --data.validation"
            raise ConfigError("the data have a validation split", where="data.validation", expected=0, fix=fix)
        train, validation = split_validation(dataset.train, experiment.data.validation)
    return Loaded(dataset, train, validation)


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
    _check_for(task, experiment)
    task, outputs = task.fitted(train.targets, names), task.outputs(train.targets, names)
    _check_sizes(experiment, outputs, dataset.image_shape)
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
    constants = {**_pixels(experiment.model, train), **learned}
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


def _check_sizes(experiment: Experiment, outputs: int, image_shape: tuple[int, int, int]) -> None:
    """Raise ConfigError where class weights do not fit the outputs, or an augmentation the images."""
    weights = experiment.training.class_weights
    if isinstance(weights, tuple) and len(weights) != outputs:
        raise ConfigError(
            "not one number for each class",
            where="training.class_weights",
            expected=f"{outputs} numbers",
            found=len(weights),
        )
    side = max(image_shape[:2])
    for name in ("crop_padding", "cutout"):  # more changes nothing, and padding takes memory
        asked = getattr(experiment.augmentation, name)
        if asked > side:
            expected = f"at most the images' longer side, {side}"
            raise ConfigError("out of range", where=f"augmentation.{name}", expected=expected, found=asked)


def checked_model(
    experiment: Experiment,
    outputs: int,
    image_shape: tuple[int, int, int],
    given: Given = NOTHING_GIVEN,
    *,
    detects: bool = False,
) -> CheckedModel:
    """Return the model after checking it against its contract; raises as `set_up`.

    With `detects` it is a detector on a model of the library; a user's own is one already.
    """
    chosen = experiment.model
    if chosen.dtype == "bfloat16" and jax.default_backend() == "cpu" and chosen.name.startswith("wide"):
        # On jax 0.12, XLA:CPU evaluates them to NaN, others from call to call, inside any loop; not the other models.
        raise ConfigError(
            "a wide residual network cannot be trained in bfloat16 on a CPU",
            where="model.dtype",
            expected="float32",
            found="bfloat16",
        )
    options: dict[str, Any] = {"image_shape": image_shape, "remat": chosen.remat, "detects": detects}
    if given.model is None:
        checked = create_checked(chosen.name, outputs, chosen.dtype, **options)
    else:
        checked = check_given(given.model, outputs, chosen.dtype, **options)
    if chosen.dropout is not None and not takes(checked.module, "dropout"):
        fix = f"add `dropout=None` to the arguments of {module_name(checked.module)}.__call__"
        raise ConfigError("this model takes none", where="model.dropout", found=chosen.dropout, fix=fix)
    kept = experiment.training.norm_momentum
    if kept is not None and not _normalising_layers(checked.module, image_shape):
        what = "this model has no batch normalisation whose momentum can be set"
        fix = "leave out --training.norm_momentum"
        raise ConfigError(what, where="training.norm_momentum", expected="None", found=kept, fix=fix)
    return checked


def _normalising_layers(model: FlaxModule, image_shape: tuple[int, int, int]) -> list[str]:
    """Return the layers whose momentum `keeping` sets, by path, without computing anything."""

    def train(images: jax.Array) -> Any:
        key = jax.random.key(0)
        return model.apply(model.init(key, images), images, train=True, mutable=["batch_stats"], rngs={"dropout": key})

    with keeping(0.0) as reached:
        jax.eval_shape(train, jax.ShapeDtypeStruct((2, *image_shape), jnp.float32))
    return reached


def _check_for(task: Task, experiment: Experiment) -> None:
    """Raise ConfigError if an experiment uses metrics or options that its task does not support."""
    training = experiment.training
    require_used(task, "label_smoothing", training.label_smoothing > 0, "training.label_smoothing")
    require_used(task, "class_weights", training.class_weights is not None, "training.class_weights")
    require_used(task, "sampling", training.sampling == "balanced", "training.sampling")
    require_used(task, "focal_gamma", training.focal_gamma > 0, "training.focal_gamma")
    for name in ("mixup", "cutmix"):
        require_used(task, "mixup", getattr(experiment.augmentation, name) > 0, f"augmentation.{name}")
    require_used(task, "mosaic", experiment.augmentation.mosaic > 0, "augmentation.mosaic")
    if task.moves and experiment.augmentation.augmix:
        what = f"it mixes images that are moved apart, and the targets of {task.name} move with the pixels"
        raise ConfigError(what, where="augmentation.augmix", expected=0, found=experiment.augmentation.augmix)
    if task.detects and experiment.model.tta != "none":
        what = f"the views of an image have other boxes, of which {task.name} has no mean"
        raise ConfigError(what, where="model.tta", expected="none", found=experiment.model.tta)
    best = experiment.checkpoint.keep_best
    known = ["train_loss", "validation_loss", *(f"validation_{name}" for name in task.logged)]
    if best is not None and best not in known:
        raise ConfigError(
            f"not measured by the task {task.name}",
            where="checkpoint.keep_best",
            expected=", ".join(known),
            found=best,
            fix=nearest(best, known),
        )


def published_weights(chosen: config.Model) -> Published | None:
    """Return the pretrained weights that a model is to begin with; None where it begins otherwise.

    Raises:
        ConfigError: no package carries such weights for the model.
    """
    if chosen.init not in WEIGHTS:
        return None
    known = {name for name, variant in MODELS.items() if chosen.init in variant.weights}
    if chosen.name not in known:
        fix = "name a file of weights, or train from drawn ones"
        expected = f"a model with weights: {', '.join(sorted(known))}"
        raise ConfigError(
            f"no {chosen.init} weights", where="model.init", expected=expected, found=chosen.name, fix=fix
        )
    return MODELS[chosen.name].weights[chosen.init]


def _pixels(chosen: config.Model, train: Split) -> dict[str, np.ndarray]:
    """Return the mean and standard deviation of each channel, for pixels in [0, 1], float32 (C,); {} for "unit".

    Raises:
        ConfigError: "imagenet", or weights of colour images, for images without three channels.
    """
    channels, published = train.images.shape[-1], published_weights(chosen)
    if not pixel_constants_of(chosen, channels):
        return {}
    if chosen.normalization == "dataset":
        mean, deviation = channel_moments(train.images)
    else:
        mean, deviation = map(
            np.asarray, IMAGENET if published is None else (published.pixel_mean, published.pixel_deviation)
        )
        if channels != len(mean):
            where = "model.normalization imagenet" if published is None else "model.init imagenet"
            expected, found = "images of 3 channels", f"{channels}"
            fix = "decode to colours with --data.channels rgb"
            raise ConfigError("of colours", where=where, expected=expected, found=found, fix=fix)
    return {"pixel_mean": np.asarray(mean, np.float32), "pixel_deviation": np.asarray(deviation, np.float32)}


def pixel_constants_of(chosen: config.Model, channels: int) -> dict[str, np.ndarray]:
    """Return the constants by which a model's pixels are normalised, for their shapes, all zeros; {} for none."""
    if chosen.normalization == "unit" and published_weights(chosen) is None:
        return {}
    return {name: np.zeros(channels, np.float32) for name in ("pixel_mean", "pixel_deviation")}


def anywhere(experiment: Experiment, source: str | None, data_dir: str | None) -> Experiment:
    """Return a recorded experiment for this machine's devices, with a new data location if given."""
    return dataclasses.replace(with_data(experiment, source, data_dir), mesh=config.Mesh())


def _device_bytes() -> int:
    """Return a device's memory in bytes; on CPU, where the backend reports none, the machine's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
