"""Load a checked data set by its source's name: `mnist`, `idx:FOLDER`, `tfds:NAME` or a user's own, `FILE.py:NAME`.

MNIST is bundled and works offline. The other sources read files on the user's disk. Nothing here downloads anything.
"""

import difflib
import os
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.resources import as_file, files
from pathlib import Path
from types import MappingProxyType

import numpy as np

from flaxcnn.data.dataset import Dataset, Split
from flaxcnn.data.images import IN_MEMORY, Images
from flaxcnn.data.sources.idx import read_idx, read_idx_images
from flaxcnn.data.sources.own import load_own
from flaxcnn.errors import ConfigError, DataError, nearest
from flaxcnn.files import user_path
from flaxcnn.files.user_code import FORM, is_outside

SOURCES = ("mnist", "idx:FOLDER", "tfds:NAME", FORM)
"""The forms that `load` takes."""

MNIST_SHA256: Mapping[str, str] = MappingProxyType(
    {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
)
"""SHA-256 of each file of the original distribution, uncompressed."""

_PARTS = {  # file in MNIST's distribution -> what it holds
    "train-images-idx3-ubyte": "train/images",
    "train-labels-idx1-ubyte": "train/labels",
    "t10k-images-idx3-ubyte": "test/images",
    "t10k-labels-idx1-ubyte": "test/labels",
}


def load(source: str, data_dir: str | os.PathLike[str] | None = None, in_memory: int = IN_MEMORY) -> Dataset:
    """Load a data set: whole into memory, or, where it is large, all but its images, which stay on disk.

    Args:
        source: one of
            `mnist`: MNIST as it comes with this package, its digests verified at each load;
            `idx:FOLDER`: a folder with four files in MNIST's format and names, raw or gzipped (`load_idx_folder`);
            `tfds:NAME`: a data set that TensorFlow Datasets has prepared (`flaxcnn.data.sources.tfds.load_prepared`);
            `FILE.py:NAME`: a `Dataset` of the user's own, or a function that returns one; the file is imported.
        data_dir: where the prepared data sets of TensorFlow Datasets are; the other sources don't use it.
        in_memory: the images of a split that take more bytes than this, decoded, are read when asked for
            (`StoredImages`), as far as their format allows: raw IDX files and TensorFlow Datasets do, gzipped files
            do not.

    Returns:
        The data set; images uint8 (N, H, W, C), labels int32 (N,), all read-only.

    Raises:
        ConfigError: the source has none of these forms, or the user's own file makes no data set.
        DataError: its data is missing, damaged or not what it declares.
    """
    kind, _, name = source.partition(":")
    if source == "mnist":
        return _load_mnist()
    if is_outside(source):
        return load_own(source)
    if kind == "idx" and name:
        return load_idx_folder(user_path(name, "data.source"), source, in_memory)
    if kind == "tfds" and name:
        try:
            from flaxcnn.data.sources.tfds import load_prepared  # its packages take a third of a second to import
        except ModuleNotFoundError as error:  # tensorflow-datasets brings array_record on Linux alone
            package = (error.name or "a package").partition(".")[0]
            raise ConfigError(
                f"{package} is not installed", where="data.source", found=f"'{source}'", fix=f"install {package}"
            ) from error
        where = None if data_dir is None else user_path(os.fspath(data_dir), "data.dir")
        return load_prepared(name, where, in_memory)
    what, fix = _advice(source)
    raise ConfigError(what, where="data.source", expected=" or ".join(SOURCES), found=f"'{source}'", fix=fix)


def _advice(source: str) -> tuple[str, str]:
    """Return what is wrong with a source that has none of the known forms, and what to do."""
    if source.endswith(".py"):
        return "unknown source", f"for your own data write {FORM}"
    kind, colon, name = source.partition(":")
    meant = difflib.get_close_matches(kind.lower(), ("idx", "tfds"), n=1, cutoff=0.65)
    if meant and name:
        return "unknown source", f"did you mean '{meant[0]}:{name}'?"
    if "://" in source:
        return "unknown source", "nothing is downloaded; name a folder on this machine"
    place = name if colon else source
    folder = user_path(place or ".", "data.source")
    if not place or not os.path.exists(folder):
        if os.sep in place:
            return "no such folder", "check its path"
        return "unknown source", nearest(source, SOURCES)
    if not os.path.isdir(folder):
        return "a file, where a folder is read", "name the folder of four files in MNIST's format with idx:"
    if any(folder.glob("*-ubyte*")):
        return "unknown source", f"did you mean 'idx:{place}'?"
    if any(any(folder.glob(f"{below}dataset_info.json")) for below in ("", "*/", "*/*/", "*/*/*/")):
        return (
            "unknown source",
            "a set that TensorFlow Datasets has prepared is tfds:NAME, its folder given by --data.dir",
        )
    return "unknown source", "folders of image files cannot be read; idx: is for files in MNIST's format"


def load_idx_folder(folder: str | os.PathLike[str], source: str | None = None, in_memory: int = IN_MEMORY) -> Dataset:
    """Load a folder of four IDX files, named as in MNIST's distribution; Fashion-MNIST, KMNIST and others have them.

    The names are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`, each also with a dot for the last hyphen but one (`train-images.idx3-ubyte`), each raw or
    with `.gz`. Where a folder has a file both raw and gzipped, as some downloaders leave it, the raw one is read.

    Args:
        folder: the folder.
        source: what the data set is called; "idx:FOLDER" when None.
        in_memory: a raw file of images of more bytes than this is not held in memory (`read_idx_images`).

    Returns:
        The data set; classes are 0 to the largest label of the training file, named by their numbers.

    Raises:
        DataError: the folder or any file is missing, or what `read_idx` and `Dataset` raise.
    """
    folder = Path(folder)
    return _read_four(_find_files(folder), source or f"idx:{folder}", in_memory)


def _load_mnist() -> Dataset:
    with ExitStack() as stack:
        folder = files("flaxcnn.data") / "mnist"
        paths = {name: stack.enter_context(as_file(folder / f"{name}.gz")) for name in _PARTS}
        dataset = _read_four(paths, "mnist", IN_MEMORY)
    for name, pinned in MNIST_SHA256.items():
        if dataset.digests[name] != pinned:
            raise DataError(
                "not the MNIST of the original distribution",
                where=paths[name],
                expected=f"SHA-256 {pinned}",
                found=dataset.digests[name],
                fix="install flaxcnn again",
            )
    return dataset


def _find_files(folder: Path) -> dict[str, Path]:
    """Return where each of the four files is, or say all that are missing at once."""
    try:
        present = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(
            "cannot read the folder",
            where=folder,
            expected="a folder with four IDX files",
            found=(error.strerror or str(error)).lower(),
        ) from error
    found = {}
    for name in _PARTS:
        spellings = (name, name.replace("-idx", ".idx"))
        candidates = [spelling + ending for ending in ("", ".gz") for spelling in spellings]
        match = next((candidate for candidate in candidates if candidate in present), None)
        if match:
            found[name] = folder / match
    if missing := [name for name in _PARTS if name not in found]:
        listed = ", ".join(present[:6]) + (f" and {len(present) - 6} more" if len(present) > 6 else "")
        raise DataError(
            f"{len(missing)} of 4 IDX files missing",
            where=folder,
            expected=f"{', '.join(missing)} (raw or .gz, '.idx' for '-idx' accepted)",
            found=listed or "an empty folder",
        )
    return found


def _read_four(paths: Mapping[str, Path], source: str, in_memory: int) -> Dataset:
    images: dict[str, Images] = {}
    labels, digests = {}, {}
    for name, part in _PARTS.items():
        split, kind = part.split("/")
        if kind == "images":
            images[split], digests[name] = read_idx_images(paths[name], in_memory)
        else:
            file = read_idx(paths[name], rank=1)
            labels[split], digests[name] = file.array.astype(np.int32), file.sha256
    called = {part: str(paths[name]) for name, part in _PARTS.items()}
    train, test = (
        Split(images[split], labels[split], origins={kind: called[f"{split}/{kind}"] for kind in ("images", "labels")})
        for split in ("train", "test")
    )
    classes = int(np.max(train.targets)) + 1
    return Dataset(
        source,
        train,
        test,
        target_names=tuple(str(label) for label in range(classes)),
        digests=digests,
        origins=called,
    )
