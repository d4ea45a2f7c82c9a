"""An experiment's section `augmentation` with everything that it can hold."""

from flaxcnn.config import Augmentation

EVERYTHING = Augmentation(
    resized_crop=0.3,
    crop_padding=2,
    flip=0.5,
    shift=2.0,
    rotate=5.0,
    scale=0.1,
    shear=4.0,
    elastic=1.0,
    elastic_smoothness=3.0,
    randaugment=2,
    randaugment_magnitude=12.0,
    trivialaugment=True,
    augmix=3.0,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    gray=0.2,
    blur=0.5,
    blur_sigma=1.0,
    cutout=4,
    erase=0.25,
    erase_fill="zeros",
    mixup=0.2,
    cutmix=1.0,
)
