"""Regression: squared, absolute or Huber loss of standardised targets, and errors in the targets' units."""

from flaxcnn.tasks.regression.task import Regression

__all__ = ["Regression"]
