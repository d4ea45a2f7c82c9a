"""This library as `flaxcnn train` runs it: blocks of steps on data that lies on the device.

A whole process is that command itself, but for networks, of which only the first steps are made.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

import flaxcnn
from benchmarks.jobs import LEARNING_RATE, MOMENTUM, Convolution, Job, Network
from benchmarks.programs import jax_layers
from benchmarks.programs.flax_networks import NETWORKS
from benchmarks.worker import Data, Measure, answer, log_row
from flaxcnn.layers import MaxPool
from flaxcnn.layers.convolution import Conv
from flaxcnn.layers.initializers import fan_in_uniform, fan_in_uniform_bias
from flaxcnn.layers.normalization import BatchNorm
from flaxcnn.training import TrainState
from flaxcnn.training.batches import ResidentSource
from flaxcnn.training.calendar import StepCalendar
from flaxcnn.training.device_layout import DeviceLayout, single_device
from flaxcnn.training.loop import BlockRunner, Started

CHECKED = 500  # test images that are looked at, beside the clock, after a training without evaluations


class WideCNN(nn.Module):
    """The paper's CNN with its filters multiplied, as a user of this library would write it."""

    width: int

    @nn.compact
    def __call__(self, images_BHWC, *, train=False):
        """Return the logits and the endpoints of images (B, 28, 28, 1)."""
        x = images_BHWC
        for filters in (16 * self.width, 32 * self.width):
            conv = Conv(
                filters,
                (5, 5),
                padding=2,
                kernel_init=fan_in_uniform(),
                bias_init=fan_in_uniform_bias(5 * 5 * x.shape[-1]),
            )
            x = nn.relu(MaxPool((2, 2))(conv(x)))
        x = x.reshape(x.shape[0], -1)
        bias_init = fan_in_uniform_bias(x.shape[-1])
        return nn.Dense(10, kernel_init=fan_in_uniform(), bias_init=bias_init)(x), {}


class Evaluated:
    """The test images on the device, and the program that evaluates the first ones, as a run compiles it."""

    def __init__(self, model: nn.Module, state: TrainState, data: Data, layout: DeviceLayout):
        self._images, self._labels = layout.put(data.test_images), layout.put(data.test_labels)
        variables = layout.targets(state.variables)
        self._program: Any = flaxcnn.evaluate.lower(model, variables, self._images, self._labels, np.int32(0)).compile()

    def start(self, state: TrainState, examples: int) -> flaxcnn.Sums:
        """Start to evaluate the first test images, and return at once."""
        return self._program(state.variables, self._images, self._labels, np.int32(examples))[0]

    def measure(self, state: TrainState) -> dict[str, float]:
        """Evaluate all test images."""
        started = time.perf_counter()
        accuracy = self.start(state, len(self._images)).measures["accuracy"]
        return {"seconds": time.perf_counter() - started, "accuracy": accuracy}


def train(
    runner: BlockRunner, state: TrainState, steps: int, job: Job | None = None, evaluated: Evaluated | None = None
) -> tuple[TrainState, float | None]:
    """Return the state after some steps, and the accuracy of the last evaluation: all that is known of the driver.

    As `flaxcnn.runs.steps` has it: a block is started, and the evaluation after it, before the numbers of the block
    before are looked at.

    Args:
        runner: of the run's calendar.
        state: before the first step; its memory is donated.
        steps: how many to make.
        job: says when to evaluate; None for never.
        evaluated: what evaluates then.
    """

    def start(state: TrainState, step: int) -> tuple[Started, flaxcnn.Sums | None]:
        block = runner.start(state, step, most=steps - step)
        if job is None or evaluated is None or not job.evaluates(block.end - 1):
            return block, None
        return block, evaluated.start(block.state, job.evaluated)

    accuracy, under_way = None, start(state, 0)
    while under_way is not None:
        block, sums = under_way
        under_way = start(block.state, block.end) if block.end < steps else None
        runner.finish(block)
        if sums is not None:
            accuracy = sums.measures["accuracy"]
    return block.state, accuracy


def prepare(data: Data, job: Job) -> Measure:
    """Compile and return what does a job."""
    model = flaxcnn.create("paper_cnn", classes=10) if job.width == 1 else WideCNN(job.width)
    layout = single_device()

    def fresh() -> TrainState:
        return flaxcnn.create_state(model, flaxcnn.adam(1e-3), data.train_images.shape[1:], seed=0)

    evaluated = Evaluated(model, fresh(), data, layout)
    if job.task == "evaluate":
        state = fresh()
        evaluated.measure(state)
        return lambda: evaluated.measure(state)
    cut = job.evaluate_every or 50  # where `flaxcnn train` logs the paper's run
    calendar = StepCalendar.of(
        len(data.order), batch_size=job.batch_size, epochs=1, steps=None, log_every=cut, save_every=10**9
    )
    batch_source = ResidentSource(flaxcnn.Split(data.train_images, data.train_labels), calendar, 0, layout)
    runner = BlockRunner(fresh(), calendar, batch_source, layout)

    def measure(steps: int = job.steps) -> dict[str, float]:
        state = jax.block_until_ready(fresh())
        started = time.perf_counter()
        state, accuracy = train(runner, state, steps, job, evaluated)
        jax.block_until_ready(state.params)
        seconds = time.perf_counter() - started
        if accuracy is None:
            accuracy = evaluated.start(state, CHECKED).measures["accuracy"]
        return {"seconds": seconds, "accuracy": accuracy}

    measure(min(job.steps, 5))
    return measure


def prepare_network(data: Data, job: Network) -> Measure:
    """Compile and return what does a network's job; its training is a run's own."""
    if job.task != "train":
        return jax_layers.prepare_network(_created(job), data, job)
    runner, fresh = _training(job, drawn=job.zoo)

    def measure(steps: int = job.calls) -> dict[str, Any]:
        state = jax.block_until_ready(fresh())
        started = time.perf_counter()
        state, _ = train(runner, state, steps)
        jax.block_until_ready(state.params)
        return {"seconds": (time.perf_counter() - started) / steps, "same": [jax_layers.count(state.params)]}

    measure(steps=1)
    return measure


def _created(job: Network) -> Any:
    """Return a job's network."""
    if job.zoo:
        return flaxcnn.create(job.network, job.classes)
    return NETWORKS[job.network](Conv, BatchNorm, fused=True)


def _training(job: Network, *, drawn: bool = False) -> tuple[BlockRunner, Callable[[], TrainState]]:
    """Return the compiled driver of a network's training, and what makes its first state.

    Args:
        job: the training.
        drawn: whether NumPy draws the first weights (`jax_layers.drawn`), and not a compiled program.
    """
    model = _created(job)
    images, labels = job.examples()
    layout = single_device()
    calendar = StepCalendar.of(
        len(images), batch_size=job.batch, epochs=1, steps=None, log_every=10**9, save_every=10**9
    )

    optimizer = flaxcnn.sgd(LEARNING_RATE, MOMENTUM)
    variables = jax_layers.drawn(model, job) if drawn else None

    def fresh() -> TrainState:
        return flaxcnn.create_state(model, optimizer, images.shape[1:], seed=0, variables=variables)

    source = ResidentSource(flaxcnn.Split(images, labels), calendar, 0, layout)
    return BlockRunner(fresh(), calendar, source, layout), fresh


def run(file: str, folder: Path, job: Network) -> None:
    """Train a network as a whole process does, and log each step."""
    runner, fresh = _training(job)
    state = fresh()
    for step in range(job.calls):
        block = runner.run(state, step, most=1)
        state = block.state
        log_row(folder, step, float(block.losses[0]), None)


if __name__ == "__main__":
    convolution = partial(jax_layers.prepare_convolution, flaxcnn.convolution)
    does = {Job: prepare, Convolution: convolution, Network: prepare_network}
    answer(f"flaxcnn {flaxcnn.__version__} on jax {jax.__version__}", does, run)
