"""Training steps, states, optimizers and schedules: pure functions of a state and a batch."""

from flaxcnn.training.hyperparameters import Hyperparameters
from flaxcnn.training.optimizer import RuntimeOptimizer, adam, adamw, lion, sgd
from flaxcnn.training.plan import Plan
from flaxcnn.training.planned import PlannedOptimizer, planned
from flaxcnn.training.schedules import Schedule
from flaxcnn.training.state import TrainState, as_variables, create_state
from flaxcnn.training.step import train_block, train_step

__all__ = [
    "Hyperparameters",
    "Plan",
    "PlannedOptimizer",
    "RuntimeOptimizer",
    "Schedule",
    "TrainState",
    "adam",
    "adamw",
    "as_variables",
    "create_state",
    "lion",
    "planned",
    "sgd",
    "train_block",
    "train_step",
]
