"""The runs that these tests share: of shapes, and a model of each task."""

import numpy as np
import pytest

import flaxcnn
from flaxcnn import config, data
from flaxcnn.prediction.loading import load
from tests.shapes_run import shapes_run

__all__ = ["shapes_run"]

TASKS = [
    "several",
    *(pytest.param(each, marks=pytest.mark.slow) for each in ("classification", "regression", "multilabel")),
]


@pytest.fixture(scope="module", params=TASKS)
def trained(request, tmp_path_factory, light_programs):
    """A model of each task, with batch norm, constants and views."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 12, 12, 3), np.uint8)
    amounts, labels = images.mean((1, 2, 3)).astype("f4"), rng.random((40, 4)) < 0.5
    kinds = labels[:, 0].astype("i4")
    targets = {
        "classification": kinds,
        "regression": amounts,
        "multilabel": labels,
        "several": {"a": kinds, "b": amounts},
    }
    names = {"classification": ("no", "yes"), "regression": ("x",), "multilabel": tuple("abcd"),
             "several": {"a": ("no", "yes"), "b": ("x",)}}  # fmt: skip
    task, several = request.param, ("a=classification", "b=regression")
    experiment = config.Experiment(
        task=config.Task(task, heads=several if task == "several" else ()),
        model=config.Model("small_cnn", normalization="dataset", tta="flip" if task == "classification" else "none"),
        training=config.Training(epochs=1, batch_size=10),
    )
    own = data.from_arrays(images, targets[task], test_fraction=0.25, target_names=names[task])
    return load(flaxcnn.train(experiment, dataset=own, out=tmp_path_factory.mktemp("s") / "run", quiet=True).folder)
