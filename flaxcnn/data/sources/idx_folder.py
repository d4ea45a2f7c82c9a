"""`idx:FOLDER`: a folder of four files in MNIST's format."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flaxcnn.data.dataset import Dataset, Split
from flaxcnn.data.images import IN_MEMORY, Images
from flaxcnn.data.options import Request
from flaxcnn.data.sources.idx import read_idx, read_idx_images
from flaxcnn.errors import DataError
from flaxcnn.files import user_path

USES: frozenset[str] = frozenset()

PARTS = {  # file in MNIST's distribution -> what it holds
    "train-images-idx3-ubyte": "train/images",
    "train-labels-idx1-ubyte": "train/labels",
    "t10k-images-idx3-ubyte": "test/images",
    "t10k-labels-idx1-ubyte": "test/labels",
}


def load(request: Request) -> Dataset:
    """Return the data set of a folder; raises as `load_idx_folder`."""
    return load_idx_folder(user_path(request.name, "data.source"), request.source, request.in_memory)


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
    return read_four(find_files(folder), source or f"idx:{folder}", in_memory)


def find_files(folder: Path) -> dict[str, Path]:
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
    for name in PARTS:
        spellings = (name, name.replace("-idx", ".idx"))
        candidates = [spelling + ending for ending in ("", ".gz") for spelling in spellings]
        match = next((candidate for candidate in candidates if candidate in present), None)
        if match:
            found[name] = folder / match
    if missing := [name for name in PARTS if name not in found]:
        listed = ", ".join(present[:6]) + (f" and {len(present) - 6} more" if len(present) > 6 else "")
        raise DataError(
            f"{len(missing)} of 4 IDX files missing",
            where=folder,
            expected=f"{', '.join(missing)} (raw or .gz, '.idx' for '-idx' accepted)",
            found=listed or "an empty folder",
        )
    return found


def read_four(paths: Mapping[str, Path], source: str, in_memory: int, names: tuple[str, ...] | None = None) -> Dataset:
    """Return the data set of four IDX files, by `PARTS`; its classes are numbered where they have no names."""
    images: dict[str, Images] = {}
    labels, digests = {}, {}
    for name, part in PARTS.items():
        split, kind = part.split("/")
        if kind == "images":
            images[split], digests[name] = read_idx_images(paths[name], in_memory)
        else:
            file = read_idx(paths[name], rank=1)
            labels[split], digests[name] = file.array.astype(np.int32), file.sha256
    called = {part: str(paths[name]) for name, part in PARTS.items()}
    train, test = (
        Split(images[split], labels[split], origins={kind: called[f"{split}/{kind}"] for kind in ("images", "labels")})
        for split in ("train", "test")
    )
    return Dataset(
        source,
        train,
        test,
        target_names=names or tuple(map(str, range(int(np.max(train.targets)) + 1))),
        digests=digests,
        origins=called,
    )
