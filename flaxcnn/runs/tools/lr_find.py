"""The learning-rate range test, `flaxcnn lr-find`: one step at each of many increasing rates, and suggested rates.

Source: L. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3. The geometric rates,
the stop at four times the best mean loss, and both suggestions follow fastai's `lr_find`, whose running mean has the
decay 0.98 and lags behind the rates. The test uses only training images and creates no run folder.
"""

import csv
import dataclasses
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rich.progress import track

from flaxcnn.config import Checkpoint, Experiment, ExperimentFile, Schedule
from flaxcnn.config.checks import require
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.evaluation.pictures import draw_range_test, smoothed
from flaxcnn.files import cannot_write, user_path
from flaxcnn.runs.folder.changes import changes
from flaxcnn.runs.folder.environment import device_line
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.given import Loaded
from flaxcnn.runs.output.console import RunConsole
from flaxcnn.runs.setup import Setup, set_up
from flaxcnn.runs.stop import StopRequest
from flaxcnn.terminal import command
from flaxcnn.training import TrainState
from flaxcnn.training.device_layout import DeviceLayout
from flaxcnn.training.loop import BlockRunner

FEWEST_STEPS, MOST_STEPS = 20, 1_000_000
STEPS_A_DECADE = 10  # at least: the mean is of about ten, and over a wider range it finds rates that are far too small
_WEIGHT = 0.9  # of a loss in the running mean, against that of the next one
_DIVERGED = 4.0  # times the best mean
_LEAST_FALL = 0.05  # of the loss, below which it is taken for noise

Floats = npt.NDArray[np.float64]


class RangeTest(NamedTuple):
    """The losses of a range test.

    Attributes:
        rates: of the steps that were made, rising, (N,).
        losses: of each step's batch, before its update, in nats, (N,).
        diverged: whether the test ended since the loss did not stay within bounds.
    """

    rates: Floats
    losses: Floats
    diverged: bool

    @property
    def means(self) -> tuple[Floats, Floats]:
        """Running means of rates and losses, (N,) each: both with the same weights, so that the curve does not lag.

        A loss has 0.9 of the weight of the next one, and the weights are divided by their sum.
        """
        logs = smoothed(np.log(self.rates).tolist(), _WEIGHT)
        return np.exp(logs), np.array(smoothed(self.losses.tolist(), _WEIGHT), np.float64)


class Suggestions(NamedTuple):
    """The learning rates that a range test suggests.

    Attributes:
        steepest: where the mean loss falls fastest over the logarithm of the rate, before its minimum.
        minimum: where it is lowest.
    """

    steepest: float
    minimum: float

    @property
    def tenth(self) -> float:
        """A tenth of the rate at the minimum."""
        return self.minimum / 10

    @property
    def recommended(self) -> float:
        """The geometric mean of the two: each alone moves by a factor of up to five from one seed to another."""
        return math.sqrt(self.steepest * self.tenth)


def lr_find(
    file: ExperimentFile, experiment: Experiment, config: str, *, low: float, high: float, steps: int, out: str
) -> int:
    """Make a range test of an experiment, draw it, write its points, and print what it suggests.

    Args:
        file: the experiment's file.
        experiment: the experiment: the file's, with what the command line changed.
        config: what the user calls the file, for the command that trains with the suggestion.
        low: the first learning rate.
        high: the last one.
        steps: how many rates, and steps.
        out: path of the picture, which ends in .png; the points go beside it, as .csv.

    Returns:
        The exit code: 0, or 130 or 143 where a signal stopped the test; then nothing is written.

    Raises:
        ConfigError: an argument out of its range, or an experiment that could not be trained after the test; or the
            loss falls at none of the rates, which the picture shows.
        FlaxcnnError: as `set_up`; or a file cannot be written.
    """
    rates, picture = learning_rates(low, high, steps), _picture(out)
    trained = set_up(experiment)  # as it is: the command that is recommended has to run
    if trained.dataset.has_classes and (only := np.unique(trained.train.targets)).size == 1:
        raise DataError(
            "no learning rate to find: all training images are of one class",
            where=trained.dataset.source,
            expected="images of two classes or more",
            found=f"class {trained.dataset.target_names[only[0]]} alone",
        )
    loaded = Loaded(trained.dataset, trained.train, trained.validation)
    setup = set_up(with_constant_rate(experiment, steps), loaded)
    _require_writable(picture)
    print(
        f"{file.name}: {experiment.optimizer.name} at {steps:,} rates from {low:g} to {high:g}, "
        f"a step of {setup.calendar.batch_size:,} images at each, on {device_line(setup.layout.mesh.size)}",
        flush=True,
    )
    with StopRequest() as stop:
        test = range_test(setup, rates, wants_stop=lambda: stop.signal is not None)
    if stop.signal is not None:
        return stop.exit_code
    found = suggest(test, steps)
    is_drawn = _write(test, found, f"{file.name}, {experiment.optimizer.name}: learning-rate range test", picture)
    if is_drawn:
        print(f"picture  {picture}")
    print(f"points   {picture.with_suffix('.csv')}")
    if test.diverged and len(test.rates):
        print(f"ended    at {test.rates[-1]:.2g}, after {len(test.rates):,} steps: the loss grew out of bounds")
    if found is None:
        raise _nothing_falls(test)
    print(f"falls fastest at              {found.steepest:.2g}")
    print(f"a tenth of that at its lowest {found.tenth:.2g}  (lowest at {found.minimum:.2g})")
    if not test.diverged and found.minimum >= test.means[0][-2]:
        print(f"the loss still fell at {high:g}: a larger --high may find a larger rate")
    peak = "" if experiment.schedule == Schedule() else f", the peak of the {experiment.schedule.name} schedule"
    print(f"\nrecommended: {found.recommended:.2g}, between the two{peak}; train with it:")
    print(command("train", config, *_options(file.experiment, experiment, float(f"{found.recommended:.2g}"))))
    return 0


def learning_rates(low: float, high: float, steps: int) -> Floats:
    """Return rates that rise geometrically, (steps,), the first and the last one as given.

    Raises:
        ConfigError: they do not rise, are no float32, or are too few.
    """
    require(1.2e-38 < low < math.inf, "--low", "a number above 0", low)
    require(low < high < 3.4e38, "--high", f"a number above --low, {low:g}", high)
    fewest = max(FEWEST_STEPS, math.ceil(round(STEPS_A_DECADE * math.log10(high / low), 6)))
    expected = f"at least {fewest}"
    if fewest > FEWEST_STEPS:
        expected += f", {STEPS_A_DECADE} for each power of ten from --low to --high"
    require(fewest <= steps, "--steps", expected, steps)
    require(steps <= MOST_STEPS, "--steps", f"at most {MOST_STEPS:,}", steps)
    return np.geomspace(low, high, steps)


def with_constant_rate(experiment: Experiment, steps: int) -> Experiment:
    """Return the experiment with so many steps, in which no schedule moves the rate and nothing ends them sooner."""
    training = dataclasses.replace(experiment.training, epochs=steps, steps=steps, patience=None)
    return dataclasses.replace(experiment, schedule=Schedule(), training=training, checkpoint=Checkpoint())


def range_test(setup: Setup, rates: Floats, *, wants_stop: Callable[[], bool] = lambda: False) -> RangeTest:
    """Make one step at each rate, from the first state, until the loss grows out of bounds.

    The rate is a value in the optimizer's state, so that one program is compiled.

    Args:
        setup: as `with_constant_rate` has it; its calendar has at least as many steps as there are rates.
        rates: the learning rates.
        wants_stop: whether to end before the next step.
    """
    losses: list[float] = []
    out_of_bounds = False
    with closing(setup.batch_source()) as batch_source:
        state = setup.first_state()
        runner = BlockRunner(state, setup.calendar, batch_source, setup.layout, wants_stop=wants_stop)
        quiet = not sys.stdout.isatty()
        for step, rate in enumerate(track(rates, "learning rates", transient=True, disable=quiet)):
            if runner.stopping:
                break
            block = runner.run(_at_rate(state, rate, setup.layout), step, most=1)
            state, loss = block.state, float(block.losses[-1])
            if math.isfinite(loss):
                losses.append(loss)
            out_of_bounds = not block.finite or diverged(losses)
            if out_of_bounds:
                break
    return RangeTest(rates[: len(losses)], np.array(losses), out_of_bounds)


def diverged(losses: Sequence[float]) -> bool:
    """Return whether the running mean of losses ends above four times its best."""
    means = smoothed(losses, _WEIGHT)
    return bool(means) and means[-1] > _DIVERGED * min(means)


def suggest(test: RangeTest, steps: int) -> Suggestions | None:
    """Return what a range test suggests; None where the loss does not fall, by more than noise.

    Args:
        test: the test.
        steps: that it was to have; the first tenth, whose mean is of few losses, is not looked at.
    """
    first = steps // 10
    rates, losses = (means[first:] for means in test.means)
    if len(losses) < 2:
        return None
    lowest = int(np.argmin(losses))
    if losses[lowest] >= (1 - _LEAST_FALL) * min(test.losses[0], losses[0]):
        return None
    logs = np.log(rates[: lowest + 1])
    steepest = int(np.argmin(np.diff(losses[: lowest + 1]) / np.diff(logs)))
    return Suggestions(float(np.exp(logs[steepest : steepest + 2].mean())), float(rates[lowest]))


def _at_rate(state: TrainState, rate: float, layout: DeviceLayout) -> TrainState:
    before = state.opt_state
    hyperparams = {**before.hyperparams, "learning_rate": layout.put(np.float32(rate))}
    return dataclasses.replace(state, opt_state=before._replace(hyperparams=hyperparams))


def _picture(out: str) -> Path:
    path = user_path(out, "--out")
    if path.suffix != ".png":
        raise ConfigError("not a picture's name", where="--out", expected="a path that ends in .png", found=out)
    return path


def _require_writable(picture: Path) -> None:
    """Make the picture's folder, and raise before the test what its files could not be written for."""
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=picture.parent):
            pass
    except OSError as error:
        raise cannot_write(picture.parent, error) from error
    for path in (picture, picture.with_suffix(".csv")):
        if path.is_dir():
            raise ConfigError("a folder, not a file", where=path, expected="a file", fix="name another --out")


def _write(test: RangeTest, found: Suggestions | None, title: str, picture: Path) -> bool:
    """Write the points of a test: rate, loss, and the means of both. Return whether it could be drawn too."""
    mean_rates, mean_losses = test.means
    marked = {} if found is None else {"falls fastest": found.steepest, "a tenth of the lowest's": found.tenth}
    columns = (test.rates, test.losses, mean_rates, mean_losses)

    def write_points(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("learning_rate", "loss", "mean_learning_rate", "mean_loss"))
            writer.writerows(zip(*(column.tolist() for column in columns), strict=True))

    folder = RunFolder(picture.parent)
    folder.write(picture.with_suffix(".csv").name, write_points)
    warn = RunConsole().warn
    return folder.write_picture(picture.name, lambda file: draw_range_test(*columns, marked, title, file), warn)


def _nothing_falls(test: RangeTest) -> ConfigError:
    if not len(test.rates):
        return ConfigError(
            "the first loss, before any update, is not finite",
            where="the experiment",
            fix="no learning rate fixes that: look at training.class_weights",
        )
    if min(test.means[1]) < (1 - _LEAST_FALL) * test.losses[0]:
        return ConfigError(
            "the loss falls in the first tenth of the steps, which are too few to average, and hardly later",
            where=f"--low {test.rates[0]:g}",
            fix="try a smaller --low",
        )
    if test.diverged:
        return ConfigError(
            "the loss falls at no learning rate, and grows out of bounds",
            where=f"--low {test.rates[0]:g}",
            fix="try a smaller --low; or more --steps, if it falls in the picture",
        )
    return ConfigError(
        "the loss falls at no learning rate",
        where=f"--low {test.rates[0]:g} --high {test.rates[-1]:g}",
        fix="try a larger --high if it stays as it is in the picture, a smaller --low if it is higher than at first",
    )


def _options(before: Experiment, experiment: Experiment, learning_rate: float) -> list[str]:
    """Return the options that make of an experiment file's experiment another one, at a learning rate."""
    optimizer = dataclasses.replace(experiment.optimizer, learning_rate=learning_rate)
    words: list[str] = []
    for field, _, now in changes(before, dataclasses.replace(experiment, optimizer=optimizer)):
        section, _, name = field.partition(".")
        if isinstance(now, bool):
            words.append(f"--{field}" if now else f"--{section}.no_{name}")
        else:
            words += [f"--{field}", *map(str, now if isinstance(now, list | tuple) else [now])]
    return words
