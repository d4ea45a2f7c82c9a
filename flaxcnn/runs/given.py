"""What an experiment is trained on: data by their name, or objects that a caller passed."""

import dataclasses
from typing import Any, NamedTuple

from flaxcnn import config, data
from flaxcnn.config import GIVEN, Experiment, refuse_given, with_data
from flaxcnn.data import Dataset, Split, split_validation
from flaxcnn.errors import ConfigError
from flaxcnn.models import given_name
from flaxcnn.runs.data_options import data_options
from flaxcnn.tasks import Task
from flaxcnn.terminal import counter


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


def anywhere(experiment: Experiment, source: str | None, data_dir: str | None) -> Experiment:
    """Return a recorded experiment for this machine's devices, with a new data location if given."""
    return dataclasses.replace(with_data(experiment, source, data_dir), mesh=config.Mesh())
