"""Data sets: loading and checking images with their targets, and reading them in batches."""

from flaxcnn.data.dataset import Dataset, Split, array_digest, split_digests
from flaxcnn.data.images import IN_MEMORY, Images, StoredImages, channel_moments, choose
from flaxcnn.data.inspection.duplicates import Duplicates, find_duplicates
from flaxcnn.data.inspection.report import describe, describe_absent, describe_duplicates, draw_examples
from flaxcnn.data.loading.loader import Chunk, Loader
from flaxcnn.data.loading.order import BalancedOrder, Order, epoch_order
from flaxcnn.data.options import Options
from flaxcnn.data.sources.arrays import from_arrays
from flaxcnn.data.sources.by_name import load
from flaxcnn.data.sources.idx_folder import load_idx_folder
from flaxcnn.data.sources.random_access import from_source
from flaxcnn.data.validation import split_validation, validation_mask

__all__ = [
    "IN_MEMORY",
    "BalancedOrder",
    "Chunk",
    "Dataset",
    "Duplicates",
    "Images",
    "Loader",
    "Options",
    "Order",
    "Split",
    "StoredImages",
    "array_digest",
    "channel_moments",
    "choose",
    "describe",
    "describe_absent",
    "describe_duplicates",
    "draw_examples",
    "epoch_order",
    "find_duplicates",
    "from_arrays",
    "from_source",
    "load",
    "load_idx_folder",
    "split_digests",
    "split_validation",
    "validation_mask",
]
