"""The data of a probe: all its images, and the splits or the folds that they are divided into."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data import IN_MEMORY, Dataset, Options, Split, StoredImages, load
from flaxcnn.data.images import Images
from flaxcnn.data.options import Progress

Positions = npt.NDArray[np.int64]


class Part(NamedTuple):
    """One way to divide the examples, by their positions.

    Attributes:
        train: to learn of.
        test: to measure.
        validation: to choose on; None where there are none.
    """

    train: Positions
    test: Positions
    validation: Positions | None


@dataclass(frozen=True, eq=False)
class Divided:
    """Examples, and the splits that they are divided into.

    Attributes:
        dataset: the data set in its splits, or in the first fold's.
        parts: one for each fold that is measured.
    """

    dataset: Dataset
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> "Divided":
        """Return a data set's examples in its own splits."""
        ends = np.cumsum([0, *(len(split) for split in dataset.splits.values())]).tolist()
        train, test, *others = (np.arange(first, end, dtype=np.int64) for first, end in pairwise(ends))
        return cls(dataset, (Part(train, test, others[0] if others else None),))

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits, whose examples one after the other have the positions."""
        return tuple(self.dataset.splits.values())

    @cached_property
    def images(self) -> Images:
        """All images, uint8 (N, H, W, C)."""
        return Joined([split.images for split in self.splits])

    @cached_property
    def targets(self) -> Any:
        """All targets, arrays with N rows."""
        return _joined([split.targets for split in self.splits])

    @cached_property
    def groups(self) -> npt.NDArray[np.int32] | None:
        """The group of each example, int32 (N,); None for no groups."""
        groups = [split.groups for split in self.splits if split.groups is not None]
        return np.concatenate(groups) if len(groups) == len(self.splits) else None

    @cached_property
    def names(self) -> tuple[str, ...] | None:
        """The name of each example; None where they have none."""
        names = [split.names for split in self.splits if split.names is not None]
        return tuple(name for each in names for name in each) if len(names) == len(self.splits) else None


class Joined(StoredImages):
    """Images of several splits, one after the other."""

    def __init__(self, parts: Sequence[Images]):
        counts = [len(part) for part in parts]
        super().__init__((sum(counts), *parts[0].shape[1:]))
        self._parts, self._ends = tuple(parts), np.cumsum(counts)

    def read(self, positions_K: npt.NDArray[np.integer[Any]], out_KHWC: npt.NDArray[np.uint8]) -> None:
        """Read images into an array, as `StoredImages.read`."""
        of_part = np.searchsorted(self._ends, positions_K, side="right")
        for number in np.unique(of_part).tolist():
            places = np.flatnonzero(of_part == number)
            first = 0 if number == 0 else int(self._ends[number - 1])
            out_KHWC[places] = self._parts[number][positions_K[places] - first]


def divided(source: str, options: Options, every_fold: bool, progress: Progress | None = None) -> Divided:
    """Load a source, and return its examples with the splits to measure.

    Args:
        source: as `flaxcnn.data.load` takes it.
        options: of the source.
        every_fold: with `options.folds`, whether every fold is measured in turn, and not `options.fold` alone.
        progress: is told how many image files are decoded.

    Raises:
        ConfigError, DataError: as `load`.
    """
    in_memory = 0 if options.cache else IN_MEMORY  # what is in the cache need not be in memory, too
    dataset = load(source, options, in_memory, progress)
    whole = Divided.of(dataset)
    if options.folds is None or not every_fold:
        return whole
    places = {name: place for place, name in enumerate(whole.names or ())}
    parts = []
    for fold in range(options.folds):
        other = dataset if fold == options.fold else load(source, replace(options, fold=fold), in_memory, progress)
        train, test = (
            np.asarray([places[name] for name in split.names or ()], np.int64) for split in (other.train, other.test)
        )
        parts.append(Part(train, test, None))
    return Divided(dataset, tuple(parts))


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], Mapping):
        return {key: _joined([part[key] for part in parts]) for key in parts[0]}
    return np.concatenate(parts)
