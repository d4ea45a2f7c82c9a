"""The sections of an experiment, each a dataclass that checks its fields: unit, default and range."""

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

_MOST = 2**31 - 1  # the largest int32: step counts and pixel positions are int32


@dataclass(frozen=True)
class Data:
    """Where the images come from."""

    source: str = "mnist"
    """`mnist` (bundled), `idx:FOLDER` (files in MNIST's format), `tfds:NAME` (a prepared TensorFlow data set), or your
    own: FILE.py:NAME of a flaxcnn.data.Dataset, or of a function that returns one. --data is the short form."""
    dir: str | None = None
    """Folder of prepared TensorFlow data sets; None for TFDS's default."""
    validation: float = 0.0
    """Fraction of the training images held out for validation, chosen by a hash of their content; 0 for none."""
    device_memory: int | None = None
    """MiB of each device's memory that the training images may use. Larger data sets are streamed to the device batch
    by batch while it computes. None for a quarter of the device's memory."""
    workers: int = 2
    """Processes that read and decode streamed images, at most 1024; 0 to do it in the training process."""

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


_TASK_FIELDS = {"regression": ("loss", "huber_delta"), "several": ("heads",)}  # the fields that only one task uses


@dataclass(frozen=True)
class Task:
    """What the model learns to predict from an image."""

    name: str = "classification"
    """classification, multilabel, regression or several; or your own: FILE.py:NAME of a flaxcnn.tasks.Task.
    --task is the short form."""
    loss: Literal["squared", "absolute", "huber"] = "squared"
    """regression: the loss, computed on standardised targets."""
    huber_delta: float = 1.0
    """regression: the error, in standard deviations, above which the Huber loss is linear."""
    heads: tuple[str, ...] = ()
    """several: each target's name and task, with a loss weight if it is not 1:
    `species=classification area=regression:0.5`."""

    def __post_init__(self) -> None:
        check_types("task", self)
        require_float32(self.huber_delta, "task.huber_delta")
        require_own(self, "task", _TASK_FIELDS)


@dataclass(frozen=True)
class Model:
    """The model to train. The task and the data determine its number of outputs."""

    name: str = "paper_cnn"
    """A model of the library, or your own: FILE.py:NAME of a Flax module, Linen or NNX. --model is the short form."""
    dropout: float | None = None
    """Dropout rate; None for the model's default. Changing a rate, also to or from 0, does not recompile."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Data type of the layers' computations. Parameters, outputs and loss are always float32."""
    normalization: Literal["unit", "dataset", "imagenet"] = "unit"
    """Pixel normalisation. unit: divide by 255. dataset, imagenet: also standardise each channel with the mean and
    standard deviation of the training images or of ImageNet, which are saved with the weights."""

    def __post_init__(self) -> None:
        check_types("model", self)
        if self.dropout is not None:
            require_below_1(self.dropout, "model.dropout", "rate")


@dataclass(frozen=True)
class Augmentation:
    """Random changes of the training images, made on the device. 0 turns one off.

    They are applied in the order listed. Changing a strength does not recompile; turning one on or off does.
    """

    crop_padding: int = 0
    """Random crop: pad each side with this many pixels of zeros, at most the image's longer side, then crop back to
    the original size at a random position."""
    flip: float = 0.0
    """Probability of a left-right flip."""
    shift: float = 0.0
    """Maximum shift in pixels, in each direction."""
    rotate: float = 0.0
    """Maximum rotation in degrees, in each direction."""
    scale: float = 0.0
    """Maximum zoom in or out, as a fraction: 0.1 for up to 10 %."""
    shear: float = 0.0
    """Maximum shear in degrees, in each direction."""
    elastic: float = 0.0
    """Standard deviation of an elastic deformation, in pixels."""
    elastic_smoothness: float = 4.0
    """Standard deviation of the Gaussian that smooths the elastic deformation, in pixels, 0.01 to 1,000,000."""
    cutout: int = 0
    """Side in pixels of a square of zeros at a random position; at most the image's longer side."""
    mixup: float = 0.0
    """MixUp's alpha: pairs of images and their labels are mixed in proportions drawn from Beta(alpha, alpha)."""

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


# The fields that each name uses, besides the fields that all of them use.
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
    """The optimizer, from optax."""

    name: Literal["adam", "adamw", "sgd", "lion"] = "adam"
    """Adam, AdamW, stochastic gradient descent with momentum, or Lion."""
    learning_rate: float = 1e-3
    """Learning rate at the schedule's peak."""
    weight_decay: float = 0.0
    """adamw, sgd, lion: weight decay of kernels; biases and normalisation parameters do not decay. For adamw and lion
    it is decoupled and multiplied by the learning rate; for sgd it is L2 regularisation."""
    b1: float = 0.9
    """adam, adamw: decay rate of the first moment; lion: weight of the momentum in the update direction."""
    b2: float = 0.999
    """adam, adamw: decay rate of the second moment; lion: decay rate of the momentum, usually 0.99."""
    eps: float = 1e-8
    """adam, adamw: added to the square root of the second moment."""
    momentum: float = 0.9
    """sgd: momentum, the decay rate of the velocity."""
    nesterov: bool = False
    """sgd: use Nesterov momentum."""
    clip_norm: float | None = None
    """Maximum global norm of the gradients; larger gradients are scaled down to it. None for no clipping."""

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
    """The learning-rate schedule: a factor of `optimizer.learning_rate` for each step."""

    name: Literal["constant", "cosine", "one_cycle", "step", "linear"] = "constant"
    """Constant, cosine decay, one cycle up and down (Smith, 2018), step decay, or linear decay."""
    warmup_epochs: float = 0.0
    """Epochs of linear warm-up, fractions allowed; not for one_cycle, which has its own."""
    final: float = 0.0
    """cosine, linear: the factor at the end."""
    decay_epochs: float = 30.0
    """step: epochs between drops; fewer than the run's epochs, or there is no drop."""
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
    """Seed, length, batch size, loss options and early stopping."""

    seed: int = 0
    """Random seed. The same seed reproduces a run bit for bit."""
    epochs: int = 1
    """Passes over the training images."""
    steps: int | None = None
    """Stop after this many steps; None to train for all epochs."""
    batch_size: int = 50
    """Images per step. An epoch skips the images left over after its last full batch."""
    accumulate: int = 1
    """Gradient accumulation: split each batch into this many equal parts to save memory, and update once per batch."""
    label_smoothing: float = 0.0
    """Fraction of each label's weight that is spread evenly over all classes."""
    class_weights: Literal["balanced"] | tuple[float, ...] | None = None
    """Weight of each class's loss: numbers, or "balanced": images / (classes x images of the class)."""
    ema_decay: float | None = None
    """Decay of an exponential moving average of the weights; evaluation then uses the average. None for none."""
    patience: int | None = None
    """Early stopping: stop after this many logged rows without improvement of `checkpoint.keep_best`, or else of the
    validation loss. None to never stop early."""

    def __post_init__(self) -> None:
        check_types("training", self)
        require(0 <= self.seed < 2**32, "training.seed", "0 to 2**32 - 1", self.seed)
        for name in ("epochs", "steps"):
            if (value := getattr(self, name)) is not None:
                require(value >= 1, f"training.{name}", "at least 1", value)
                require(value <= _MOST, f"training.{name}", f"at most {_MOST:,}, the largest step count", value)
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
    """What is measured and logged during training."""

    every: int = 50
    """Steps between logged rows. Step 1 is always logged."""
    test_examples: int = 2000
    """Number of test images, from the first, to evaluate at each logged row; 0 for none. The end evaluates all."""
    tensorboard: bool = False
    """Also write TensorBoard event files (needs the extra `tensorboard`)."""

    def __post_init__(self) -> None:
        check_types("logging", self)
        require(self.every >= 1, "logging.every", "at least 1", self.every)
        require(self.test_examples >= 0, "logging.test_examples", "at least 0", self.test_examples)


@dataclass(frozen=True)
class Mesh:
    """The devices that train together. The mesh changes results by rounding only."""

    data: int | None = None
    """Data parallelism: devices that share each batch. None for as many as are available and divide it evenly."""
    model: int = 1
    """Model parallelism: devices that share the output features of wide layers."""

    def __post_init__(self) -> None:
        check_types("mesh", self)
        require(self.data is None or self.data >= 1, "mesh.data", "at least 1", self.data)
        require(self.model >= 1, "mesh.model", "at least 1", self.model)


@dataclass(frozen=True)
class Checkpoint:
    """When to save the full training state. A run also saves at its end and when a signal stops it."""

    every: int = 1000
    """Steps between checkpoints."""
    keep: int = 2
    """Number of newest checkpoints to keep."""
    keep_best: str | None = None
    """Also save at each logged row that improves this metric, and keep the best checkpoint: train_loss,
    validation_loss, or validation_ plus a metric that the task logs, such as validation_accuracy."""
    final: Literal["last", "best"] = "last"
    """The run's final weights: of the last step, or of the best checkpoint."""

    def __post_init__(self) -> None:
        check_types("checkpoint", self)
        require(self.every >= 1, "checkpoint.every", "at least 1", self.every)
        require(self.keep >= 1, "checkpoint.keep", "at least 1", self.keep)
        best = self.keep_best
        known = best is None or best == "train_loss" or best.startswith("validation_")
        require(known, "checkpoint.keep_best", "train_loss, or validation_ and the name of a logged metric", best)
        if self.final == "best" and self.keep_best is None:
            raise ConfigError("missing", where="checkpoint.keep_best", expected="a metric, because final is 'best'")
