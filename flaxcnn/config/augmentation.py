"""The section `augmentation` of an experiment: which random changes the training images get, and how strong."""

from dataclasses import dataclass
from typing import Literal

from flaxcnn.config.checks import check_types, require, require_at_least_0
from flaxcnn.errors import ConfigError

_MOST = 2**31 - 1  # the largest int32: pixel positions are int32
_MOST_OPERATIONS = 100
# Fields that say more about another one, which has to be in use.
_DETAILS = {
    "resized_crop_aspect": "resized_crop",
    "elastic_smoothness": "elastic",
    "randaugment_magnitude": "randaugment",
    "blur_sigma": "blur",
    "erase_fill": "erase",
}


@dataclass(frozen=True)
class Augmentation:
    """Random changes of the training images, made on the device. 0 turns one off.

    They are applied in the order listed. Changing a strength does not recompile; turning one on or off does.
    """

    resized_crop: float = 0.0
    """Random resized crop: the least area of the window that is cut and resized to the image's size, as a fraction of
    the image's; the greatest is 1. 0.08 is usual for ImageNet."""
    resized_crop_aspect: float = 4 / 3
    """Greatest aspect ratio of that window, at least 1; the least is its inverse."""
    crop_padding: int = 0
    """Random crop: pad each side with this many pixels of zeros, at most the image's longer side, then crop back to
    the original size at a random position."""
    flip: float = 0.0
    """Probability of a left-right flip."""
    shift: float = 0.0
    """Maximum shift in pixels, in each direction."""
    rotate: float = 0.0
    """Maximum rotation in degrees, in each direction."""
    scale: float = 0.0
    """Maximum zoom in or out, as a fraction: 0.1 for up to 10 %."""
    shear: float = 0.0
    """Maximum shear in degrees, in each direction."""
    elastic: float = 0.0
    """Standard deviation of an elastic deformation, in pixels."""
    elastic_smoothness: float = 4.0
    """Standard deviation of the Gaussian that smooths the elastic deformation, in pixels, 0.01 to 1,000,000."""
    randaugment: int = 0
    """RandAugment: operations for each image, drawn from 14 of Pillow's, at most 100; 2 in the paper."""
    randaugment_magnitude: float = 9.0
    """RandAugment: the operations' magnitude, 0 to 30, as in torchvision."""
    trivialaugment: bool = False
    """TrivialAugment: one operation of random magnitude for each image."""
    augmix: float = 0.0
    """AugMix: the operations' greatest severity, at most 10; 3 in the paper. Not for targets that move with pixels."""
    brightness: float = 0.0
    """Colour jitter: factor of the pixels, uniform in 1 ± this."""
    contrast: float = 0.0
    """Colour jitter: factor of the contrast, uniform in 1 ± this."""
    saturation: float = 0.0
    """Colour jitter: factor of the saturation, uniform in 1 ± this; gray images stay."""
    hue: float = 0.0
    """Colour jitter: turn of the hue, uniform in ± this part of the circle of colours, at most 0.5; gray images
    stay."""
    gray: float = 0.0
    """Probability that a colour image becomes gray."""
    blur: float = 0.0
    """Probability of a Gaussian blur."""
    blur_sigma: float = 2.0
    """Greatest standard deviation of the blur in pixels, 0.1 to 20; the least is 0.1."""
    cutout: int = 0
    """Side in pixels of a square of zeros at a random position; at most the image's longer side."""
    erase: float = 0.0
    """Probability of random erasing: of a rectangle of 2 to 33 % of the image, at a random position."""
    erase_fill: Literal["noise", "zeros"] = "noise"
    """What the erased rectangle becomes."""
    mixup: float = 0.0
    """MixUp's alpha: pairs of images and their labels are mixed in proportions drawn from Beta(alpha, alpha)."""
    cutmix: float = 0.0
    """CutMix's alpha: a rectangle of one image is set into another, and their labels are mixed by area, drawn from
    Beta(alpha, alpha). With mixup, each pair gets either, as likely."""
    mosaic: float = 0.0
    """detection: the probability that an image is made of parts of four, with their boxes."""

    def __post_init__(self) -> None:
        check_types("augmentation", self)

        def within(name: str, low: float, high: float, expected: str) -> None:
            value = getattr(self, name)
            require(low <= value <= high, f"augmentation.{name}", expected, value)

        for name in (
            *("crop_padding", "shift", "elastic", "cutout", "mixup", "cutmix"),
            *("brightness", "contrast", "saturation"),
        ):
            require_at_least_0(getattr(self, name), f"augmentation.{name}")
        require(self.cutout <= _MOST, "augmentation.cutout", f"at most {_MOST:,}", self.cutout)
        for name, below in (("scale", 1), ("shear", 90)):
            require(0 <= getattr(self, name) < below, f"augmentation.{name}", f"0 to {below}", getattr(self, name))
        for name, most in (
            *((each, 1) for each in ("flip", "resized_crop", "gray", "blur", "erase", "mosaic")),
            *(("hue", 0.5), ("augmix", 10), ("rotate", 180), ("randaugment", _MOST_OPERATIONS)),
            ("randaugment_magnitude", 30),
        ):
            within(name, 0, most, f"0 to {most}")
        within("resized_crop_aspect", 1, 100, "1 to 100")
        within("elastic_smoothness", 0.01, 1e6, "0.01 to 1,000,000")
        within("blur_sigma", 0.1, 20, "0.1 to 20")
        if self.mosaic and (self.mixup or self.cutmix):
            raise ConfigError("not beside MixUp or CutMix", where="augmentation.mosaic", expected=0, found=self.mosaic)
        for name, owner in _DETAILS.items():
            if not getattr(self, owner) and getattr(self, name) != getattr(type(self), name):
                raise ConfigError(
                    "changes nothing", where=f"augmentation.{name}", expected=f"an augmentation.{owner} above 0"
                )
