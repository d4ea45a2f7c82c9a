"""A folder of drawn shapes, and study files over it."""

import numpy as np
import PIL.Image
import pytest

STUDY = """
'''Is one rate better?'''
from flaxcnn import Study
from flaxcnn.config import *

study = Study(
    base=Experiment(
        data=Data(size=(16,)), training=Training(epochs=2, batch_size=8), checkpoint=Checkpoint(every=3),
    ),
    {more}
)
"""


def draw_shapes(folder, each=12, seed=0):
    """Write small gray images of three classes, one of which has twice as many images as each other; return it."""
    rng = np.random.default_rng(seed)
    for kind in ("circle", "cross", "square <b>&"):
        (folder / kind).mkdir(parents=True)
        for number in range(each * (2 if kind == "circle" else 1)):
            image = rng.integers(0, 120, (16, 16)).astype(np.uint8)
            row, column = rng.integers(2, 6, 2)
            if kind == "circle":
                rows, columns = np.mgrid[:16, :16]
                image[(rows - row - 4) ** 2 + (columns - column - 4) ** 2 < 16] = 220
            elif kind == "cross":
                image[row + 3 : row + 5, column : column + 8] = 220
                image[row : row + 8, column + 3 : column + 5] = 220
            else:
                image[row : row + 8, column : column + 8] = 220
            PIL.Image.fromarray(image).save(folder / kind / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """A folder of 48 drawn images in three classes."""
    return draw_shapes(tmp_path_factory.mktemp("shapes") / "shapes")


@pytest.fixture
def study_file(tmp_path):
    """Write a study file: `study_file('entries={...}, folds=2')`."""

    def write(more, name="tiny.py"):
        path = tmp_path / name
        path.write_text(STUDY.replace("{more}", more))
        return path

    return write
