"""Load a prepared data set by name. Everything is decoded once, for the checks and the digests."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flaxcnn.data.dataset import Dataset, Split, array_digest, start_digest
from flaxcnn.data.images import IN_MEMORY, Images, StoredImages
from flaxcnn.data.options import Request
from flaxcnn.data.sources.decoding import decode
from flaxcnn.data.sources.tfds.description import Description, read_description
from flaxcnn.data.sources.tfds.folders import find_folder
from flaxcnn.data.sources.tfds.records import Records
from flaxcnn.errors import DataError
from flaxcnn.files.paths import user_path

USES = frozenset({"dir"})

_LABELS = np.iinfo(np.int32)


class RecordImages(StoredImages):
    """The images of a prepared split, each read and decoded when asked for: a PNG file of 28×28 takes 0.1 ms.

    Args:
        folder: of one version of the data set.
        split: "train" or "test".
        shape: (N, H, W, C), found by decoding all of them.
    """

    def __init__(self, folder: Path, split: str, shape: tuple[int, int, int, int]):
        super().__init__(shape)
        self._folder, self._split = folder.absolute(), split
        self._records: Records | None = None

    def read(self, positions_K: npt.NDArray[np.integer[Any]], out_KHWC: npt.NDArray[np.uint8]) -> None:
        """Read images into an array, as `StoredImages.read`."""
        if self._records is None:
            self._records = Records(read_description(self._folder), self._split)
            if len(self._records) != len(self):
                raise DataError(
                    "changed since the data set was loaded",
                    where=self._records.where,
                    expected=f"{len(self)} examples",
                    found=len(self._records),
                )
        examples = zip(positions_K.tolist(), self._records.read(positions_K), strict=True)
        for place, (position, example) in enumerate(examples):
            where = f"{self._records.where} example {position}"
            out_KHWC[place] = decode(example.image, self.shape[3], where, self.shape[1:])

    def __reduce__(self) -> tuple[Any, ...]:
        return RecordImages, (self._folder, self._split, self.shape)


def load(request: Request) -> Dataset:
    """Return a prepared data set; raises as `load_prepared`."""
    folder = request.options.dir
    where = None if folder is None else user_path(os.fspath(folder), "data.dir")
    return load_prepared(request.name, where, request.in_memory)


def load_prepared(name: str, data_dir: str | os.PathLike[str] | None = None, in_memory: int = IN_MEMORY) -> Dataset:
    """Load a prepared image-classification data set of TFDS with splits named train and test.

    Args:
        name: NAME[/CONFIG][:VERSION], as TFDS writes it; the newest version, and the only config, where not given.
        data_dir: the folder of prepared data sets; TFDS's own (TFDS_DATA_DIR or ~/tensorflow_datasets) when None.
        in_memory: the images of a split that take more bytes than this, decoded, are each decoded when asked for
            (`RecordImages`); here all are decoded once, for the checks and the digest.

    Returns:
        The data set: the images of the image feature, grayscale or RGB, in the order in which they are stored; the
        classes of the label feature; digests of the decoded arrays.

    Raises:
        ConfigError: `name` is not a name.
        DataError: the set is not prepared there, not in array_record format, damaged, lacks a split or a feature, or
            its images are not 8-bit grayscale or RGB of one size.
    """
    root = os.fspath(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    folder = find_folder(name, user_path(root, "data.dir"))
    description = read_description(folder)
    splits, digests = {}, {}
    for split in ("train", "test"):
        splits[split], digests[f"{split}/images"] = _read_split(description, split, in_memory)
        digests[f"{split}/labels"] = array_digest(splits[split].targets)
    return Dataset(
        f"tfds:{name}",
        splits["train"],
        splits["test"],
        target_names=description.class_names,
        digests=digests,
        origins={f"{split}/{part}": f"{folder} {split} {part}" for split in splits for part in ("images", "labels")},
    )


def _read_split(description: Description, split: str, in_memory: int) -> tuple[Split, str]:
    """Decode every example of a split once, and return it with the digest of its images."""
    records = Records(description, split)
    if not len(records):
        raise DataError("no images", where=records.where, expected="at least 1", found=0)
    first = next(records.read(np.zeros(1, np.int32)))
    image_shape = decode(first.image, description.channels, f"{records.where} example 0").shape
    shape = (len(records), *image_shape)
    stored = math.prod(shape) > in_memory
    pixels = np.empty((1 if stored else len(records), *image_shape), np.uint8)
    labels, digest = np.empty(len(records), np.int32), start_digest(pixels.dtype, shape)
    for position, example in enumerate(records.read(np.arange(len(records), dtype=np.int32))):
        where, place = f"{records.where} example {position}", pixels[position % len(pixels)]
        place[...] = decode(example.image, description.channels, where, image_shape)
        digest.update(place.data)
        if not _LABELS.min <= example.label <= _LABELS.max:
            raise DataError("label out of range", where=where, expected="the index of a class", found=example.label)
        labels[position] = example.label
    images: Images = RecordImages(description.folder, split, shape) if stored else pixels
    origins = {kind: f"{description.folder} {split} {kind}" for kind in ("images", "labels")}
    return Split(images, labels, origins=origins), digest.hexdigest()
