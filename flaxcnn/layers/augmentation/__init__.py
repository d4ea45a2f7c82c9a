"""Random augmentation of training images on the device; each change is a function of the example's key alone.

An augmentation is a pytree with its strength as a leaf, so changing a strength does not recompile. Only values that
determine a shape are static.
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
