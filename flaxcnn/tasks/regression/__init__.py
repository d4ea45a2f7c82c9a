"""Numbers for each image: squared, absolute or Huber loss of standardised targets, and errors in their own units."""

from flaxcnn.tasks.regression.task import Regression

__all__ = ["Regression"]
