"""One class for each image: softmax cross-entropy, accuracy, and every usual metric of a classifier."""

from flaxcnn.tasks.classification.task import Classification

__all__ = ["Classification"]
