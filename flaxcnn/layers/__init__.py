"""Layers and functions that the models share."""

from flaxcnn.layers.convolution import Conv, convolution, portable
from flaxcnn.layers.detection_head import DetectionHead
from flaxcnn.layers.normalization import BatchNorm
from flaxcnn.layers.pixels import to_float
from flaxcnn.layers.pooling import MaxPool, max_pool

__all__ = ["BatchNorm", "Conv", "DetectionHead", "MaxPool", "convolution", "max_pool", "portable", "to_float"]
