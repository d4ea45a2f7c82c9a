"""A range test rises through the learning rates, ends where the loss does, and suggests what a curve shows."""

import csv
import dataclasses
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from flaxcnn.config import Checkpoint, Data, Experiment, Schedule, Training, load_experiment
from flaxcnn.errors import ConfigError
from flaxcnn.runs.setup import set_up
from flaxcnn.runs.tools.lr_find import (
    RangeTest,
    diverged,
    learning_rates,
    lr_find,
    range_test,
    suggest,
    with_constant_rate,
)

pytestmark = pytest.mark.sweeps

# Root may write where permissions forbid it; other users don't have the right that is given up here.
WITHOUT_ROOT_RIGHTS = """
import ctypes
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
"""

STEPS = 200


def curve(*, steepest, rises=np.inf, first=2.3, noise=0.0, low=1e-6, high=10.0):
    """A loss that falls along a logistic curve of the rate's logarithm, and rises along a line after another rate."""
    rates = np.geomspace(low, high, STEPS)
    decades = np.log10(rates)
    losses = first - 0.9 * first / (1 + np.exp(-4 * (decades - np.log10(steepest))))
    losses += np.where(rates > rises, 3 * (decades - np.log10(rises)), 0.0)
    losses += noise * np.random.default_rng(0).standard_normal(STEPS)
    return RangeTest(rates, losses, False)


@pytest.mark.parametrize("steepest", [1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_steepest_rate_of_a_logistic_curve_is_found_within_a_third_of_a_decade(steepest, noise):
    found = suggest(curve(steepest=steepest, rises=30 * steepest, noise=noise), STEPS)
    assert abs(np.log10(found.steepest / steepest)) < 1 / 3


def test_the_minimum_is_where_a_falling_line_turns_and_a_tenth_of_it_is_suggested():
    rates = np.geomspace(1e-6, 10, STEPS)
    turn = 0.05
    losses = 2 + 0.5 * np.abs(np.log10(rates / turn))
    found = suggest(RangeTest(rates, losses, False), STEPS)
    assert abs(np.log10(found.minimum / turn)) < 0.3  # the mean of a kink's two sides turns a little later
    assert found.tenth == pytest.approx(found.minimum / 10)
    assert found.recommended == pytest.approx((found.steepest * found.tenth) ** 0.5)


def test_the_mean_of_a_straight_line_lies_on_it():
    rates = np.geomspace(1e-6, 10, STEPS)
    test = RangeTest(rates, 2 - 0.1 * np.log(rates), False)
    mean_rates, mean_losses = test.means
    np.testing.assert_allclose(mean_losses, 2 - 0.1 * np.log(mean_rates), rtol=1e-12)


def test_the_running_mean_is_exponential_and_corrected_for_its_start():
    rates, losses = np.array([1.0, 10.0, 100.0]), np.array([3.0, 2.0, 4.0])
    _, means = RangeTest(rates, losses, False).means
    np.testing.assert_allclose(means, [3, (0.9 * 3 + 2) / 1.9, (0.81 * 3 + 0.9 * 2 + 4) / 2.71])


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_loss_that_stays_suggests_nothing(noise):
    assert suggest(curve(steepest=1e9, noise=noise), STEPS) is None


def test_a_loss_that_rises_at_once_and_comes_back_to_where_it_was_suggests_nothing():
    rates = np.geomspace(0.1, 10, STEPS)
    losses = np.concatenate([[2.3], 2.3 + 5 * np.exp(-np.arange(STEPS - 1) / 30)])
    assert suggest(RangeTest(rates, losses, False), STEPS) is None


def test_a_test_that_ended_within_its_first_tenth_suggests_nothing():
    assert suggest(RangeTest(np.geomspace(1, 10, 5), np.array([2.3, 9, 30, 90, 300]), True), STEPS) is None


def test_a_loss_of_0_suggests_nothing():
    assert suggest(RangeTest(np.geomspace(1e-6, 10, STEPS), np.zeros(STEPS), False), STEPS) is None


@pytest.mark.parametrize(
    ("losses", "ends"),
    [
        ([], False),
        ([2, 2, 70], True),  # (0.81 · 2 + 0.9 · 2 + 70) / 2.71 = 27.1, above 4 · 2
        ([1, 1, 10], True),  # 11.71 / 2.71 = 4.3
        ([1, 1, 9], False),  # 10.71 / 2.71 = 3.95
    ],
)
def test_a_mean_above_four_times_the_best_ends_the_test(losses, ends):
    assert diverged(losses) is ends


@pytest.mark.parametrize(
    ("low", "high", "steps", "where"),
    [
        (0.0, 1.0, 200, "--low"),
        (float("nan"), 1.0, 200, "--low"),
        (1e-3, 1e-3, 200, "--high"),
        (1e-3, float("inf"), 200, "--high"),
        (1e-3, 1.0, 19, "--steps"),
        (1e-3, 1.0, 29, "--steps"),  # ten for each of three powers of ten
        (1e-6, 10.0, 69, "--steps"),
        (1e-6, 10.0, 10**22, "--steps"),
    ],
)
def test_a_range_that_is_none_is_refused(low, high, steps, where):
    with pytest.raises(ConfigError, match=f"^{where}: out of range"):
        learning_rates(low, high, steps)


def test_rates_rise_by_the_same_factor_from_the_first_to_the_last():
    np.testing.assert_allclose(learning_rates(1e-4, 1.0, 41)[::10], [1e-4, 1e-3, 1e-2, 1e-1, 1])


@pytest.mark.parametrize("steepest", [1e-4, 1e-3, 1e-2])
def test_the_fewest_steps_find_the_steepest_rate_within_a_factor_of_four(steepest):
    rates = learning_rates(1e-6, 10.0, 70)
    losses = 2.3 - 2 / (1 + (steepest / rates) ** 1.7)  # steepest where both terms of the denominator are 1
    found = suggest(RangeTest(rates, losses, False), 70)
    assert steepest / 4 < found.steepest < 4 * steepest


def experiment_on(small_mnist, **sections):
    sections = {"data": Data(f"idx:{small_mnist}"), "training": Training(batch_size=50), **sections}
    return Experiment(**sections)


def test_streamed_images_give_the_same_losses_and_more_steps_than_an_epoch_has(small_mnist):
    rates = learning_rates(1e-4, 1e-2, 30)  # an epoch has 20 steps
    found = []
    for memory in (None, 0):
        experiment = experiment_on(small_mnist, data=Data(f"idx:{small_mnist}", device_memory=memory, workers=0))
        found.append(range_test(set_up(with_constant_rate(experiment, 30)), rates))
    assert len(found[0].losses) == 30
    np.testing.assert_array_equal(found[0].losses, found[1].losses)
    assert found[0].losses[0] == pytest.approx(np.log(10), abs=0.05)  # a guess among ten classes


def test_neither_schedule_nor_patience_act_in_the_test(small_mnist):
    rates = learning_rates(1e-4, 1e-2, 20)
    plain = range_test(set_up(with_constant_rate(experiment_on(small_mnist), 20)), rates)
    held = experiment_on(
        small_mnist,
        data=Data(f"idx:{small_mnist}"),
        training=Training(batch_size=50, epochs=3, steps=2),
        schedule=Schedule("cosine", warmup_epochs=1.0),
        checkpoint=Checkpoint(keep_best="train_loss", final="best"),
    )
    np.testing.assert_array_equal(range_test(set_up(with_constant_rate(held, 20)), rates).losses, plain.losses)


def test_a_loss_that_is_not_finite_ends_the_test_and_is_not_among_its_points(small_mnist):
    setup = set_up(with_constant_rate(experiment_on(small_mnist), 40))
    test = range_test(setup, np.geomspace(1e-3, 1e38, 40))
    assert test.diverged
    assert 0 < len(test.losses) < 40
    assert np.isfinite(test.losses).all()


def test_the_papers_experiment_gets_a_rate_near_the_papers_and_trains_with_it(flaxcnn, tmp_path):
    done = flaxcnn("lr-find", "paper_mnist", "--data.validation", "0.1", "--out", "found/rates.png")
    assert done.returncode == 0, done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["found"]
    assert {each.name for each in (tmp_path / "found").iterdir()} == {"rates.png", "rates.csv"}
    with Image.open(tmp_path / "found" / "rates.png") as picture:
        assert min(picture.size) > 300
    with (tmp_path / "found" / "rates.csv").open(encoding="utf-8") as file:
        points = list(csv.DictReader(file))
    assert float(points[0]["learning_rate"]) == pytest.approx(1e-6)
    assert 100 < len(points) < 200  # it ended before 10, where Adam diverges
    words = shlex.split(done.stdout.splitlines()[-1])
    first = words.index("train")
    assert words[first + 1] == "paper_mnist"
    assert words[words.index("--data.validation") + 1] == "0.1"
    assert 1e-4 < float(words[words.index("--optimizer.learning_rate") + 1]) < 1e-2
    trained = flaxcnn(*words[first:], "--training.steps", "300", "--out", "run")
    assert trained.returncode == 0, trained.stderr
    assert float(re.search(r"validation +(\S+) on", trained.stdout)[1]) > 0.9


def test_the_command_that_trains_has_what_was_changed_and_nothing_else(small_mnist, tmp_path, capsys):
    file = load_experiment("paper_mnist")
    optimizer = dataclasses.replace(file.experiment.optimizer, name="sgd", nesterov=True)
    training = dataclasses.replace(file.experiment.training, class_weights=(1.0,) * 10)
    changed = {"optimizer": optimizer, "training": training, "data": Data(f"idx:{small_mnist}")}
    experiment = dataclasses.replace(file.experiment, **changed)
    assert lr_find(file, experiment, "paper_mnist", low=1e-4, high=1.0, steps=60, out=str(tmp_path / "a.png")) == 0
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    options = words[words.index("paper_mnist") + 1 :]
    rate = options.pop(options.index("--optimizer.learning_rate") + 1)
    assert float(rate) > 0
    assert sorted(options) == sorted(
        [
            *("--data.source", f"idx:{small_mnist}", "--optimizer.name", "sgd", "--optimizer.nesterov"),
            *("--optimizer.learning_rate", "--training.class_weights", *["1.0"] * 10),
        ]
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--low", "1e-9", "--high", "1e-8"), "the loss falls at no learning rate. Try a larger --high"),
        (("--low", "5", "--high", "50"), "the loss falls at no learning rate"),
        (("--training.class_weights", "3e38", *"111111111"), "the first loss, before any update, is not finite"),
        (("--training.steps", "10", "--checkpoint.keep_best", "train_loss"), "logging.every: nothing to choose from"),
        (("--out", "there.png"), "there.png: a folder, not a file; expected a file"),
        (("--out", "beside.png"), "beside.csv: a folder, not a file; expected a file"),
        (("--out", "picture.jpg"), "--out: not a picture's name; expected a path that ends in .png"),
        (("--low", "1", "--high", "0.1"), "--high: out of range; expected a number above --low, 1, found 0.1"),
        (("--batch_size", "10", "--training.batch_size", "20"), "given twice; expected one of them, found 20 and 10"),
        (("--batch-size", "many"), "--batch_size: wrong type; expected a whole number or 'auto' or None, found 'many'"),
        (("--batch-size", "0"), "training.batch_size: out of range; expected at least 1, found 0"),
    ],
)
def test_what_cannot_be_is_one_line(words, line, flaxcnn, small_mnist, tmp_path):
    for name in ("there.png", "beside.csv"):
        (tmp_path / name).mkdir()
    done = flaxcnn("lr-find", "--data.source", f"idx:{small_mnist}", "--steps", 70, *words)
    assert done.returncode == 2, done.stdout
    (error,) = done.stderr.splitlines()
    assert line in error


@pytest.mark.parametrize(
    ("words", "line", "left"),
    [
        (("--out", "locked/a.png"), "locked: cannot write: Permission denied", {"locked"}),
        (("--out", "new/a.png", "--data.source", "idx:nowhere"), "nowhere: cannot read the folder", {"locked"}),
    ],
)
def test_where_nothing_can_be_written_nothing_is_tested_and_a_mistake_leaves_no_folder(
    words, line, left, flaxcnn, small_mnist, tmp_path
):
    (tmp_path / "locked").mkdir(mode=0o500)
    done = flaxcnn("lr-find", "--data.source", f"idx:{small_mnist}", *words, first=WITHOUT_ROOT_RIGHTS)
    assert (done.returncode, done.stdout) == (2, "")
    assert line in done.stderr
    assert {each.name for each in tmp_path.iterdir()} == left


def test_an_interrupt_ends_the_test_between_two_steps_and_writes_nothing(
    command_environment, tmp_path, tmp_path_factory
):
    words = [sys.executable, "-m", "flaxcnn", "lr-find", "--steps", "100000", "--high", "1e-3"]
    cache = tmp_path_factory.mktemp("cache")
    environment = {**command_environment, "XDG_CACHE_HOME": str(cache)}
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not list(cache.rglob("jit_run_block-*")):
            time.sleep(0.02)  # until the steps are compiled, and begin
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert "Traceback" not in process.stderr.read()
    assert list(tmp_path.iterdir()) == []
