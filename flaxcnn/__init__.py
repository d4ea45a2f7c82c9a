"""Train, check and reproduce image-recognition CNNs with pure functions in JAX and Flax.

The names below are the public API. They are imported on first use, so `import flaxcnn` is cheap.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flaxcnn import config, contracts, data, evaluation, layers, models, tasks, training
    from flaxcnn.adapters import adapt
    from flaxcnn.contracts import Contract, assert_contract, derive_contract
    from flaxcnn.data import Dataset, Split, epoch_order
    from flaxcnn.evaluation.sums import Sums, evaluate, predict
    from flaxcnn.layers.convolution import convolution
    from flaxcnn.layers.pooling import MaxPool, max_pool
    from flaxcnn.models import create
    from flaxcnn.models.transfer import replace_head
    from flaxcnn.prediction.loading import load
    from flaxcnn.prediction.trained import Trained
    from flaxcnn.runs.output.loggers import LoggedRun, Logger
    from flaxcnn.runs.python import Run, train
    from flaxcnn.runs.running import Hook, Moment
    from flaxcnn.studies import Study
    from flaxcnn.tasks import Task
    from flaxcnn.training import (
        Hyperparameters,
        Schedule,
        TrainState,
        adam,
        adamw,
        create_state,
        lion,
        sgd,
        train_step,
    )

__version__ = "0.1.0"

_HOME = {
    "Contract": "flaxcnn.contracts",
    "Dataset": "flaxcnn.data",
    "Hook": "flaxcnn.runs.running",
    "Hyperparameters": "flaxcnn.training",
    "LoggedRun": "flaxcnn.runs.output.loggers",
    "Logger": "flaxcnn.runs.output.loggers",
    "MaxPool": "flaxcnn.layers.pooling",
    "Moment": "flaxcnn.runs.running",
    "Run": "flaxcnn.runs.python",
    "Schedule": "flaxcnn.training",
    "Split": "flaxcnn.data",
    "Study": "flaxcnn.studies",
    "Sums": "flaxcnn.evaluation",
    "Task": "flaxcnn.tasks",
    "TrainState": "flaxcnn.training",
    "Trained": "flaxcnn.prediction.trained",
    "adam": "flaxcnn.training",
    "adamw": "flaxcnn.training",
    "adapt": "flaxcnn.adapters",
    "assert_contract": "flaxcnn.contracts",
    "convolution": "flaxcnn.layers.convolution",
    "create": "flaxcnn.models",
    "create_state": "flaxcnn.training",
    "derive_contract": "flaxcnn.contracts",
    "epoch_order": "flaxcnn.data",
    "evaluate": "flaxcnn.evaluation",
    "lion": "flaxcnn.training",
    "load": "flaxcnn.prediction.loading",
    "max_pool": "flaxcnn.layers.pooling",
    "predict": "flaxcnn.evaluation",
    "replace_head": "flaxcnn.models.transfer",
    "sgd": "flaxcnn.training",
    "train": "flaxcnn.runs.python",
    "train_step": "flaxcnn.training",
}

_PACKAGES = ("config", "contracts", "data", "evaluation", "layers", "models", "tasks", "training")

__all__ = [
    "Contract",
    "Dataset",
    "Hook",
    "Hyperparameters",
    "LoggedRun",
    "Logger",
    "MaxPool",
    "Moment",
    "Run",
    "Schedule",
    "Split",
    "Study",
    "Sums",
    "Task",
    "TrainState",
    "Trained",
    "adam",
    "adamw",
    "adapt",
    "assert_contract",
    "config",
    "contracts",
    "convolution",
    "create",
    "create_state",
    "data",
    "derive_contract",
    "epoch_order",
    "evaluate",
    "evaluation",
    "layers",
    "lion",
    "load",
    "max_pool",
    "models",
    "predict",
    "replace_head",
    "sgd",
    "tasks",
    "train",
    "train_step",
    "training",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"flaxcnn.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'flaxcnn' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
