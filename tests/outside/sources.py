"""Data of a user's own, made of `images.npz` beside this file: arrays, and a random-access source."""

from pathlib import Path

import numpy as np

from flaxcnn.data import from_arrays, from_source

FILE = Path(__file__).parent / "images.npz"


class Rows:
    """A random-access source, as TensorFlow Datasets, Grain and Hugging Face have them."""

    def __init__(self, split):
        with np.load(FILE) as arrays:
            self.images, self.labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, position):
        return {"image": self.images[position], "label": int(self.labels[position])}


def arrays():
    train, test = Rows("train"), Rows("test")
    return from_arrays(train.images, train.labels, test=(test.images, test.labels))


def random_access():
    return from_source(Rows("train"), Rows("test"), in_memory=0)
