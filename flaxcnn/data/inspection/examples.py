"""All examples of a data set under one numbering: training, test, validation, each in its order."""

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from flaxcnn.data.dataset import Dataset
from flaxcnn.data.targets import choose_targets, row_text, target_rows

_DIGITS = re.compile(r"(\d+)")


class Examples:
    """The examples of a data set, by numbers from 0.

    Attributes:
        dataset: the data set.
        split_names: of its splits.
        starts: the number of each split's first example, and how many examples there are.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self.split_names = tuple(dataset.splits)
        self.starts = np.cumsum([0, *map(len, dataset.splits.values())])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def split_of(self, number: int) -> str:
        """Return the name of an example's split."""
        return self.split_names[self._split(number)]

    def splits_of_all(self) -> npt.NDArray[np.int64]:
        """Return the place of each example's split in `split_names`, (N,)."""
        return np.repeat(np.arange(len(self.split_names)), np.diff(self.starts))

    def name_of(self, number: int) -> str:
        """Return an example's name, or its split and position."""
        names, position = self.dataset.splits[self.split_of(number)].names, self._position(number)
        return f"{self.split_of(number)} {position:,}" if names is None else names[position]

    def by_name(self) -> dict[str, int]:
        """Return the number of each example that has a name."""
        return {
            name: int(start) + position
            for split, start in zip(self.dataset.splits.values(), self.starts, strict=False)
            for position, name in enumerate(split.names or ())
        }

    def target_of(self, number: int) -> str:
        """Return an example's target as text."""
        split, position = self.dataset.splits[self.split_of(number)], self._position(number)
        (row,) = target_rows(choose_targets(split.targets, slice(position, position + 1)))
        return row_text(row, self.dataset.target_names)

    def pixels_of(self, number: int) -> npt.NDArray[np.uint8]:
        """Return an example's image, uint8 (H, W, C)."""
        return self.dataset.splits[self.split_of(number)].images[self._position(number)]

    def target_rows(self) -> list[Any]:
        """Return the targets of all, as comparable values."""
        return [row for split in self.dataset.splits.values() for row in target_rows(split.targets)]

    def in_file_order(self) -> list[tuple[str, npt.NDArray[np.int64]]]:
        """Return the folders of the files and, of each, its examples in the order of their names.

        Numbers in names count as numbers: 2.jpg is before 10.jpg. Splits that were drawn from one folder are together
        again. Without names, a split is such a folder, its examples in their order.
        """
        folders: dict[str, list[tuple[list[Any], int]]] = {}
        for name, split, start in zip(self.split_names, self.dataset.splits.values(), self.starts, strict=False):
            for position in range(len(split)):
                folder, _, file = ("", "", "") if split.names is None else split.names[position].rpartition("/")
                place = name if split.names is None else f"{folder}/"
                folders.setdefault(place, []).append(([*_natural(file), position], int(start) + position))
        return [
            (folder, np.asarray([each for _, each in sorted(found)], np.int64))
            for folder, found in sorted(folders.items())
        ]

    def _split(self, number: int) -> int:
        return int(np.searchsorted(self.starts, number, side="right")) - 1

    def _position(self, number: int) -> int:
        return int(number - self.starts[self._split(number)])


def called(split: str) -> str:
    """Return what a split is called on a page."""
    return {"train": "training"}.get(split, split)


def _natural(name: str) -> list[Any]:
    """Return a key by which names are sorted with their numbers as numbers; texts and numbers alternate."""
    parts: list[Any] = _DIGITS.split(name)
    parts[1::2] = [int(digits) if len(digits) < 19 else 10**18 for digits in parts[1::2]]
    return parts
