"""Random changes of training images, made on the device, each a function of the example's key alone.

An augmentation's strength is an array of the tree that it is, so another strength needs no other program; only what
decides a shape is part of the tree's structure.
"""

from flaxcnn.layers.augmentation.apply import augment, sources
from flaxcnn.layers.augmentation.exact import Cutout, RandomCrop, RandomFlip
from flaxcnn.layers.augmentation.mixup import MixUp, mix
from flaxcnn.layers.augmentation.protocol import Augmentation, Strength
from flaxcnn.layers.augmentation.warps import (
    Elastic,
    RandomRotation,
    RandomScale,
    RandomShear,
    RandomShift,
    Warp,
    resample,
)

__all__ = [
    "Augmentation",
    "Cutout",
    "Elastic",
    "MixUp",
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomScale",
    "RandomShear",
    "RandomShift",
    "Strength",
    "Warp",
    "augment",
    "mix",
    "resample",
    "sources",
]
