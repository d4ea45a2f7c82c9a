"""What a study compares: entries (models and recipes) on the same folds and seeds, each with the same small search."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from flaxcnn.config import Experiment
from flaxcnn.config.checks import check_types, require
from flaxcnn.errors import ConfigError, nearest

ALL = "all"
"""The name in `Study.search` of the grid of the entries that have none of their own."""
RECIPE = "recipe"
"""The name in an entry of a recipe (`flaxcnn train --recipe`), whose values the entry's own replace."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,59}")  # it names a folder


@dataclass(frozen=True)
class Probe:
    """An entry that trains no network: a head learns of the features of a pretrained one (docs/probe.md).

    Attributes:
        model: of the library.
        init: its weights: `imagenet`, where a package carries them, or a file.
        head: logistic regression (for numbers ridge regression), or the nearest neighbours.
        c: of logistic regression; of several, the best is chosen in the training examples.
        neighbours: how many are asked.
        sees: the whole image, or as a control what should not be enough: its border alone, its middle alone, or facts
            of the file (width, height, bytes, …) without a pixel.
        groups: kept whole, or as a control divided between training and test, as a random split does: what such a
            split would have reported.

    Raises:
        ConfigError: a value is of the wrong type, or out of range.
    """

    model: str
    init: str = "imagenet"
    head: Literal["linear", "neighbours"] = "linear"
    c: tuple[float, ...] = (0.01,)
    neighbours: int = 20
    sees: Literal["whole", "border", "middle", "facts"] = "whole"
    groups: Literal["whole", "divided"] = "whole"

    def __post_init__(self) -> None:
        check_types("Probe", self)
        require(bool(self.c) and all(0 < each < math.inf for each in self.c), "Probe.c", "numbers above 0", self.c)
        require(self.neighbours >= 1, "Probe.neighbours", "at least 1", self.neighbours)

    @property
    def words(self) -> str:
        """What it is, in the place of a budget."""
        head = "linear probe" if self.head == "linear" else f"{self.neighbours} neighbours"
        sees = {"whole": head, "facts": "file facts alone"}.get(self.sees, f"{head}, {self.sees} alone")
        return sees if self.groups == "whole" else f"{sees}, groups divided"


@dataclass(frozen=True)
class Study:
    """Entries to compare, and how.

    >>> Study(entries={"small": {"model.name": "lenet5"}, "large": {"model.name": "resnet18_32px"}}, folds=5)
    Study(entries={'small': {'model.name': 'lenet5'}, 'large': {'model.name': 'resnet18_32px'}}, ...)

    Attributes:
        entries: what differs from `base`, by the entry's name: values by path, such as {"model.name": "resnet18"}, with
            "recipe": "finetune" for those of a recipe; or a whole experiment, of which the fields count that differ
            from `base`; or a `Probe`.
        base: the experiment that all entries share: the same data, task and budget.
        folds: divide all examples into so many folds, each of them the test split once; None for the source's own test
            split, or the one that is drawn.
        repeats: how many times the examples are divided into folds, each time in another way.
        seeds: of the trainings; each entry is trained with every one of them on every fold.
        search: the values to try, by entry and path; `all` stands for the entries that are not named. They are chosen
            on a part of the fold's training images, never on test images.
        validation: the fraction of the training images on which they are chosen, where the source has no such split.
        metric: by which entries are compared; None for the first one that the task compares.

    Raises:
        ConfigError: a name, type or value is wrong.
    """

    entries: Mapping[str, Mapping[str, Any] | Experiment | Probe]
    base: Experiment = field(default_factory=Experiment)
    folds: int | None = None
    repeats: int = 1
    seeds: tuple[int, ...] = (0, 1, 2)
    search: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    validation: float = 0.2
    metric: str | None = None

    def __repr__(self) -> str:
        return f"Study(entries={dict(self.entries)}, ...)"

    def __post_init__(self) -> None:
        if not isinstance(self.entries, Mapping) or not self.entries:
            expected = '{"name": {"model.name": "resnet18"}, ...}'
            raise ConfigError("no entries", where="study.entries", expected=expected, found=repr(self.entries))
        for name, entry in self.entries.items():
            if not isinstance(name, str) or not _NAME.fullmatch(name) or name == ALL:
                expected = f"letters, digits and _ . + -, at most 60 and not '{ALL}', since it names a folder"
                raise ConfigError("not a name", where="study.entries", expected=expected, found=repr(name))
            if not isinstance(entry, Mapping | Experiment | Probe):
                expected = 'values by path, such as {"model.name": "resnet18"}, an Experiment or a Probe'
                raise ConfigError("wrong type", where=f"study.entries, {name}", expected=expected, found=repr(entry))
        if len({name.lower() for name in self.entries}) < len(self.entries):
            raise ConfigError("names that differ by case alone", where="study.entries", found=", ".join(self.entries))
        if not isinstance(self.base, Experiment):
            found = type(self.base).__name__
            raise ConfigError("wrong type", where="study.base", expected="an Experiment", found=found)
        if self.folds is not None:
            require(type(self.folds) is int and self.folds >= 2, "study.folds", "2 or more, or None", self.folds)
        require(type(self.repeats) is int and self.repeats >= 1, "study.repeats", "at least 1", self.repeats)
        if self.folds is None and self.repeats > 1:
            raise ConfigError("nothing to repeat without folds", where="study.repeats", expected=1, found=self.repeats)
        self._check_seeds()
        self._check_search()
        sound = isinstance(self.validation, int | float) and 0 < self.validation < 1
        require(sound, "study.validation", "0 < fraction < 1", self.validation)
        if not isinstance(self.metric, str | None):
            raise ConfigError("wrong type", where="study.metric", expected="a name or None", found=repr(self.metric))

    def grid_of(self, name: str) -> Mapping[str, Sequence[Any]]:
        """Return the values to try for an entry, by path; empty for no search."""
        if isinstance(self.entries[name], Probe):
            return self.search.get(name, {})
        return self.search.get(name, self.search.get(ALL, {}))

    def _check_seeds(self) -> None:
        sound = isinstance(self.seeds, tuple) and self.seeds and all(type(seed) is int for seed in self.seeds)
        require(bool(sound), "study.seeds", "a tuple of whole numbers, such as (0, 1, 2)", repr(self.seeds))
        require(all(0 <= seed < 2**32 for seed in self.seeds), "study.seeds", "0 to 2**32 - 1", self.seeds)
        require(len(set(self.seeds)) == len(self.seeds), "study.seeds", "seeds that differ", self.seeds)

    def _check_search(self) -> None:
        form = '{"all": {"optimizer.learning_rate": (1e-3, 1e-2)}}'
        if not isinstance(self.search, Mapping):
            raise ConfigError("wrong type", where="study.search", expected=form, found=repr(self.search))
        for name, grid in self.search.items():
            if name != ALL and name not in self.entries:
                fix = nearest(str(name), [*self.entries, ALL])
                raise ConfigError("no such entry", where=f"study.search, {name}", fix=fix)
            if not isinstance(grid, Mapping):
                raise ConfigError("wrong type", where=f"study.search, {name}", expected=form, found=repr(grid))
            for path, values in grid.items():
                where = f"study.search, {name}: {path}"
                if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                    raise ConfigError("not values to try", where=where, expected="a tuple", found=repr(values))
                if any(value in values[:place] for place, value in enumerate(values)):
                    raise ConfigError("a value twice", where=where, found=repr(values))
