"""Layers and functions that the models share."""

from flaxcnn.layers.convolution import convolution
from flaxcnn.layers.pixels import to_float
from flaxcnn.layers.pooling import MaxPool, max_pool

__all__ = ["MaxPool", "convolution", "max_pool", "to_float"]
