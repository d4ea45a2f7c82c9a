"""The stored examples of a prepared data set's split, read from its files by position."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from flaxcnn.data.sources.tfds.array_record import DamagedFileError, open_array_record
from flaxcnn.data.sources.tfds.description import Description
from flaxcnn.data.sources.tfds.messages import Example
from flaxcnn.errors import DataError

_TOGETHER = 256  # examples read in one call at most: the library looks at every chunk of a file in each
_BYTES_TOGETHER = 32 << 20


class StoredExample(NamedTuple):
    """An example as it is stored.

    Attributes:
        image: an encoded image file.
        label: the index of a class, or what the file has in its place.
    """

    image: bytes
    label: int


class Records:
    """The examples of a split; what cannot be read is a DataError.

    Args:
        description: of the data set.
        split: "train" or "test".

    Attributes:
        where: what to call them in an error.

    Raises:
        DataError: a file is missing, damaged, or has another number of examples than the description says.
    """

    def __init__(self, description: Description, split: str):
        self.where = f"{description.folder} split '{split}'"
        self._image, self._label = description.image, description.label
        shards = description.splits[split]
        try:
            self._files = [open_array_record(shard.path, within=description.folder) for shard in shards]
        except DamagedFileError as error:
            raise self._damaged(error) from error
        for shard, file in zip(shards, self._files, strict=True):
            if len(file) != shard.examples:
                raise self._damaged(f"{len(file)} in {shard.path.name} where the description has {shard.examples}")
        self._readers: list[Any] = [None] * len(shards)
        self._ends = np.cumsum([shard.examples for shard in shards], dtype=np.int64)
        self._costs = np.concatenate([np.zeros(0, np.int32), *(file.costs() for file in self._files)])

    def __len__(self) -> int:
        return len(self._costs)

    def read(self, positions_K: npt.NDArray[np.integer[Any]]) -> Iterator[StoredExample]:
        """Yield examples in the order asked for, of which some 32 MiB or one are in memory at a time.

        Args:
            positions_K: which, each from 0 to one less than there are.

        Raises:
            DataError: one cannot be read.
        """
        start = 0
        while start < len(positions_K):
            most = np.cumsum(self._costs[positions_K[start : start + _TOGETHER]], dtype=np.int64)
            stop = start + max(1, int(np.searchsorted(most, _BYTES_TOGETHER, side="right")))
            positions = positions_K[start:stop]
            for position, record in zip(positions.tolist(), self._read(positions), strict=True):
                yield self._parse(record, position)
            start = stop

    def _read(self, positions_K: npt.NDArray[np.integer[Any]]) -> list[bytes]:
        """Return a few records, those of each file read at once."""
        files_K = np.searchsorted(self._ends, positions_K, side="right")
        records = [b""] * len(positions_K)
        for number in np.unique(files_K).tolist():
            file, positions = self._files[number], np.flatnonzero(files_K == number)
            inside = positions_K[positions] - (self._ends[number] - len(file))
            try:
                self._readers[number] = self._readers[number] or file.reader()
                found = file.read(self._readers[number], inside.tolist())
            except DamagedFileError as error:
                raise self._damaged(error) from error
            for position, record in zip(positions.tolist(), found, strict=True):
                records[position] = record
        return records

    def _parse(self, record: bytes, position: int) -> StoredExample:
        """Return what is wanted of a `tf.train.Example`."""
        try:
            found = {feature.key: feature.value for feature in Example.FromString(record).features.feature}
        except DecodeError as error:
            raise self._damaged(f"{error} in example {position}") from error
        images: Sequence[bytes] = found[self._image].bytes_list.value if self._image in found else []
        labels: Sequence[int] = found[self._label].int64_list.value if self._label in found else []
        if len(images) != 1 or len(labels) != 1:
            raise DataError(
                "not an example of an image and its label",
                where=f"{self.where} example {position}",
                expected=f"one '{self._image}' and one whole '{self._label}'",
                found=f"{len(images)} and {len(labels)}",
            )
        return StoredExample(images[0], labels[0])

    def _damaged(self, found: object) -> DataError:
        line = " ".join(str(found).split()) or "nothing said"
        return DataError(
            "cannot read the examples", where=self.where, expected="whole array_record files", found=line[:300]
        )
