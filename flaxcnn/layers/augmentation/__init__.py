"""Random augmentation of training images on the device; each change is a function of the example's key alone.

An augmentation is a pytree with its strength as a leaf, so changing a strength does not recompile. Only values that
determine a shape are static.
"""

from flaxcnn.layers.augmentation.apply import augment, sources
from flaxcnn.layers.augmentation.exact import Cutout, RandomCrop, RandomFlip
from flaxcnn.layers.augmentation.mixup import CutMix, Mixing, MixUp, MixUpOrCutMix, mix
from flaxcnn.layers.augmentation.mosaic import Mosaic, Tiles, tiled
from flaxcnn.layers.augmentation.photographs import ColorJitter, GaussianBlur, RandomGray
from flaxcnn.layers.augmentation.policies import AugMix, RandAugment, TrivialAugment
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
from flaxcnn.layers.augmentation.windows import RandomErasing, RandomResizedCrop

__all__ = [
    "AugMix",
    "Augmentation",
    "ColorJitter",
    "CutMix",
    "Cutout",
    "Elastic",
    "GaussianBlur",
    "MixUp",
    "MixUpOrCutMix",
    "Mixing",
    "Mosaic",
    "RandAugment",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "RandomGray",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomScale",
    "RandomShear",
    "RandomShift",
    "Strength",
    "Tiles",
    "TrivialAugment",
    "Warp",
    "augment",
    "mix",
    "resample",
    "sources",
    "tiled",
]
