"""The whole experiment, and its conversion to and from JSON."""

import dataclasses
import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flaxcnn.config.augmentation import Augmentation
from flaxcnn.config.checks import check_types
from flaxcnn.config.sections import WEIGHTS, Checkpoint, Data, Logging, Mesh, Model, Task
from flaxcnn.config.training import Optimizer, Schedule, Training
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.files import user_path

DIVIDED_SOURCES = ("folder", "csv", "parquet", "jsonl", "coco", "voc", "yolo", "video", "hf", "npz")
"""Kinds of sources that may have a validation split of their own."""
PATH_SOURCES = (*DIVIDED_SOURCES, "idx", "npy", "cifar10", "cifar100")
"""Kinds of sources that are named by a file or a folder."""


@dataclass(frozen=True)
class Experiment:
    """A whole training run. The defaults are the paper's MNIST experiment.

    >>> Experiment(training=Training(batch_size=0))
    Traceback (most recent call last):
    flaxcnn.errors.ConfigError: training.batch_size: out of range; expected at least 1, found 0
    """

    data: Data = field(default_factory=Data)
    task: Task = field(default_factory=Task)
    augmentation: Augmentation = field(default_factory=Augmentation)
    model: Model = field(default_factory=Model)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    training: Training = field(default_factory=Training)
    logging: Logging = field(default_factory=Logging)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    mesh: Mesh = field(default_factory=Mesh)

    @property
    def chooses(self) -> bool:
        """Whether the logged rows select the best checkpoint or stop the run early."""
        return self.checkpoint.keep_best is not None or self.training.patience is not None

    def require_validation(self, has: bool) -> None:
        """Raise ConfigError where a choice is made by validation, and there is no such split.

        Args:
            has: whether there is one; of a source of `DIVIDED_SOURCES` that is known once it is loaded.
        """
        for where, asks in (
            ("training.patience", self.training.patience is not None),
            ("checkpoint.keep_best", (self.checkpoint.keep_best or "").startswith("validation")),
        ):
            if asks and not has:
                expected = "data.validation above 0"
                raise ConfigError(
                    "no validation split", where=where, expected=expected, fix="add --data.validation 0.1"
                )

    def __post_init__(self) -> None:
        check_types("experiment", self)
        if self.data.source.partition(":")[0] not in DIVIDED_SOURCES:
            self.require_validation(self.data.validation > 0)
        schedule, epochs = self.schedule, self.training.epochs - self.training.head_epochs
        counted = f"training.epochs, {epochs}"
        if self.training.head_epochs:
            counted = f"the {epochs} of training.epochs after the head's"
        if schedule.name in ("cosine", "linear") and schedule.warmup_epochs >= epochs:
            expected = f"fewer than {counted}"
            found = schedule.warmup_epochs
            raise ConfigError(
                "the warm-up takes the whole run", where="schedule.warmup_epochs", expected=expected, found=found
            )
        if schedule.name == "constant" and schedule.warmup_epochs > epochs:
            raise ConfigError(
                "the learning rate would never reach its peak",
                where="schedule.warmup_epochs",
                expected=f"at most {counted}",
                found=schedule.warmup_epochs,
                fix="shorten the warm-up, or train for more epochs",
            )
        if schedule.name == "step" and schedule.decay_epochs >= epochs:
            raise ConfigError(
                "the learning rate would never drop",
                where="schedule.decay_epochs",
                expected=f"fewer than {counted}",
                found=schedule.decay_epochs,
                fix="shorten decay_epochs, train for more epochs, or use --schedule.name constant",
            )


GIVEN = "given:"
"""Prefix of the name of data, a model or a task that was passed to `flaxcnn.train` as an object."""


def refuse_given(name: str, where: str) -> None:
    """Raise ConfigError if a name refers to an object passed to `flaxcnn.train`, which no command can load."""
    if name.startswith(GIVEN):
        what = "the data were" if where.startswith("data") else f"the {where.partition('.')[0]} was"
        raise ConfigError(
            f"{what} given in memory", where=where, found=name, fix="continue in Python: flaxcnn.train(..., out=RUN)"
        )


def with_data(experiment: Experiment, source: str | None = None, folder: str | None = None) -> Experiment:
    """Return the experiment with another data location and absolute paths, so it works from any folder.

    Args:
        experiment: the experiment.
        source: the new `data.source`; None to keep it.
        folder: the new `data.dir`; None to keep it.

    Raises:
        ConfigError: `source`, `folder` or the weights' file is not a valid path.
    """
    source = experiment.data.source if source is None else source
    folder = experiment.data.dir if folder is None else folder
    kind, colon, place = source.partition(":")
    if kind in PATH_SOURCES and place:
        source = kind + colon + os.path.abspath(user_path(place, "data.source"))
    if folder is not None:
        folder = os.path.abspath(user_path(folder, "data.dir"))
    model = experiment.model
    if model.init is not None and model.init not in WEIGHTS:
        model = dataclasses.replace(model, init=os.path.abspath(user_path(model.init, "model.init")))
    data = dataclasses.replace(experiment.data, source=source, dir=folder)
    return dataclasses.replace(experiment, data=data, model=model)


def to_json(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Return an experiment as nested dictionaries for JSON: sections, then fields."""
    return dataclasses.asdict(experiment)


def from_json(sections: object, where: object) -> Experiment:
    """Return the experiment that `to_json` wrote; missing fields get their defaults.

    Args:
        sections: the result of `json.loads`.
        where: the file it came from, for the error.

    Raises:
        ConfigError: a section or field is unknown, or a value has the wrong type or is out of range.
    """
    sections = _mapping(sections, where)
    classes = {each.name: typing.get_type_hints(Experiment)[each.name] for each in dataclasses.fields(Experiment)}
    _known(sections, classes, where)
    values = {}
    for name, section in sections.items():
        section = _mapping(section, f"{where}: {name}")
        _known(section, [each.name for each in dataclasses.fields(classes[name])], f"{where}: {name}")
        values[name] = _made(classes[name], section, where)
    made: Experiment = _made(Experiment, values, where)
    return made


def _made(kind: typing.Callable[..., Any], values: Mapping[str, Any], where: object) -> Any:
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(str(error), where=where) from error


def _mapping(value: object, where: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError("not an object", where=where, expected="names with their values", found=type(value).__name__)
    return value


def _known(given: typing.Iterable[str], names: typing.Collection[str], where: object) -> None:
    for name in given:
        if name not in names:
            raise ConfigError(f"unknown field '{name}'", where=where, fix=nearest(name, names))
