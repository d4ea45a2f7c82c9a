"""Classification: softmax cross-entropy, accuracy, and the usual metrics of a classifier."""

from flaxcnn.tasks.classification.task import Classification

__all__ = ["Classification"]
