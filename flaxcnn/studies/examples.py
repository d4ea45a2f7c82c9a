"""The data of a study: each fold loaded once, and examples told apart whatever the size they are decoded to."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from flaxcnn.config import Data, Experiment
from flaxcnn.data import Dataset, Split
from flaxcnn.data.images import in_pieces
from flaxcnn.data.targets import leaves
from flaxcnn.errors import DataError
from flaxcnn.runs.given import Loaded, load
from flaxcnn.studies.plan import Fold

Keys = tuple[bytes, ...]
"""One of each example; examples with the same key are copies of each other."""


class FoldData:
    """The data sets of a fold: one for each section `data`, since entries may decode images to sizes of their own."""

    def __init__(self) -> None:
        self._loaded: dict[Data, Dataset] = {}
        self._keys: dict[Data, tuple[Keys, Keys]] = {}

    def dataset(self, data: Data) -> Dataset:
        """Return the data set of a section, loaded once; raises as `flaxcnn.runs.given.load`."""
        data = dataclasses.replace(data, validation=0.0)
        if data not in self._loaded:
            self._loaded[data] = load(dataclasses.replace(Experiment(), data=data)).dataset
        return self._loaded[data]

    def clear(self) -> None:
        """Let go of all images, before those of another fold are loaded."""
        self._loaded.clear()
        self._keys.clear()

    def loaded(self, experiment: Experiment) -> Loaded:
        """Return the data of an experiment of this fold, with its validation split; raises as `dataset`."""
        return load(experiment, self.dataset(experiment.data))

    def prepared(self, experiment: Experiment) -> Experiment:
        """Return an experiment with what the source chose, such as the size of the images."""
        preparation = self.dataset(experiment.data).preparation
        return dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, **preparation))

    def keys(self, data: Data) -> tuple[Keys, Keys]:
        """Return the keys of the test examples, and of all others."""
        data = dataclasses.replace(data, validation=0.0)
        if data not in self._keys:
            dataset = self.dataset(data)
            others = [split for name, split in dataset.splits.items() if name != "test"]
            self._keys[data] = keys_of(dataset.test), tuple(key for split in others for key in keys_of(split))
        return self._keys[data]


def keys_of(split: Split) -> Keys:
    """Return a key of 16 bytes for each example: of its name where it has one, else of its pixels; and of its targets.

    A name does not depend on the size to which the image is decoded.
    """
    targets = [np.ascontiguousarray(array) for _, array in leaves(split.targets)]
    if split.names is not None:
        told = (name.encode("utf-8", "surrogateescape") for name in split.names)
    else:
        told = (np.ascontiguousarray(image).tobytes() for piece in in_pieces(split.images) for image in piece)
    found = []
    for place, content in enumerate(told):
        state = hashlib.blake2b(content, digest_size=16)
        for array in targets:
            state.update(array[place].tobytes())
        found.append(state.digest())
    return tuple(found)


class Order(NamedTuple):
    """The order of all tested examples, that of the first fold's test split, then of the second's, and so on."""

    keys: Keys

    def positions(self, keys: Sequence[bytes]) -> np.ndarray:
        """Return where each example of this order stands among others in another order, int64 (N,).

        Raises:
            DataError: they are not the same examples, each exactly once.
        """
        if Counter(keys) != Counter(self.keys):
            missing = sum((Counter(self.keys) - Counter(keys)).values())
            raise DataError(
                "other examples are tested",
                where="the folds' test splits",
                expected=f"the same {len(self.keys):,} examples, each exactly once",
                found=f"{len(keys):,}, without {missing:,} of these",
            )
        ours, theirs = (np.argsort(np.array(each, "S16"), kind="stable") for each in (self.keys, keys))
        found = np.empty(len(keys), np.int64)
        found[ours] = theirs
        return found


def require_whole(folds: Mapping[Fold, tuple[Keys, Keys]]) -> None:
    """Raise DataError unless the test splits of one division have each example exactly once, none left out.

    Args:
        folds: of each fold of the division, the keys of the test examples and of all others.
    """
    if len(folds) < 2:
        return
    tested = Counter(key for test, _ in folds.values() for key in test)
    for fold, (test, others) in folds.items():
        if Counter(test) + Counter(others) != tested:
            raise DataError(
                "folds that do not divide the examples",
                where=f"fold {fold.number}",
                expected=f"all {sum(tested.values()):,} tested examples, for training or for testing",
                found=f"{len(test) + len(others):,}, or other ones",
            )
