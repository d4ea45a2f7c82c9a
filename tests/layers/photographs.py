"""Small photographs for tests, from scikit-learn's sample images."""

import functools

import numpy as np
from sklearn.datasets import load_sample_image

SIDES = {"flower": (slice(100, 164), slice(200, 272)), "china": (slice(180, 244), slice(260, 332))}


@functools.cache
def photograph(name):
    """Return a part of a photograph, uint8 (64, 72, 3)."""
    return np.ascontiguousarray(load_sample_image(f"{name}.jpg")[SIDES[name]])


def gray(name):
    """Return a photograph's green channel, uint8 (64, 72, 1)."""
    return photograph(name)[..., 1:2]


def as_floats(image):
    return image.astype(np.float32) / 255


def levels(image):
    return np.asarray(image, np.float64) * 255
