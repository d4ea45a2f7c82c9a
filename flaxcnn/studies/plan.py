"""The plan of a study: every entry as an experiment, the settings that its search tries, and the folds and seeds."""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flaxcnn.config import Experiment, outside_names, to_json, with_data
from flaxcnn.config.own_code import with_code_beside
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.files.user_code import load_outside
from flaxcnn.runs.named_recipes import STEPS, Recipe, chosen_model, with_recipe
from flaxcnn.studies.files import StudyFile
from flaxcnn.studies.study import RECIPE, Probe, Study

SPEED = "speed.json"
"""In a study's folder: images a second, by entry."""
Setting = Mapping[str, Any]
"""Values of searched fields, by path."""

# An entry may say how images are decoded and kept, and may set images aside; never which examples there are.
_OF_DATA = ("size", "fit", "channels", "cache", "validation", "device_memory", "workers")
_OF_RECIPES = ("model.", "training.epochs")
_NOT_OF_ENTRIES = {
    "task.": "entries learn the same targets",
    "training.seed": "every entry has the study's seeds",
    "logging.": "entries are measured alike",
}
_NOT_SEARCHED = {
    "data.": "settings are compared on the same images",
    "task.": "settings are compared by the same targets",
    "logging.": "it changes no result",
    "checkpoint.": "a setting is ranked by its last step",
    "mesh.": "it changes no result",
    "training.seed": "every entry has the study's seeds",
    "training.epochs": "the budget is the same for all settings",
    "training.steps": "the budget is the same for all settings",
    "training.patience": "the budget is the same for all settings",
    "model.name": "another model is another entry",
}
# What may change between two sessions of a study: where the data lie (their digests are checked), and on what is
# computed.
_MAY_CHANGE = {
    "data": ("source", "dir", "cache", "device_memory", "workers"),
    "mesh": ("data", "model"),
    "logging": ("tensorboard", "csv", "mlflow"),
}


class Fold(NamedTuple):
    """Which examples are the test split.

    Attributes:
        repeat: of the division into folds, from 0; None without folds.
        number: of the fold, from 0; None for the source's own test split, or the one that is drawn.
    """

    repeat: int | None = None
    number: int | None = None


class Entry(NamedTuple):
    """What is compared with others.

    Attributes:
        name: of the entry.
        experiment: what it trains, but for fold and seed.
        settings: what its search tries, more than one; () for no search.
        probe: what it is instead of a training, with the network of the experiment; None for a training.
    """

    name: str
    experiment: Experiment
    settings: tuple[Setting, ...]
    probe: Probe | None = None

    @property
    def is_control(self) -> bool:
        """Whether it is not to win: it sees less than the whole image, or groups are divided."""
        return self.probe is not None and (self.probe.sees != "whole" or self.divides_groups)

    @property
    def divides_groups(self) -> bool:
        """Whether its groups are on both sides of a split, to show what that flatters."""
        return self.probe is not None and self.probe.groups == "divided"

    @property
    def searched(self) -> tuple[str, ...]:
        """The paths of the searched fields."""
        return tuple(self.settings[0]) if self.settings else ()


class Plan(NamedTuple):
    """Everything that a study does.

    Attributes:
        name: of the study.
        question: that it answers, a line; "" for none.
        entries: in the file's order.
        folds: how many; None for the source's own test split.
        repeats: of the division into folds.
        seeds: of the trainings.
        validation: the fraction of the training images on which settings are compared.
        metric: by which entries are compared; None for the task's first.
    """

    name: str
    question: str
    entries: tuple[Entry, ...]
    folds: int | None
    repeats: int
    seeds: tuple[int, ...]
    validation: float
    metric: str | None

    @property
    def test_splits(self) -> Iterator[Fold]:
        """All folds, in the order of the work."""
        if self.folds is None:
            yield Fold()
            return
        yield from itertools.starmap(Fold, itertools.product(range(self.repeats), range(self.folds)))

    @property
    def jobs(self) -> int:
        """How many trainings there are, those of the searches aside."""
        return sum(len(self.seeds_of(entry)) for entry in self.entries) * len(list(self.test_splits))

    def seeds_of(self, entry: Entry) -> tuple[int, ...]:
        """Return the seeds of an entry; a probe draws nothing, and so has one."""
        return self.seeds if entry.probe is None else self.seeds[:1]

    def below(self, entry: Entry, fold: Fold) -> Path:
        """Return where an entry's work on a fold is kept: `ENTRY`, `ENTRY/fold-2`, `ENTRY/repeat-1/fold-2`."""
        repeat = f"repeat-{fold.repeat}" if self.repeats > 1 else ""
        return Path(entry.name, repeat, "" if fold.number is None else f"fold-{fold.number}")

    def experiment(self, entry: Entry, fold: Fold) -> Experiment:
        """Return what an entry trains on a fold."""
        if fold.number is None:
            return entry.experiment
        data = dataclasses.replace(entry.experiment.data, folds=self.folds, fold=fold.number, repeat=fold.repeat or 0)
        return dataclasses.replace(entry.experiment, data=data)

    def fingerprint(self) -> dict[str, Any]:
        """Return what tells a study from another, as JSON has it."""
        code = {
            f"{entry.name}: {path}": load_outside(name, path).digest
            for entry in self.entries
            for path, name in outside_names(entry.experiment).items()
        }
        values = {
            "name": self.name,
            "folds": self.folds,
            "repeats": self.repeats,
            "seeds": self.seeds,
            "validation": self.validation,
            "metric": self.metric,
            "entries": {
                entry.name: {
                    "experiment": fixed_fields(entry.experiment),
                    "settings": list(entry.settings),
                    "probe": None if entry.probe is None else dataclasses.asdict(entry.probe),
                }
                for entry in self.entries
            },
            "code": code,
        }
        return json.loads(json.dumps(values))


def plan_of(file: StudyFile, base: Experiment, *, folds: int | None = None, seeds: tuple[int, ...] = ()) -> Plan:
    """Return the plan of a study.

    Args:
        file: the study's.
        base: its `base`, with changes from the command line.
        folds: replaces the study's number of folds; None for that.
        seeds: replace the study's; () for those.

    Raises:
        ConfigError: an entry changes what may not differ, or has a field or a value that does not exist.
    """
    study = file.study
    changes: dict[str, Any] = {}
    if folds is not None:
        changes["folds"] = folds
    if seeds:
        changes["seeds"] = seeds
    study = dataclasses.replace(study, **changes)
    _require_whole(base)
    base = dataclasses.replace(base, logging=dataclasses.replace(base.logging, test_examples=0))
    entries = tuple(_entry(study, file, with_data(base), name) for name in study.entries)
    metric = study.metric
    return Plan(
        file.name, file.question, entries, study.folds, study.repeats, study.seeds, float(study.validation), metric
    )


def _entry(study: Study, file: StudyFile, base: Experiment, name: str) -> Entry:
    entry, where = study.entries[name], f"study.entries, {name}"
    if isinstance(entry, Probe):
        if study.grid_of(name):
            raise ConfigError("a probe has nothing to search", where=f"study.search, {name}", fix="give it several `c`")
        values: dict[str, Any] = {"model.name": entry.model, "model.init": entry.init, "model.normalization": "unit"}
        if entry.groups == "divided":
            if base.data.group is None or study.folds is None:
                expected = "a study with folds, whose data have groups (data.group)"
                raise ConfigError("no groups to divide", where=f"{where}: groups", expected=expected)
            values |= {"data.group": None, "data.group_size": 1}
        return Entry(name, with_data(_with(base, values, where)), (), entry)
    overrides = _differences(study.base, entry) if isinstance(entry, Experiment) else dict(entry)
    recipe = overrides.pop(RECIPE, None)
    if recipe is not None and recipe not in STEPS:
        fix = nearest(str(recipe), STEPS)
        raise ConfigError("no such recipe", where=f"{where}: {RECIPE}", found=repr(recipe), fix=fix)
    for path in overrides:
        _require_field(base, path, where)
        section, _, field = str(path).partition(".")
        if section == "data" and field not in _OF_DATA:
            raise ConfigError("entries have the same examples", where=f"{where}: {path}", fix="set it in study.base")
        _refuse(path, _NOT_OF_ENTRIES, where)
    experiment = base
    if recipe is not None:  # it depends on the model and on the length; the entry's own values replace some of its
        decisive = {path: value for path, value in overrides.items() if path.startswith(_OF_RECIPES)}
        experiment = _with_recipe(_with(base, decisive, where), recipe, where)
    experiment = with_data(with_code_beside(_with(experiment, overrides, where), file.path.absolute()))
    grid = study.grid_of(name)
    for path in grid:
        _require_field(base, path, f"study.search, {name}")
        _refuse(path, _NOT_SEARCHED, f"study.search, {name}")
    settings = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    for setting in settings if grid else ():
        _with(experiment, setting, f"study.search, {name}")
    if len(settings) == 1 and grid:  # nothing to choose from
        return Entry(name, _with(experiment, settings[0], where), ())
    if grid and experiment.training.patience is not None:
        expected = "None where values are searched"
        found = experiment.training.patience
        raise ConfigError("settings are ranked by their last step", where=where, expected=expected, found=found)
    return Entry(name, experiment, tuple(settings) if grid else ())


def _with_recipe(experiment: Experiment, recipe: Recipe, where: str) -> Experiment:
    try:
        return with_recipe(dataclasses.replace(experiment, model=chosen_model(experiment.model, recipe)), recipe)
    except ConfigError as error:
        raise ConfigError(str(error), where=where) from error


def with_setting(experiment: Experiment, setting: Setting) -> Experiment:
    """Return an experiment with the values of a setting."""
    return _with(experiment, setting, "study.search")


def _with(experiment: Experiment, values: Setting, where: str) -> Experiment:
    """Return the experiment with some fields replaced, all at once; raises ConfigError where they do not go."""
    sections: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        section, _, name = path.partition(".")
        sections.setdefault(section, {})[name] = value
    try:
        changed: dict[str, Any] = {
            section: dataclasses.replace(getattr(experiment, section), **fields) for section, fields in sections.items()
        }
        return dataclasses.replace(experiment, **changed)
    except ConfigError as error:
        raise ConfigError(str(error), where=where) from error


def _differences(base: Experiment, other: Experiment) -> dict[str, Any]:
    """Return the fields in which an experiment differs from the study's own, by path."""
    return {
        f"{section.name}.{field.name}": value
        for section in dataclasses.fields(base)
        for field in dataclasses.fields(getattr(base, section.name))
        if (value := getattr(getattr(other, section.name), field.name))
        != getattr(getattr(base, section.name), field.name)
    }


def _require_field(experiment: Experiment, path: Any, where: str) -> None:
    fields = [
        f"{section.name}.{field.name}"
        for section in dataclasses.fields(experiment)
        for field in dataclasses.fields(getattr(experiment, section.name))
    ]
    if path not in fields:
        raise ConfigError(f"unknown field '{path}'", where=where, fix=nearest(str(path), fields))


def _refuse(path: str, refused: Mapping[str, str], where: str) -> None:
    for beginning, why in refused.items():
        if path.startswith(beginning):
            raise ConfigError(why, where=f"{where}: {path}", fix="leave it out")


def _require_whole(base: Experiment) -> None:
    """Raise ConfigError where the shared experiment names a fold, which the study does."""
    for name, nothing, fix in (
        ("folds", None, "use study.folds, or --folds"),
        ("fold", 0, "leave it out"),
        ("repeat", 0, "use study.repeats"),
    ):
        found = getattr(base.data, name)
        if found != nothing:
            raise ConfigError("a study divides the data itself", where=f"data.{name}", found=found, fix=fix)


def fixed_fields(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Return an experiment as JSON has it, without what may change between two sessions."""
    return {
        section: {name: value for name, value in fields.items() if name not in _MAY_CHANGE.get(section, ())}
        for section, fields in to_json(experiment).items()
    }
