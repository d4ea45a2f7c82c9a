"""Every picture can be drawn of every sweep, or a line says why not."""

import math
import random

import numpy as np
import pytest
from PIL import Image

from flaxcnn.sweeps.report.pictures import draw_sweep
from flaxcnn.sweeps.space import Choice, Float, Int, When
from flaxcnn.sweeps.trials import Status, Trial
from tests.sweeps.metrics import ACCURACY, LOSS, R2

RATE = "optimizer.learning_rate"
LARGE = {
    "optimizer.name": Choice("adamw", "sgd"),
    RATE: Float(1e-4, 1e-1, log=True),
    "optimizer.momentum": When("optimizer.name", "sgd", Float(0, 0.99)),
    "training.batch_size": Int(16, 256, log=True),
    "model.dropout": Choice(None, 0.1),
}
SMALL = {RATE: Float(1e-4, 1e-1, log=True)}
ALL = {"learning_curves.png", "parallel_coordinates.png", "hyperparameters.png", "importance.png"}


def sweep(count, space, loss=False, statuses=("complete", "stopped", "failed", "paused", "running", "waiting")):
    """Trials in every status, each the better the nearer its learning rate is to 0.01."""
    generator, trials = random.Random(0), []
    for number in range(count):
        params = {}
        for path, domain in space.items():
            if not isinstance(domain, When):
                params[path] = domain.at(generator.random())
            elif params[domain.path] in domain.wanted:
                params[path] = domain.domain.at(generator.random())
        status = Status(statuses[number % len(statuses)])
        ends = {"complete": 3, "stopped": 1, "failed": number % 2, "paused": 1, "running": 0, "waiting": 0}[status]
        error = 0.01 + 0.05 * abs(math.log10(params[RATE] / 0.01))
        values = [error + 0.8 / 4**rung for rung in range(ends)]
        reports = {100 * (rung + 1): value if loss else 1 - value for rung, value in enumerate(values)}
        scores = tuple(-value if loss else value for value in reports.values())
        trials.append(Trial(number, params, status, scores=scores, reports=reports))
    return trials


def drawn(folder):
    """The pictures of a folder, each checked to show something: (H, W, C) by name."""
    pictures = {path.name: np.asarray(Image.open(path).convert("RGB")) for path in folder.glob("*.png")}
    for name, picture in pictures.items():
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20, name
    return pictures


@pytest.mark.slow
@pytest.mark.parametrize(("count", "by"), [(24, LOSS), (100, ACCURACY), (24, R2)])
def test_a_large_sweep_has_all_of_them(tmp_path, count, by):
    trials = sweep(count, LARGE, loss=by == LOSS)
    assert draw_sweep(trials, LARGE, by, tmp_path) == []
    assert set(drawn(tmp_path)) == ALL


def test_one_searched_field_has_no_importance(tmp_path):
    missing = draw_sweep(sweep(24, SMALL), SMALL, ACCURACY, tmp_path)
    assert missing == ["importance.png is left out: only one field is searched"]
    assert set(drawn(tmp_path)) == ALL - {"importance.png"}


@pytest.mark.slow
def test_a_single_trial_has_no_importance(tmp_path):
    missing = draw_sweep(sweep(1, LARGE, statuses=["complete"]), LARGE, ACCURACY, tmp_path)
    assert missing == ["importance.png is left out: no ten trials were trained equally far"]
    assert set(drawn(tmp_path)) == ALL - {"importance.png"}


@pytest.mark.parametrize("count", [0, 5])
def test_a_sweep_that_has_measured_nothing_has_no_picture(tmp_path, count):
    missing = draw_sweep(sweep(count, LARGE, statuses=["running"]), LARGE, ACCURACY, tmp_path)
    assert [line.partition(" is ")[0].partition(" are ")[0] for line in missing] == [
        *("learning_curves.png", "parallel_coordinates.png and hyperparameters.png", "importance.png")
    ]
    assert drawn(tmp_path) == {}


def test_a_sweep_whose_trials_have_all_failed_is_drawn_as_far_as_they_came(tmp_path):
    draw_sweep(sweep(4, SMALL, statuses=["failed"]), SMALL, ACCURACY, tmp_path)
    assert set(drawn(tmp_path)) == ALL - {"importance.png"}


@pytest.mark.slow
def test_the_best_trial_alone_is_orange(tmp_path):
    orange = np.asarray([0xD5, 0x5E, 0x00])
    for folder, statuses in (("some", ["complete"]), ("none", ["failed"])):
        (tmp_path / folder).mkdir()
        draw_sweep(sweep(12, SMALL, statuses=statuses), SMALL, ACCURACY, tmp_path / folder)
        for name, picture in drawn(tmp_path / folder).items():
            shows = bool((picture == orange).all(-1).any())
            assert shows == (folder == "some"), name
