"""Evaluation: sums over every example exactly once, and the reports and pictures made of them."""

from flaxcnn.evaluation.sums import Sums, evaluate, predict, sums_of

__all__ = ["Sums", "evaluate", "predict", "sums_of"]
