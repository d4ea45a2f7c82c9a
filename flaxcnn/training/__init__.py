"""Training as pure functions of a state and a batch."""

from flaxcnn.training.optimizer import RuntimeOptimizer, adam
from flaxcnn.training.state import TrainState, as_variables, create_state
from flaxcnn.training.step import train_block, train_step

__all__ = ["RuntimeOptimizer", "TrainState", "adam", "as_variables", "create_state", "train_block", "train_step"]
