"""The plan of a study: its entries, folds and seeds, and what tells it from another study."""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flaxcnn.config import Experiment, outside_names, to_json
from flaxcnn.files.user_code import load_outside
from flaxcnn.studies.study import Probe

SPEED = "speed.json"
"""In a study's folder: images a second, by entry."""
Setting = Mapping[str, Any]
"""Values of searched fields, by path."""

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


def fixed_fields(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Return an experiment as JSON has it, without what may change between two sessions."""
    return {
        section: {name: value for name, value in fields.items() if name not in _MAY_CHANGE.get(section, ())}
        for section, fields in to_json(experiment).items()
    }
