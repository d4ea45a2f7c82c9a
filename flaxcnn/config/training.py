"""How a model is trained: the sections `optimizer`, `schedule` and `training` of an experiment."""

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

_MOST = 2**31 - 1  # the largest int32: step counts are int32

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
    layer_decay: float | None = None
    """Factor of the learning rate from each stage of the model to the one before it, such as 0.75: the head learns at
    the whole rate, the first layers slowest. None for the same rate everywhere."""
    rates: tuple[str, ...] = ()
    """Factors of the learning rate of single parts, named as for --model.freeze: `head=10 stem=0.1`."""

    def rates_by_name(self) -> dict[str, float]:
        """Return the factors of `rates` by part; raises ConfigError where one is none."""
        found = {}
        for text in self.rates:
            part, equals, number = text.rpartition("=")
            try:
                factor = float(number)
            except ValueError:
                equals = ""
            if not (part and equals):
                raise ConfigError("not a rate", where="optimizer.rates", expected="PART=FACTOR", found=text)
            if part in found:
                raise ConfigError("given twice", where="optimizer.rates", found=part)
            require_at_least_0(factor, "optimizer.rates")
            found[part] = factor
        return found

    def __post_init__(self) -> None:
        check_types("optimizer", self)
        decay = self.layer_decay
        require(decay is None or 0 < decay <= 1, "optimizer.layer_decay", "0 < factor <= 1", decay)
        self.rates_by_name()
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
    sampling: Literal["uniform", "balanced"] = "uniform"
    """uniform: each epoch visits every training image once. balanced: it draws as many, with replacement, so that all
    classes are equally frequent."""
    accumulate: int = 1
    """Gradient accumulation: split each batch into this many equal parts to save memory, and update once per batch."""
    label_smoothing: float = 0.0
    """Fraction of each label's weight that is spread evenly over all classes."""
    class_weights: Literal["balanced"] | tuple[float, ...] | None = None
    """Weight of each class's loss: numbers, or "balanced": images / (classes x images of the class)."""
    focal_gamma: float = 0.0
    """Focal loss: exponent of 1 - p, by which well classified images count less; 2 is usual. 0 for the plain loss."""
    ema_decay: float | None = None
    """Decay of an exponential moving average of the weights; evaluation then uses the average. None for none."""
    patience: int | None = None
    """Early stopping: stop after this many logged rows without improvement of `checkpoint.keep_best`, or else of the
    validation loss. None to never stop early."""
    head_epochs: int = 0
    """The first of the epochs train the head alone, at the peak of the learning rate; then the schedule begins, and
    everything is trained. 0 to train everything from the start."""
    unfreeze_epochs: int | None = None
    """Gradual unfreezing: epochs after which the next stage, from the last to the first, is trained too. None for all
    at once after `head_epochs`."""
    norm_momentum: float | None = None
    """Share of batch normalisation's running statistics that each step keeps, such as 0.9 (PyTorch: 1 minus its
    `momentum`). 1: statistics stay, and training normalises by them, not by those of the batch. None for the
    model's own, which may be 0.99: too slow for a training of a few hundred steps."""

    def __post_init__(self) -> None:
        check_types("training", self)
        require(0 <= self.seed < 2**32, "training.seed", "0 to 2**32 - 1", self.seed)
        for name in ("epochs", "steps"):
            if (value := getattr(self, name)) is not None:
                require(value >= 1, f"training.{name}", "at least 1", value)
                require(value <= _MOST, f"training.{name}", f"at most {_MOST:,}, the largest step count", value)
        held, expected = self.head_epochs, f"0 or more, and fewer than training.epochs, {self.epochs:,}"
        require(held == 0 or 0 < held < self.epochs, "training.head_epochs", expected, held)
        gradual = self.unfreeze_epochs
        require(gradual is None or gradual >= 1, "training.unfreeze_epochs", "at least 1", gradual)
        if gradual is not None and not held:
            fix = "add --training.head_epochs 1"
            raise ConfigError("nothing is unfrozen", where="training.unfreeze_epochs", found=gradual, fix=fix)
        require(self.batch_size >= 1, "training.batch_size", "at least 1", self.batch_size)
        require(self.accumulate >= 1, "training.accumulate", "at least 1", self.accumulate)
        if self.batch_size % self.accumulate:
            expected = f"a divisor of training.batch_size, {self.batch_size}"
            found = self.accumulate
            raise ConfigError("parts of unequal size", where="training.accumulate", expected=expected, found=found)
        require_below_1(self.label_smoothing, "training.label_smoothing", "share")
        require(0 <= self.focal_gamma <= 100, "training.focal_gamma", "0 to 100", self.focal_gamma)
        if self.ema_decay is not None:
            require_below_1(self.ema_decay, "training.ema_decay", "decay")
        if self.norm_momentum is not None:
            require(0 <= self.norm_momentum <= 1, "training.norm_momentum", "0 to 1", self.norm_momentum)
        require(self.patience is None or self.patience >= 1, "training.patience", "at least 1", self.patience)
        weights = self.class_weights
        if isinstance(weights, tuple):
            sound = all(0 <= weight < math.inf for weight in weights) and any(weights)
            require(sound, "training.class_weights", "numbers of at least 0, not all of them 0", weights)
            require_at_least_0(max(weights), "training.class_weights")
