"""Shared parts of commands that take an experiment: its config file, option overrides, and `--batch-size auto`."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from flaxcnn.command_line import parse, unchecked
from flaxcnn.config import Data, Experiment, ExperimentFile, Model, load_experiment
from flaxcnn.errors import ConfigError
from flaxcnn.sweeps import SweepFile

T = TypeVar("T")
Loaded = TypeVar("Loaded")
File = TypeVar("File", ExperimentFile, SweepFile)
BatchSize = int | Literal["auto"] | None


def load_trained(name: str, asked: Any) -> tuple[ExperimentFile, Experiment]:
    """Return an experiment's config file and its experiment.

    Args:
        name: of a config; or a source of data, for which an experiment is chosen.
        asked: the user's options, unchecked; 0 epochs where they named none.
    """
    from flaxcnn.runs.first_choice import BOXES, choose_experiment, is_source, with_named_recipe
    from flaxcnn.runs.named_recipes import DETECTION

    recipe, asked = asked.recipe, asked.experiment
    model, epochs = Model(asked.model.name, init=asked.model.init), asked.training.epochs or None
    if is_source(name):
        boxes = {"target": BOXES} if asked.task.name == DETECTION and not asked.data.target else {}
        section = Data(**{each.name: getattr(asked.data, each.name) for each in fields(asked.data)} | boxes)
        if section.source not in (Data().source, name):
            found = f"{name} and {section.source}"
            raise ConfigError("given twice", where="data.source", expected="one of them", found=found)
        file = choose_experiment(name, section, model, recipe, epochs)
    else:
        file = load_experiment(name)
        if recipe is not None:
            file = with_named_recipe(file, model, recipe, epochs)
    return file, file.experiment


def load_config(load: Callable[[str], Loaded], name: str) -> Loaded:
    """Load a config file by name or path. For the folder of a run or a sweep, the error says how to use the folder.

    Raises:
        ConfigError: as `load`.
    """
    try:
        return load(name)
    except ConfigError as error:
        from flaxcnn.data.sources.by_name import advice
        from flaxcnn.runs.folder.kinds import kind_of, use_of

        kind = kind_of(Path(name))
        if kind is None:
            if error.where in (name, Path(name)) and (":" in name or Path(name).is_dir()):
                raise ConfigError("neither a config nor data", where=name, fix=advice(name)[1]) from error
            raise
        what = f"the folder of {kind}, not a config"
        raise ConfigError(what, where=name, fix=use_of(kind, Path(name))) from error


def parse_experiment(
    kind: type[T], arguments: Sequence[str], program: str, load: Callable[[str, Any], tuple[File, Experiment]]
) -> tuple[File, T]:
    """Return the config file that the arguments name, and the options with its experiment as their default."""
    asked = [word for word in arguments if word not in ("-h", "--help")]
    blank = unchecked(kind)()
    training = replace(blank.experiment.training, epochs=0)  # no one trains so few: a sign that none were named
    blank = replace(blank, experiment=replace(blank.experiment, training=training))
    first = parse(type(blank), asked, program=program, default=blank)
    (file, experiment), words, batch_size = (
        load_config(lambda name: load(name, first), first.config),
        list(arguments),
        first.batch_size,
    )
    if batch_size is not None:
        training, spelt = first.experiment.training, "--training.batch_size"
        given = any(word.partition("=")[0].replace("-", "_") == spelt.replace("-", "_") for word in asked)
        if given and training.batch_size != batch_size:
            found = f"{training.batch_size} and {batch_size}"
            raise ConfigError("given twice", where=f"{spelt} and --batch_size", expected="one of them", found=found)
        if batch_size == "auto":  # a placeholder until the search: a number that `accumulate` divides
            batch_size = max(1, training.accumulate * experiment.training.accumulate)
        words += [] if given else [spelt, str(batch_size)]
    default = cast(Any, kind)(config=first.config, experiment=experiment)
    return file, parse(kind, words, program=program, default=default)


def with_batch_size(experiment: Experiment, asked: BatchSize, out: str | None = None) -> Experiment:
    """Return the experiment with the given batch size; `auto` searches for one."""
    if asked != "auto":
        size = experiment.training.batch_size if asked is None else asked
        return replace(experiment, training=replace(experiment.training, batch_size=size))
    from flaxcnn.runs.tools.batch_size import auto_batch_size

    training = replace(experiment.training, batch_size=auto_batch_size(experiment, out))
    return replace(experiment, training=training)
