"""Sources of images as uint8 arrays and labels, and the order in which an epoch visits them."""

from flaxcnn.data.dataset import Dataset, Split, array_digest
from flaxcnn.data.order import epoch_order
from flaxcnn.data.report import describe, draw_examples
from flaxcnn.data.sources import load, load_idx_folder

__all__ = [
    "Dataset",
    "Split",
    "array_digest",
    "describe",
    "draw_examples",
    "epoch_order",
    "load",
    "load_idx_folder",
]
