"""The sections of an experiment: each field with its unit, its default and its range."""

import math
from dataclasses import dataclass
from typing import Literal

from flaxcnn.config.checks import (
    check_types,
    require,
    require_at_least_0,
    require_below_1,
    require_float32,
    require_own,
)
from flaxcnn.errors import ConfigError
from flaxcnn.files import require_path

_MOST = 2**31 - 1  # that int32 holds: steps are counted, and pixels placed, in it


@dataclass(frozen=True)
class Data:
    """Where the images come from."""

    source: str = "mnist"
    """`mnist` (embedded), `idx:FOLDER` (files in MNIST's format), `tfds:NAME` (a prepared TensorFlow data set), or your
    own: FILE.py:NAME of a flaxcnn.data.Dataset, or of a function that returns one. --data is short for it."""
    dir: str | None = None
    """Folder of prepared TensorFlow data sets; None for TFDS's own default."""
    validation: float = 0.0
    """Fraction of the training images set aside to choose by, by a hash of their content; 0 for none."""
    device_memory: int | None = None
    """MiB that the training images may take on each device; where they take more, they are brought to it batch by batch
    while it computes. None for a quarter of what the device has."""
    workers: int = 2
    """Processes that read and decode the images that do not fit, at most 1024; 0 to do it in the training process."""

    def __post_init__(self) -> None:
        check_types("data", self)
        require_path(self.source, "data.source")
        if self.dir is not None:
            require_path(self.dir, "data.dir")
        require(0 <= self.validation < 1, "data.validation", "0 <= fraction < 1", self.validation)
        memory = self.device_memory
        require(memory is None or memory >= 0, "data.device_memory", "at least 0", memory)
        require(0 <= self.workers <= 1024, "data.workers", "0 to 1024", self.workers)
        for name in ("source", "dir"):
            if "\0" in (getattr(self, name) or ""):
                raise ConfigError("a path cannot hold a null byte", where=f"data.{name}", found=getattr(self, name))


_TASK_FIELDS = {"regression": ("loss", "huber_delta"), "several": ("heads",)}  # the fields that one task alone uses


@dataclass(frozen=True)
class Task:
    """What is learned from an image."""

    name: str = "classification"
    """classification, multilabel, regression or several; or your own: FILE.py:NAME of a flaxcnn.tasks.Task. --task
    is short for it."""
    loss: Literal["squared", "absolute", "huber"] = "squared"
    """regression: of the standardised targets."""
    huber_delta: float = 1.0
    """regression: the error, in standard deviations, from which on the Huber loss is a line."""
    heads: tuple[str, ...] = ()
    """several: the name of each target with its task, and the weight of its loss where that is not 1:
    `species=classification area=regression:0.5`."""

    def __post_init__(self) -> None:
        check_types("task", self)
        require_float32(self.huber_delta, "task.huber_delta")
        require_own(self, "task", _TASK_FIELDS)


@dataclass(frozen=True)
class Model:
    """What is trained. How many outputs it has follows from the task and the data."""

    name: str = "paper_cnn"
    """A model of the library, or your own: FILE.py:NAME of a Flax module, Linen or NNX. --model is short for
    it."""
    dropout: float | None = None
    """Rate of dropout; None for the model's own. Any number, 0 too, is a value at run time."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the layers compute in; parameters, outputs and loss are float32 in any case."""
    normalization: Literal["unit", "dataset", "imagenet"] = "unit"
    """Of pixels: divided by 255; or then less the mean and over the deviation of each channel, of the training images
    or of ImageNet. Both numbers are kept with the weights."""

    def __post_init__(self) -> None:
        check_types("model", self)
        if self.dropout is not None:
            require_below_1(self.dropout, "model.dropout", "rate")


@dataclass(frozen=True)
class Augmentation:
    """Random changes of the training images, made on the device; 0 leaves one out.

    They act in the order in which they stand here. A strength is a value at run time; whether there is one is not.
    """

    crop_padding: int = 0
    """Pad each image by so many pixels of zeros, at most its longer side, and cut a random window of its own size
    out of it."""
    flip: float = 0.0
    """Probability of mirroring an image left to right."""
    shift: float = 0.0
    """Most pixels by which an image is moved, each way."""
    rotate: float = 0.0
    """Most degrees by which it is turned, each way."""
    scale: float = 0.0
    """Most by which it grows or shrinks, as a fraction of 1."""
    shear: float = 0.0
    """Most degrees by which it is slanted, each way."""
    elastic: float = 0.0
    """Standard deviation of an elastic deformation, in pixels."""
    elastic_smoothness: float = 4.0
    """Standard deviation of the Gaussian that smooths the elastic deformation, in pixels, 0.01 to 1,000,000."""
    cutout: int = 0
    """Side of a square of zeros at a random place, in pixels; at most the image's longer side."""
    mixup: float = 0.0
    """MixUp's alpha: pairs of images and of labels are averaged in shares drawn from Beta(alpha, alpha)."""

    def __post_init__(self) -> None:
        check_types("augmentation", self)
        for name in ("crop_padding", "shift", "elastic", "cutout", "mixup"):
            require_at_least_0(getattr(self, name), f"augmentation.{name}")
        require(self.cutout <= _MOST, "augmentation.cutout", f"at most {_MOST:,}", self.cutout)
        for name, below in (("scale", 1), ("shear", 90)):
            require(0 <= getattr(self, name) < below, f"augmentation.{name}", f"0 to {below}", getattr(self, name))
        for name, most in (("flip", 1), ("rotate", 180)):
            require(0 <= getattr(self, name) <= most, f"augmentation.{name}", f"0 to {most}", getattr(self, name))
        smoothness = self.elastic_smoothness
        require(0.01 <= smoothness <= 1e6, "augmentation.elastic_smoothness", "0.01 to 1,000,000", smoothness)
        if not self.elastic and smoothness != type(self).elastic_smoothness:
            raise ConfigError(
                "smooths nothing", where="augmentation.elastic_smoothness", expected="an augmentation.elastic above 0"
            )


# The fields of which each name makes use, besides those that all do.
_OPTIMIZER_FIELDS = {
    "adam": ("b1", "b2", "eps"),
    "adamw": ("b1", "b2", "eps", "weight_decay"),
    "sgd": ("momentum", "nesterov", "weight_decay"),
    "lion": ("b1", "b2", "weight_decay"),
}
_SCHEDULE_FIELDS = {
    "constant": ("warmup_epochs",),
    "cosine": ("warmup_epochs", "final"),
    "linear": ("warmup_epochs", "final"),
    "step": ("warmup_epochs", "decay_epochs", "decay_rate"),
    "one_cycle": (),
}


@dataclass(frozen=True)
class Optimizer:
    """The rule of the updates, optax's in every case."""

    name: Literal["adam", "adamw", "sgd", "lion"] = "adam"
    """Adam, AdamW, stochastic gradient descent with momentum, or Lion."""
    learning_rate: float = 1e-3
    """Step size, at the schedule's peak."""
    weight_decay: float = 0.0
    """Of kernels, not of biases and normalisations; not for adam. Times the learning rate where it is decoupled."""
    b1: float = 0.9
    """adam, adamw, lion: decay of the mean of gradients."""
    b2: float = 0.999
    """adam, adamw: decay of the mean of squared gradients; lion: of the momentum, usually 0.99."""
    eps: float = 1e-8
    """adam, adamw: added to the root of the second mean."""
    momentum: float = 0.9
    """sgd: decay of the sum of gradients."""
    nesterov: bool = False
    """sgd: Nesterov's momentum."""
    clip_norm: float | None = None
    """Gradients of a larger norm, over all parameters together, are scaled down to it; None for no clipping."""

    def __post_init__(self) -> None:
        check_types("optimizer", self)
        require_at_least_0(self.weight_decay, "optimizer.weight_decay")
        for name in ("b1", "b2", "momentum"):
            require_below_1(getattr(self, name), f"optimizer.{name}", name)
        for name in ("learning_rate", "eps", "clip_norm"):
            if (value := getattr(self, name)) is not None:
                require_float32(value, f"optimizer.{name}")
        require_own(self, "optimizer", _OPTIMIZER_FIELDS)


@dataclass(frozen=True)
class Schedule:
    """How the learning rate goes from step to step, as a factor of `optimizer.learning_rate`."""

    name: Literal["constant", "cosine", "one_cycle", "step", "linear"] = "constant"
    """Constant, down half a cosine, up and down again (Smith, 2018), down by steps, or down a line."""
    warmup_epochs: float = 0.0
    """Epochs, also a part of one, over which it rises along a line first; one_cycle has its own rise."""
    final: float = 0.0
    """cosine, linear: the factor at the end."""
    decay_epochs: float = 30.0
    """step: epochs from one drop to the next; fewer than all, or there would be no drop."""
    decay_rate: float = 0.1
    """step: the factor of each drop."""

    def __post_init__(self) -> None:
        check_types("schedule", self)
        require(0 <= self.warmup_epochs < math.inf, "schedule.warmup_epochs", "at least 0", self.warmup_epochs)
        require(0 <= self.final <= 1, "schedule.final", "0 to 1", self.final)
        require(0 < self.decay_epochs < math.inf, "schedule.decay_epochs", "a number above 0", self.decay_epochs)
        require(0 < self.decay_rate <= 1, "schedule.decay_rate", "0 < rate <= 1", self.decay_rate)
        require_float32(self.decay_rate, "schedule.decay_rate")
        require_own(self, "schedule", _SCHEDULE_FIELDS)


@dataclass(frozen=True)
class Training:
    """How long, in what order, and towards what."""

    seed: int = 0
    """Seed of the weights and of the order of examples; the same seed gives the same bits."""
    epochs: int = 1
    """Passes over the training images."""
    steps: int | None = None
    """Stop after so many steps; None for all of the epochs."""
    batch_size: int = 50
    """Images a step; what is left of an epoch after the last whole batch is not seen in it."""
    accumulate: int = 1
    """Parts into which a batch is cut to save memory; their gradients are added before the one update."""
    label_smoothing: float = 0.0
    """Share of a label's weight that is spread evenly over all classes."""
    class_weights: Literal["balanced"] | tuple[float, ...] | None = None
    """Factor of each class's loss: numbers, or "balanced": images / (classes x images of the class)."""
    ema_decay: float | None = None
    """Decay of an exponential moving average of the weights, which is then what is evaluated; None for none."""
    patience: int | None = None
    """Stop when so many logged rows in a row brought no better validation metric: `checkpoint.keep_best`, or the
    loss; None to go on to the end."""

    def __post_init__(self) -> None:
        check_types("training", self)
        require(0 <= self.seed < 2**32, "training.seed", "0 to 2**32 - 1", self.seed)
        for name in ("epochs", "steps"):
            if (value := getattr(self, name)) is not None:
                require(value >= 1, f"training.{name}", "at least 1", value)
                require(value <= _MOST, f"training.{name}", f"at most {_MOST:,}, the steps that are counted", value)
        require(self.batch_size >= 1, "training.batch_size", "at least 1", self.batch_size)
        require(self.accumulate >= 1, "training.accumulate", "at least 1", self.accumulate)
        if self.batch_size % self.accumulate:
            expected = f"a divisor of training.batch_size, {self.batch_size}"
            found = self.accumulate
            raise ConfigError("parts of unequal size", where="training.accumulate", expected=expected, found=found)
        require_below_1(self.label_smoothing, "training.label_smoothing", "share")
        if self.ema_decay is not None:
            require_below_1(self.ema_decay, "training.ema_decay", "decay")
        require(self.patience is None or self.patience >= 1, "training.patience", "at least 1", self.patience)
        weights = self.class_weights
        if isinstance(weights, tuple):
            sound = all(0 <= weight < math.inf for weight in weights) and any(weights)
            require(sound, "training.class_weights", "numbers of at least 0, not all of them 0", weights)
            require_at_least_0(max(weights), "training.class_weights")


@dataclass(frozen=True)
class Logging:
    """What is measured and written while training."""

    every: int = 50
    """Steps from one logged row to the next; the first row is the first step's."""
    test_examples: int = 2000
    """The first so many test images are evaluated at each logged row, 0 for none; all of them at the end."""
    tensorboard: bool = False
    """Write TensorBoard event files too (needs the extra `tensorboard`)."""

    def __post_init__(self) -> None:
        check_types("logging", self)
        require(self.every >= 1, "logging.every", "at least 1", self.every)
        require(self.test_examples >= 0, "logging.test_examples", "at least 0", self.test_examples)


@dataclass(frozen=True)
class Mesh:
    """The devices that train together. None of it changes what is computed, beyond rounding."""

    data: int | None = None
    """Devices among which each batch is divided; None for as many as there are and divide it evenly."""
    model: int = 1
    """Devices among which the output features of wide layers are divided."""

    def __post_init__(self) -> None:
        check_types("mesh", self)
        require(self.data is None or self.data >= 1, "mesh.data", "at least 1", self.data)
        require(self.model >= 1, "mesh.model", "at least 1", self.model)


@dataclass(frozen=True)
class Checkpoint:
    """When the whole state is saved, besides at the end and when a signal stops the run."""

    every: int = 1000
    """Steps from one checkpoint to the next."""
    keep: int = 2
    """How many of the newest are kept."""
    keep_best: str | None = None
    """Save at each logged row that is better than all before by this, and keep the best one too: train_loss,
    validation_loss, or validation_ and a metric that the task logs, as validation_accuracy."""
    final: Literal["last", "best"] = "last"
    """Which weights a run ends with: the last step's, or those of the best checkpoint."""

    def __post_init__(self) -> None:
        check_types("checkpoint", self)
        require(self.every >= 1, "checkpoint.every", "at least 1", self.every)
        require(self.keep >= 1, "checkpoint.keep", "at least 1", self.keep)
        best = self.keep_best
        known = best is None or best == "train_loss" or best.startswith("validation_")
        require(known, "checkpoint.keep_best", "train_loss, or validation_ and the name of a logged metric", best)
        if self.final == "best" and self.keep_best is None:
            raise ConfigError("best by what?", where="checkpoint.keep_best", expected="a metric, since final is 'best'")
