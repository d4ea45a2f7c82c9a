"""`mnist`: MNIST, which is bundled."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from importlib.resources import as_file, files
from types import MappingProxyType

from flaxcnn.data.dataset import Dataset
from flaxcnn.data.images import IN_MEMORY
from flaxcnn.data.options import Request
from flaxcnn.data.sources.idx_folder import PARTS, read_four
from flaxcnn.errors import DataError

USES: frozenset[str] = frozenset()

MNIST_SHA256: Mapping[str, str] = MappingProxyType(
    {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
)
"""SHA-256 of each file of the original distribution, uncompressed."""

_ahead: dict[str, Future[Dataset]] = {}  # of `load_ahead`, by source


def load_ahead(source: str) -> None:
    """Start to load MNIST in a thread, for the next call of `load`; other sources are left to that.

    Decompression and digests, a fifth of a second, leave Python free to import JAX.
    """
    if source != "mnist":
        return
    ahead = _ahead[source] = Future()

    def finish() -> None:
        try:
            ahead.set_result(_load_mnist())
        except BaseException as error:  # raised by `load`
            ahead.set_exception(error)

    threading.Thread(target=finish, daemon=True).start()


def load(request: Request) -> Dataset:
    """Return MNIST; raises DataError where a file is not that of the original distribution."""
    ahead = _ahead.pop("mnist", None)
    return _load_mnist() if ahead is None else ahead.result()


def _load_mnist() -> Dataset:
    with ExitStack() as stack:
        folder = files("flaxcnn.data") / "mnist"
        paths = {name: stack.enter_context(as_file(folder / f"{name}.gz")) for name in PARTS}
        dataset = read_four(paths, "mnist", IN_MEMORY)
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
