"""Multilabel classification: sigmoid cross-entropy, average precision, F1 and a threshold for each label."""

from flaxcnn.tasks.multilabel.task import Multilabel

__all__ = ["Multilabel"]
