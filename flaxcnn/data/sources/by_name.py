"""Load a checked data set by its source's name, such as `mnist`, `folder:photos` or `csv:table.csv`.

Each kind of source is a module with two names: `USES`, the options that it uses, and `load`, which returns its data
set. `KINDS` is their only registry. Nothing here downloads anything.
"""

import difflib
import os
from importlib import import_module
from typing import NamedTuple

from flaxcnn.data.dataset import Dataset
from flaxcnn.data.images import IN_MEMORY
from flaxcnn.data.options import Options, Progress, Request
from flaxcnn.data.sources.own import load_own
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.files import user_path
from flaxcnn.files.user_code import FORM, is_outside


class Kind(NamedTuple):
    """A kind of source.

    Attributes:
        form: how it is written.
        holds: what it is, in a few words.
        module: below `flaxcnn.data.sources`.
        install: what installs the package that it needs beside the library's own.
    """

    form: str
    holds: str
    module: str
    install: str = ""


KINDS = {
    "mnist": Kind("mnist", "MNIST, bundled", "mnist"),
    "fashion_mnist": Kind(
        "fashion_mnist", "Fashion-MNIST, from Debian's package dataset-fashion-mnist", "fashion_mnist"
    ),
    "folder": Kind("folder:DIR", "image files, a folder for each class", "folder"),
    "csv": Kind("csv:FILE", "a table of image files, separated by commas", "tables.source"),
    "jsonl": Kind("jsonl:FILE", "a table of image files, a line of JSON each", "tables.source"),
    "parquet": Kind("parquet:FILE", "a table of image files in Parquet", "tables.source"),
    "hf": Kind("hf:DIR", "a set that Hugging Face's save_to_disk wrote", "hugging_face.source"),
    "npz": Kind("npz:FILE", "arrays of images and labels in one file of NumPy", "numpy_files"),
    "npy": Kind("npy:FILE", "an array of images in a file of NumPy, labels in one beside it", "numpy_files"),
    "coco": Kind("coco:FILE", "image files with boxes in COCO's format, or a folder of such files", "coco"),
    "voc": Kind("voc:DIR", "image files with boxes in Pascal VOC's format", "voc"),
    "yolo": Kind("yolo:FILE", "image files with boxes in YOLO's format: its data.yaml, or their folder", "yolo"),
    "video": Kind(
        "video:DIR",
        "video files, a folder for each class, or a table of them; frames of them are the images",
        "video",
        "pip install av",
    ),
    "idx": Kind("idx:FOLDER", "four files in MNIST's format", "idx_folder"),
    "cifar10": Kind("cifar10:DIR", "the binary version of CIFAR-10", "cifar"),
    "cifar100": Kind("cifar100:DIR", "the binary version of CIFAR-100", "cifar"),
    "tfds": Kind("tfds:NAME", "a set that TensorFlow Datasets has prepared", "tfds.prepared"),
}
_EXPECTED = f"mnist, folder:DIR, another of docs/data.md, or {FORM}"
SOURCES = (*(kind.form for kind in KINDS.values()), FORM)
"""The forms that `load` takes."""


def load(
    source: str,
    options: Options | None = None,
    in_memory: int = IN_MEMORY,
    progress: Progress | None = None,
) -> Dataset:
    """Load a data set: whole into memory, or, where it is large, all but its images, which stay on disk.

    Args:
        source: a kind of source and its name, such as `folder:photos` (docs/data.md has them all), or
            `FILE.py:NAME`: a `Dataset` of the user's own, or a function that returns one; the file is imported.
        options: how its files are read; each source uses some.
        in_memory: the images of a split that take more bytes than this, decoded, are read when asked for
            (`StoredImages`), as far as their format allows: gzipped IDX files do not.
        progress: is told how many image files are decoded, and of how many.

    Returns:
        The data set; images uint8 (N, H, W, C), labels int32 (N,), all read-only.

    Raises:
        ConfigError: the source has none of these forms, an option is not for it, or the user's own file makes no data
            set.
        DataError: its data is missing, damaged or not what it declares.
    """
    options = Options() if options is None else options
    if is_outside(source):
        options.refuse_others(frozenset(), "a file of your own")
        return load_own(source)
    kind, colon, name = source.partition(":")
    known = KINDS.get(kind)
    if known is None or (":" in known.form) != bool(colon and name):
        what, fix = advice(source)
        raise ConfigError(what, where="data.source", expected=_EXPECTED, found=f"'{source}'", fix=fix)
    try:
        module = import_module(f"flaxcnn.data.sources.{known.module}")
    except ModuleNotFoundError as error:  # such as tensorflow-datasets, which brings array_record on Linux alone
        package = (error.name or "a package").partition(".")[0]
        raise ConfigError(
            f"{package} is not installed",
            where="data.source",
            found=f"'{source}'",
            fix=known.install or f"install {package}",
        ) from error
    options.refuse_others(module.USES, known.form)
    return module.load(Request(source, name, options, in_memory, progress))


def uses(source: str) -> frozenset[str]:
    """Return the options that a source uses; none for one that `load` refuses."""
    known = KINDS.get(source.partition(":")[0])
    if known is None or is_outside(source):
        return frozenset()
    try:
        return import_module(f"flaxcnn.data.sources.{known.module}").USES
    except ModuleNotFoundError:
        return frozenset()


def advice(source: str) -> tuple[str, str]:
    """Return what is wrong with a source that has none of the known forms, and what to do."""
    if source.endswith(".py"):
        return "unknown source", f"for your own data write {FORM}"
    kind, colon, name = source.partition(":")
    if kind in KINDS:
        return ("no name" if ":" in KINDS[kind].form else "a name too many"), f"write {KINDS[kind].form}"
    named = [each for each, known in KINDS.items() if ":" in known.form]
    meant = difflib.get_close_matches(kind.lower(), named, n=1, cutoff=0.65)
    if meant and name:
        return "unknown source", f"did you mean '{meant[0]}:{name}'?"
    if "://" in source:
        return "unknown source", "nothing is downloaded; name a folder on this machine"
    place = name if colon else source
    folder = user_path(place or ".", "data.source")
    if not place or not os.path.exists(folder):
        if os.sep in place:
            return "no such file or folder", "check its path"
        return "unknown source", nearest(source, SOURCES)
    if not os.path.isdir(folder):
        ending = os.path.splitext(place)[1].lstrip(".").lower()
        if ending in KINDS:
            return "unknown source", f"did you mean '{ending}:{place}'?"
        return "a file, where a folder is read", "name the folder of four files in MNIST's format with idx:"
    if any(folder.glob("*-ubyte*")):
        return "unknown source", f"did you mean 'idx:{place}'?"
    if any(any(folder.glob(f"{below}dataset_info.json")) for below in ("", "*/", "*/*/", "*/*/*/")):
        return (
            "unknown source",
            "a set that TensorFlow Datasets has prepared is tfds:NAME, its folder given by --data.dir",
        )
    return "unknown source", f"did you mean 'folder:{place}'?"
