"""An experiment as frozen, typed data, and its way to and from a file and JSON.

An experiment file (`configs/*.py`) is Python that binds `experiment`, and `published` where a paper printed values to
compare with. No value is read from anywhere else: what is not written in the file or on the command line is the default
that stands here.
"""

import dataclasses
import math
import os
import runpy
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from flaxcnn.errors import ConfigError, nearest


@dataclass(frozen=True)
class Data:
    """Where the images come from."""

    source: str = "mnist"
    """`mnist` (embedded), `idx:FOLDER` (files in MNIST's format) or `tfds:NAME` (a prepared TensorFlow data set)."""
    dir: str | None = None
    """Folder of prepared TensorFlow data sets; None for TFDS's own default."""

    def __post_init__(self) -> None:
        _check_types("data", self)


@dataclass(frozen=True)
class Model:
    """What is trained. The number of classes is the data set's."""

    name: str = "paper_cnn"
    """A model of the library."""

    def __post_init__(self) -> None:
        _check_types("model", self)


@dataclass(frozen=True)
class Augmentation:
    """Random changes of the training images, made on the device."""

    crop_padding: int = 0
    """Pad each image by so many pixels of zeros, and cut a random window of its own size out of it."""

    def __post_init__(self) -> None:
        _check_types("augmentation", self)
        _require(self.crop_padding >= 0, "augmentation.crop_padding", "at least 0", self.crop_padding)


@dataclass(frozen=True)
class Optimizer:
    """Adam (Kingma and Ba, 2015), as optax has it."""

    learning_rate: float = 1e-3
    """Step size."""
    b1: float = 0.9
    """Decay of the mean of gradients."""
    b2: float = 0.999
    """Decay of the mean of squared gradients."""
    eps: float = 1e-8
    """Added to the root of the second mean."""

    def __post_init__(self) -> None:
        _check_types("optimizer", self)
        _require(0 < self.learning_rate < math.inf, "optimizer.learning_rate", "a number above 0", self.learning_rate)
        _require(0 <= self.b1 < 1, "optimizer.b1", "0 <= b1 < 1", self.b1)
        _require(0 <= self.b2 < 1, "optimizer.b2", "0 <= b2 < 1", self.b2)
        _require(0 < self.eps < math.inf, "optimizer.eps", "a number above 0", self.eps)


@dataclass(frozen=True)
class Training:
    """How long, and in what order."""

    seed: int = 0
    """Seed of the weights and of the order of examples; the same seed gives the same bits."""
    epochs: int = 1
    """Passes over the training images."""
    steps: int | None = None
    """Stop after so many steps; None for all of the epochs."""
    batch_size: int = 50
    """Images a step; what is left of an epoch after the last whole batch is not seen in it."""

    def __post_init__(self) -> None:
        _check_types("training", self)
        _require(0 <= self.seed < 2**32, "training.seed", "0 to 2**32 - 1", self.seed)
        _require(self.epochs >= 1, "training.epochs", "at least 1", self.epochs)
        _require(self.steps is None or self.steps >= 1, "training.steps", "at least 1", self.steps)
        _require(self.batch_size >= 1, "training.batch_size", "at least 1", self.batch_size)


@dataclass(frozen=True)
class Logging:
    """What is measured and written while training."""

    every: int = 50
    """Steps from one logged row to the next; the first row is the first step's."""
    test_examples: int = 2000
    """The first so many test images are evaluated at each logged row; all of them at the end."""
    tensorboard: bool = False
    """Write TensorBoard event files too (needs the extra `tensorboard`)."""

    def __post_init__(self) -> None:
        _check_types("logging", self)
        _require(self.every >= 1, "logging.every", "at least 1", self.every)
        _require(self.test_examples >= 1, "logging.test_examples", "at least 1", self.test_examples)


@dataclass(frozen=True)
class Checkpoint:
    """When the whole state is saved, besides at the end and when a signal stops the run."""

    every: int = 1000
    """Steps from one checkpoint to the next."""
    keep: int = 2
    """How many of the newest are kept."""
    keep_best: Literal["test_accuracy", "train_loss"] | None = None
    """Keep the checkpoint whose last logged row is best by this too: the highest accuracy, or the lowest loss."""

    def __post_init__(self) -> None:
        _check_types("checkpoint", self)
        _require(self.every >= 1, "checkpoint.every", "at least 1", self.every)
        _require(self.keep >= 1, "checkpoint.keep", "at least 1", self.keep)


@dataclass(frozen=True)
class Experiment:
    """A whole training run. The defaults are the paper's MNIST experiment.

    >>> Experiment(training=Training(batch_size=0))
    Traceback (most recent call last):
    flaxcnn.errors.ConfigError: training.batch_size: out of range; expected at least 1, found 0
    """

    data: Data = field(default_factory=Data)
    augmentation: Augmentation = field(default_factory=Augmentation)
    model: Model = field(default_factory=Model)
    optimizer: Optimizer = field(default_factory=Optimizer)
    training: Training = field(default_factory=Training)
    logging: Logging = field(default_factory=Logging)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)

    def __post_init__(self) -> None:
        _check_types("experiment", self)


class PublishedRow(NamedTuple):
    """What a paper printed for one logged row."""

    step: int  # the row's step, counted from 0: the row is measured after its update
    train_loss: float | None  # mean cross-entropy in nats of that step's batch
    test_accuracy: float | None  # a fraction of 1


class ExperimentFile(NamedTuple):
    """What an experiment file holds."""

    name: str  # the file's, without its ending
    experiment: Experiment
    published: tuple[PublishedRow, ...]


def experiments() -> dict[str, Path]:
    """Return the experiment files that come with the library, by name."""
    package = Path(__file__).parent
    # In an installed wheel `configs` lies in the package, in a checkout beside it.
    folder = next((path for path in (package / "configs", package.parent / "configs") if path.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.py"))}


def load_experiment(name_or_path: str) -> ExperimentFile:
    """Read an experiment from a file of the library's, by its name, or from a file of the user's, by its path.

    Raises:
        ConfigError: there is no such file, it fails to run, or it binds no `experiment`.
    """
    known = experiments()
    path = Path(name_or_path).expanduser()
    if name_or_path in known:
        path = known[name_or_path]
    elif path.suffix != ".py" and os.sep not in name_or_path:
        raise ConfigError(
            "unknown config",
            where=name_or_path,
            expected="the name of a config or the path of a .py file",
            fix=nearest(name_or_path, known),
        )
    elif not path.is_file():
        raise ConfigError("no such config file", where=path, fix=f"or name one of the library's: {', '.join(known)}")
    try:
        bound = runpy.run_path(str(path))
    except ConfigError as error:
        raise ConfigError(f"in this config file: {error}", where=path) from error
    except Exception as error:  # whatever the user's own Python raises
        line = f"line {_line_in(path, error)}: " if _line_in(path, error) else ""
        raise ConfigError(
            f"{line}{type(error).__name__}: {error}", where=path, fix="correct the config file"
        ) from error
    experiment = bound.get("experiment")
    if not isinstance(experiment, Experiment):
        raise ConfigError(
            "no experiment in this config file",
            where=path,
            expected="experiment = Experiment(...)",
            found="nothing of that name" if experiment is None else type(experiment).__name__,
        )
    try:
        published = tuple(PublishedRow(*row) for row in bound.get("published", ()))
    except TypeError as error:
        expected = "published = ((step, train_loss or None, test_accuracy or None), ...)"
        raise ConfigError("published values in another form", where=path, expected=expected) from error
    return ExperimentFile(path.stem, experiment, published)


def with_data(experiment: Experiment, source: str | None = None, folder: str | None = None) -> Experiment:
    """Return the experiment with its data elsewhere, and with absolute paths, so that it holds in any folder.

    Args:
        experiment: the experiment.
        source: in place of `data.source`; None to keep it.
        folder: in place of `data.dir`; None to keep it.
    """
    source, folder = source or experiment.data.source, folder or experiment.data.dir
    kind, colon, place = source.partition(":")
    if kind == "idx" and place:
        source = kind + colon + os.path.abspath(os.path.expanduser(place))
    if folder is not None:
        folder = os.path.abspath(os.path.expanduser(folder))
    return dataclasses.replace(experiment, data=Data(source, folder))


def to_json(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Return every field of an experiment, sections first, as JSON has it."""
    return dataclasses.asdict(experiment)


def from_json(sections: object, where: object) -> Experiment:
    """Return the experiment that `to_json` wrote; fields that are missing take their defaults.

    Args:
        sections: what `json.loads` gave.
        where: the file it came from, for the error.

    Raises:
        ConfigError: a section or field is unknown or has a value of the wrong type or out of its range.
    """
    sections = _mapping(sections, where)
    classes = {each.name: typing.get_type_hints(Experiment)[each.name] for each in dataclasses.fields(Experiment)}
    _known(sections, classes, where)
    values = {}
    for name, section in sections.items():
        section = _mapping(section, f"{where}: {name}")
        _known(section, [each.name for each in dataclasses.fields(classes[name])], f"{where}: {name}")
        values[name] = classes[name](**section)
    return Experiment(**values)


def _mapping(value: object, where: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError("not an object", where=where, expected="names with their values", found=type(value).__name__)
    return value


def _known(given: typing.Iterable[str], names: typing.Collection[str], where: object) -> None:
    for name in given:
        if name not in names:
            raise ConfigError(f"unknown field '{name}'", where=where, fix=nearest(name, names))


def _require(holds: bool, where: str, expected: str, found: object) -> None:
    if not holds:
        raise ConfigError("out of range", where=where, expected=expected, found=found)


def _check_types(section: str, config: Any) -> None:
    hints = typing.get_type_hints(type(config))
    for each in dataclasses.fields(config):
        value, kind = getattr(config, each.name), hints[each.name]
        options = _options(kind)
        if type(value) is int and float in options:
            object.__setattr__(config, each.name, float(value))
        elif type(value) not in options and value not in [word for word in options if isinstance(word, str)]:
            raise ConfigError("wrong type", where=f"{section}.{each.name}", expected=type_name(kind), found=repr(value))


def type_name(kind: Any) -> str:
    """Return the words for a field's type in an error: `float` is "a number", `str | None` "text or None"."""
    words = {int: "a whole number", float: "a number", str: "text", bool: "True or False", types.NoneType: "None"}
    options = (words.get(option, getattr(option, "__name__", repr(option))) for option in _options(kind))
    return " or ".join(options)


def _options(kind: Any) -> tuple[Any, ...]:
    """Return the types and, of a Literal, the values that a field may have."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return tuple(option for part in typing.get_args(kind) for option in _options(part))
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else (kind,)


def _line_in(path: Path, error: Exception) -> int | None:
    if isinstance(error, SyntaxError):
        return error.lineno
    step, line = error.__traceback__, None
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(path):
            line = step.tb_lineno
        step = step.tb_next
    return line
