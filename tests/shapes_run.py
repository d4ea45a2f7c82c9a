"""A run on a folder of drawn shapes, whose data are gone."""

import shutil
from pathlib import Path

import pytest

from tests.studies.conftest import draw_shapes


@pytest.fixture(scope="session")
def shapes_run(commands, tmp_path_factory):
    """The folder of a finished run on drawn shapes that lie beside it, and its test images' paths, in order."""
    above = tmp_path_factory.mktemp("shapes-run")
    for split, each, seed in (("train", 20, 0), ("val", 8, 1), ("test", 8, 2)):
        draw_shapes(above / "photos" / split, each, seed)
    options = ("--data", "folder:photos", "--data.size", "20", "24", "--training.epochs", "3", "--batch_size", "8")
    done = commands.run(["train", *options, "--optimizer.learning_rate", "0.003", "--out", "run"], above, seconds=300)
    assert done.returncode == 0, done.stderr
    shutil.move(above / "photos", above / "elsewhere")
    return above / "run", sorted((above / "elsewhere" / "test").rglob("*.png"), key=Path.as_posix)
