"""Checkpoints: saved atomically, verified before use, restored bit for bit."""

from flaxcnn.training.checkpoints.arrays import import_orbax
from flaxcnn.training.checkpoints.manifest import DamagedCheckpointError
from flaxcnn.training.checkpoints.metadata import Metadata
from flaxcnn.training.checkpoints.store import CheckpointStore, Restored

__all__ = ["CheckpointStore", "DamagedCheckpointError", "Metadata", "Restored", "import_orbax"]
