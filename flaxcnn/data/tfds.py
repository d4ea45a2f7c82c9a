"""Data sets that TensorFlow Datasets (TFDS) has prepared on disk, read without TensorFlow and without their code.

TFDS keeps a prepared set in DATA_DIR/NAME[/CONFIG]/VERSION. Only the array_record format can be read without
TensorFlow. Preparing a set may take TensorFlow, a download and hours, so that is a command for the user to give, never
something that happens here; what is missing ends in an error with that command.
"""

import io
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import tensorflow_datasets

from flaxcnn.data.dataset import Dataset, Split, array_digest, start_digest
from flaxcnn.data.images import IN_MEMORY, Images, StoredImages
from flaxcnn.errors import ConfigError, DataError

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w.\-]+))?(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_MODES = {1: "L", 3: "RGB"}  # channels -> what Pillow calls them
_EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_UNREADABLE = (RuntimeError, ValueError, KeyError, AttributeError, OSError)  # array_record's, protobuf's, TFDS's


class RecordImages(StoredImages):
    """The images of a prepared split, each read and decoded when asked for: a PNG file of 28×28 takes 0.1 ms.

    Args:
        folder: of one version of the data set.
        split: "train" or "test".
        feature: the image feature.
        shape: (N, H, W, C), found by decoding all of them.
    """

    def __init__(self, folder: Path, split: str, feature: str, shape: tuple[int, int, int, int]):
        super().__init__(shape)
        self._folder, self._split, self._feature = folder.absolute(), split, feature
        self._records: _Records | None = None

    def read(self, positions_K: npt.NDArray[np.integer[Any]], out_KHWC: npt.NDArray[np.uint8]) -> None:
        """Read images into an array, as `StoredImages.read`."""
        if self._records is None:
            self._records = _Records(_open(self._folder), self._folder, self._split, self._feature)
            if len(self._records) != len(self):
                raise DataError(
                    "changed since the data set was loaded",
                    where=self._records.where,
                    expected=f"{len(self)} examples",
                    found=len(self._records),
                )
        for place, position in enumerate(positions_K.tolist()):
            out_KHWC[place] = self._records.image(position, self._records[position], self.shape[1:])

    def __reduce__(self) -> tuple[Any, ...]:
        return RecordImages, (self._folder, self._split, self._feature, self.shape)


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
    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    folder = _find_folder(name, root)
    builder = _open(folder)
    image, label = _features(builder.info.features, folder)
    splits, digests = {}, {}
    for split in ("train", "test"):
        splits[split], digests[f"{split}/images"] = _read_split(builder, folder, split, image, label, in_memory)
        digests[f"{split}/labels"] = array_digest(splits[split].labels)
    return Dataset(
        source=f"tfds:{name}",
        **splits,
        class_names=tuple(builder.info.features[label].names),
        digests=digests,
        places={f"{split}/{part}": f"{folder} {split} {part}" for split in splits for part in ("images", "labels")},
    )


def _find_folder(name: str, root: Path) -> Path:
    """Return the folder of one version of a prepared data set."""
    match = _NAME.fullmatch(name)
    if not match:
        raise ConfigError(
            "not a data set's name",
            where="data.source",
            expected="tfds:NAME[/CONFIG][:VERSION]",
            found=f"'tfds:{name}'",
        )
    home = root / match["name"]
    if match["config"]:
        home /= match["config"]
    elif not _versions(home):
        configs = [config for config in _subfolders(home) if _versions(config)]
        if len(configs) > 1:
            names = [f"{match['name']}/{config.name}" for config in configs]
            raise DataError(
                "several configs prepared", where=home, expected="one of them named", found=", ".join(names)
            )
        home = configs[0] if configs else home
    versions = _versions(home)
    if match["version"]:
        versions = [version for version in versions if version.name == match["version"]]
    if not versions:
        prepared = ", ".join(_prepared(root)) or ("none" if root.is_dir() else "no such folder")
        raise DataError(
            f"no prepared data set '{name}'",
            where=root,
            expected=f"{home.relative_to(root)}/{match['version'] or 'VERSION'}/dataset_info.json",
            found=f"prepared: {prepared}",
            fix=f"prepare it with {_build_command(name, root)}",
        )
    return versions[-1]


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if child.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError("cannot read the folder", where=folder, found=(error.strerror or str(error)).lower()) from error


def _versions(folder: Path) -> list[Path]:
    """Return the folders of the prepared versions in a data set's folder, oldest first."""
    found = [
        child
        for child in _subfolders(folder)
        if _VERSION.fullmatch(child.name) and (child / "dataset_info.json").is_file()
    ]
    return sorted(found, key=lambda version: [int(number) for number in version.name.split(".")])


def _prepared(root: Path) -> list[str]:
    """Return the names of all data sets prepared in a folder, each with its config and version."""
    homes = [home for top in _subfolders(root) for home in (top, *_subfolders(top))]
    return [f"{home.relative_to(root).as_posix()}:{version.name}" for home in homes for version in _versions(home)]


def _build_command(name: str, root: Path) -> str:
    return f"`pip install 'flaxcnn[tensorflow]'` and `tfds build {name} --file_format=array_record --data_dir={root}`"


def _open(folder: Path) -> Any:
    """Return TFDS's builder of a prepared data set, which only reads."""
    try:
        builder = tensorflow_datasets.builder_from_directory(folder)
        formats = sorted(available.value for available in builder.info.available_file_formats())
        if "array_record" in formats:
            builder = tensorflow_datasets.builder_from_directory(folder, file_format="array_record")
    except Exception as error:  # whatever json, protobuf or TFDS make of damaged files; they share no class
        raise DataError(
            "cannot read the data set's description",
            where=folder,
            expected="dataset_info.json and features.json as TFDS writes them",
            found=_first_line(error),
        ) from error
    if "array_record" not in formats:
        command = f"tfds convert_format --dataset_version_dir={folder} --out_file_format=array_record"
        raise DataError(
            "a format that takes TensorFlow to read",
            where=folder,
            expected="array_record",
            found=", ".join(formats) or "none",
            fix=f"convert it with `pip install 'flaxcnn[tensorflow]'` and `{command}`",
        )
    if missing := {"train", "test"} - set(builder.info.splits):
        raise DataError(
            f"no split '{max(missing)}'",
            where=folder,
            expected="splits 'train' and 'test'",
            found=", ".join(builder.info.splits) or "none",
        )
    return builder


def _features(features: Mapping[str, Any], folder: Path) -> tuple[str, str]:
    """Return the names of the image and of the label feature, each the only one of its type or the one so named."""
    kinds = tensorflow_datasets.features
    if not isinstance(features, kinds.FeaturesDict):
        raise DataError("no named features", where=folder, expected="an Image and a ClassLabel", found=features)
    image = _one_of(features, kinds.Image, "image", folder)
    label = _one_of(features, kinds.ClassLabel, "label", folder)
    channels, dtype = features[image].shape[-1], np.dtype(features[image].np_dtype)
    if channels not in _MODES or dtype != np.uint8:
        raise DataError(
            f"images of the wrong kind in feature '{image}'",
            where=folder,
            expected="uint8 with 1 channel (gray) or 3 (RGB)",
            found=f"{dtype} with {channels}",
        )
    return image, label


def _one_of(features: Mapping[str, Any], kind: type, usual_name: str, folder: Path) -> str:
    # The exact class: an image of labels, one for each pixel, is a subclass of an image.
    names = [name for name, feature in features.items() if type(feature) is kind]
    if usual_name in names:
        return usual_name
    if len(names) != 1:
        raise DataError(
            f"{len(names)} features could be the {usual_name}",
            where=folder,
            expected=f"one {kind.__name__}, or one of several named '{usual_name}'",
            found=", ".join(f"{name} ({type(feature).__name__})" for name, feature in sorted(features.items())),
        )
    return names[0]


def _read_split(builder: Any, folder: Path, split: str, image: str, label: str, in_memory: int) -> tuple[Split, str]:
    """Decode every example of a split once, and return it with the digest of its images."""
    records = _Records(builder, folder, split, image)
    count = len(records)
    if not count:
        raise DataError("no images", where=records.where, expected="at least 1", found=0)
    height, width, channels = records.image(0, records[0]).shape
    shape = (count, height, width, channels)
    stored = math.prod(shape) > in_memory
    pixels = np.empty((1 if stored else count, *shape[1:]), np.uint8)
    labels, digest = np.empty(count, np.int32), start_digest(pixels.dtype, shape)
    for position in range(count):
        example, place = records[position], pixels[position % len(pixels)]
        place[...] = records.image(position, example, shape[1:])
        digest.update(place.data)
        labels[position] = example[label]
    images: Images = RecordImages(folder, split, image, shape) if stored else pixels
    places = {kind: f"{folder} {split} {kind}" for kind in ("images", "labels")}
    return Split(images, labels, places), digest.hexdigest()


class _Records:
    """The stored examples of a split, by position; one that cannot be read is a DataError."""

    def __init__(self, builder: Any, folder: Path, split: str, feature: str):
        # Images come encoded and are decoded here: TFDS would take OpenCV or Pillow, whichever is installed, and leave
        # a palette's indices as they are.
        encoded = {
            name: tensorflow_datasets.decode.SkipDecoding()
            for name, kind in builder.info.features.items()
            if isinstance(kind, tensorflow_datasets.features.Image)
        }
        self.where = f"{folder} split '{split}'"
        self._feature, self._channels = feature, builder.info.features[feature].shape[-1]
        try:
            self._source = builder.as_data_source(split=split, decoders=encoded)
        except _UNREADABLE as error:
            raise self._damaged(error) from error

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, position: int) -> Mapping[str, Any]:
        """Return an example, its images as they are stored."""
        try:
            return self._source[position]
        except _UNREADABLE as error:
            raise self._damaged(error) from error

    def image(
        self, position: int, example: Mapping[str, Any], shape: tuple[int, ...] | None = None
    ) -> npt.NDArray[np.uint8]:
        """Decode the image of an example, whose shape has to be the one that is given, if any."""
        pixels = _decode(example[self._feature], self._channels, f"{self.where} example {position}")
        if shape and pixels.shape != shape:
            raise DataError(
                "images of different sizes",
                where=f"{self.where} example {position}",
                expected=f"{'×'.join(map(str, shape))} as in example 0",
                found="×".join(map(str, pixels.shape)),
                fix="prepare the data set with images of one size",
            )
        return pixels

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            "cannot read the examples", where=self.where, expected="whole array_record files", found=_first_line(error)
        )


def _decode(encoded: bytes, channels: int, where: str) -> npt.NDArray[np.uint8]:
    """Decode an image file's bytes to uint8 (H, W, channels), as TensorFlow's decoder does: alpha is dropped."""
    try:
        with PIL.Image.open(io.BytesIO(encoded)) as picture:
            if picture.mode not in _EIGHT_BIT:
                raise DataError("not an 8-bit image", where=where, expected="8 bits a channel", found=picture.mode)
            wanted = _MODES[channels]
            pixels = np.asarray(picture if picture.mode == wanted else picture.convert(wanted))
    except (OSError, SyntaxError, ValueError, EOFError, PIL.Image.DecompressionBombError) as error:
        raise DataError(
            "damaged image", where=where, expected="a PNG, JPEG, BMP or GIF file", found=_first_line(error)
        ) from error
    return pixels.reshape(*pixels.shape[:2], channels)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
