"""Different photographs that packages ship, as RGB pictures."""

import numpy as np
import PIL.Image
from skimage import data
from sklearn.datasets import load_sample_images


def photographs():
    """Return photographs of different things, PIL images in RGB."""
    names = ("astronaut", "camera", "chelsea", "coffee", "coins", "rocket", "retina", "moon")
    arrays = [*load_sample_images().images, *(getattr(data, name)() for name in names)]
    return [PIL.Image.fromarray(np.asarray(array)).convert("RGB") for array in arrays]


def square(picture, side, shift=(0.0, 0.0)):
    """Return a square of three quarters of a picture's shorter side, moved by fractions of the square's side."""
    extent = min(picture.size) * 3 // 4
    left = (picture.width - extent) // 2 + round(shift[1] * extent)
    top = (picture.height - extent) // 2 + round(shift[0] * extent)
    return picture.crop((left, top, left + extent, top + extent)).resize((side, side), PIL.Image.Resampling.BICUBIC)
