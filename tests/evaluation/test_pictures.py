"""What a paper printed is drawn as a line beside the run, and a band of any width fits the picture."""

import numpy as np
import PIL.Image
import pytest

from flaxcnn.config import PublishedRow
from flaxcnn.evaluation.pictures import draw_curves, draw_over_seeds
from flaxcnn.evaluation.reproduction import compared_rows
from flaxcnn.evaluation.table import LoggedRow
from flaxcnn.tasks import Classification

PAPER = [PublishedRow(0, 2.3, 0.1), PublishedRow(500, 0.1, 0.9)]
ACCURACY = ("accuracy", Classification().metrics["accuracy"])
RED = (214, 39, 40)  # of matplotlib's "tab:red"


def rows(*losses):
    return [LoggedRow(100 * at, 0, loss, {"test_accuracy": 0.5}, 0.001, 1, 1, 1) for at, loss in enumerate(losses)]


def columns_with_red(path):
    """For each half of the picture, one for each axes: the fraction of the columns between the points that hold red."""
    pixels = np.asarray(PIL.Image.open(path).convert("RGB")).astype(int)
    fractions = []
    for half in np.array_split(pixels, 2):
        red = (np.abs(half - RED).sum(axis=2) < 120).any(axis=0)
        positions = np.flatnonzero(red)
        fractions.append(red[positions[0] : positions[-1]].mean())
    return fractions


def test_a_papers_values_are_a_line_beside_the_run(tmp_path):
    draw_curves(rows(2.3, 1.0, 0.5, 0.3, 0.2, 0.1), PAPER, ACCURACY, "a run", tmp_path / "curves.png")
    assert min(columns_with_red(tmp_path / "curves.png")) > 0.5  # dashed; of two points alone it would be 0.02


@pytest.mark.parametrize("last", [0.1, 1e-30, 1e30])
def test_over_seeds_the_papers_run_is_a_line_beside_the_band_however_wide_that_is(last, tmp_path):
    runs = [rows(2.3, 1.0, 0.5, 0.3, 0.2, 0.12), rows(2.4, 1.1, 0.4, 0.3, 0.3, last)]
    draw_over_seeds(compared_rows(runs, PAPER, "test_accuracy"), ACCURACY, "two seeds", tmp_path / "seeds.png")
    assert min(columns_with_red(tmp_path / "seeds.png")) > 0.5
