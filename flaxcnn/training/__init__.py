"""Training steps, states, optimizers and schedules: pure functions of a state and a batch."""

from flaxcnn.training.hyperparameters import Hyperparameters
from flaxcnn.training.optimizer import RuntimeOptimizer, adam, adamw, lion, sgd
from flaxcnn.training.schedules import Schedule
from flaxcnn.training.state import TrainState, as_variables, create_state
from flaxcnn.training.step import train_block, train_step

__all__ = [
    "Hyperparameters",
    "RuntimeOptimizer",
    "Schedule",
    "TrainState",
    "adam",
    "adamw",
    "as_variables",
    "create_state",
    "lion",
    "sgd",
    "train_block",
    "train_step",
]
