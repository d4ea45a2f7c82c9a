"""`fashion_mnist`: Fashion-MNIST as Debian's package dataset-fashion-mnist installs it.

Source: H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", 2017, https://arxiv.org/abs/1708.07747; Table 1 has the classes.
"""

from pathlib import Path

from flaxcnn.data.dataset import Dataset
from flaxcnn.data.options import Request
from flaxcnn.data.sources.idx_folder import find_files, read_four
from flaxcnn.errors import DataError

USES: frozenset[str] = frozenset()

FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where the package puts its files."""
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def load(request: Request) -> Dataset:
    """Return Fashion-MNIST; raises DataError where the package is not installed, or its files are damaged."""
    if not FOLDER.is_dir():
        raise DataError(
            "Fashion-MNIST is not installed",
            where=request.source,
            expected=f"its files in {FOLDER}",
            found="no such folder",
            fix="install Debian's package dataset-fashion-mnist, or name a folder of the four files: idx:FOLDER",
        )
    return read_four(find_files(FOLDER), request.source, request.in_memory, CLASSES)
