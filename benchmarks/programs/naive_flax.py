"""The program that Flax's own MNIST example teaches: plain layers, and one batch a step handed over from the host.

Source: https://github.com/google/flax, examples/mnist/train.py; with the paper's model, loss and optimizer.
"""

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState

from benchmarks.jobs import LEARNING_RATE, MOMENTUM, Convolution, Job, Network
from benchmarks.programs import jax_layers
from benchmarks.programs.flax_networks import NETWORKS
from benchmarks.worker import Data, Measure, answer, log_row

EVALUATION_BATCH = 500  # the fastest of 50 to 2,000


def drawn(fan_in: int) -> dict[str, nn.initializers.Initializer]:
    """Return the initializers of a layer: uniform in ±1/√fan_in, as every program here draws its parameters."""

    def uniform(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -(fan_in**-0.5), fan_in**-0.5)

    return {"kernel_init": uniform, "bias_init": uniform}


class CNN(nn.Module):
    """The paper's CNN in Flax's plain layers, its filters multiplied."""

    width: int = 1

    @nn.compact
    def __call__(self, x):
        """Return the logits of images (B, 28, 28, 1)."""
        for filters in (16, 32):
            x = nn.Conv(filters * self.width, (5, 5), **drawn(5 * 5 * x.shape[-1]))(x)
            x = nn.relu(x)
            x = nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape((x.shape[0], -1))
        return nn.Dense(10, **drawn(x.shape[-1]))(x)


@jax.jit
def train_step(state, images, labels):
    def loss_fn(params):
        logits = state.apply_fn({"params": params}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss, gradients = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=gradients), loss


@jax.jit
def eval_step(state, images, labels):
    return (state.apply_fn({"params": state.params}, images).argmax(-1) == labels).sum()


def create_state(width: int) -> TrainState:
    """Return the state before the first step."""
    model = CNN(width)
    params = model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
    return TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(1e-3))


def evaluate(state: TrainState, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of images that is classified correctly."""
    parts = [slice(start, start + EVALUATION_BATCH) for start in range(0, len(images), EVALUATION_BATCH)]
    correct = [eval_step(state, images[part], labels[part]) for part in parts]
    return sum(map(int, correct)) / len(images)


def train(data: Data, job: Job, state: TrainState, folder: Path | None = None) -> tuple[TrainState, float | None]:
    """Return the state after a job's steps, and the accuracy of the last evaluation; log the rows in the folder.

    Args:
        data: its images as floats.
        job: how many steps, and when to evaluate.
        state: before the first step.
        folder: for the rows of a whole process.
    """
    accuracy = None
    for step, batch in enumerate(data.batches(job.steps, job.batch_size)):
        state, loss = train_step(state, data.train_images[batch], data.train_labels[batch])
        if job.evaluates(step):
            if job.evaluated:
                accuracy = evaluate(state, data.test_images[: job.evaluated], data.test_labels[: job.evaluated])
            if folder is not None:
                log_row(folder, step, float(loss), accuracy)
    return jax.block_until_ready(state), accuracy


def as_floats(data: Data) -> Data:
    """Return the data with images in [0, 1]."""
    return data._replace(
        train_images=data.train_images.astype(np.float32) / 255, test_images=data.test_images.astype(np.float32) / 255
    )


def prepare(data: Data, job: Job) -> Measure:
    """Compile and return what does a job."""
    data = as_floats(data)
    first = jax.block_until_ready(create_state(job.width))

    def measure(job: Job = job) -> dict[str, float | None]:
        started = time.perf_counter()
        if job.task == "evaluate":
            accuracy = evaluate(first, data.test_images, data.test_labels)
            return {"seconds": time.perf_counter() - started, "accuracy": accuracy}
        state, accuracy = train(data, job, first)
        seconds = time.perf_counter() - started
        if accuracy is None:
            accuracy = evaluate(state, data.test_images[:EVALUATION_BATCH], data.test_labels[:EVALUATION_BATCH])
        return {"seconds": seconds, "accuracy": accuracy}

    measure(job._replace(steps=min(job.steps, 5)))
    return measure


class NetworkState(TrainState):
    """The state of a network with running statistics, as in Flax's ImageNet example."""

    batch_stats: Any


@jax.jit
def network_step(state, images, labels):
    def loss_fn(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        rngs = {"dropout": jax.random.fold_in(jax.random.key(0), state.step)}  # where a network has dropout
        (logits, _), updated = state.apply_fn(variables, images, train=True, mutable=["batch_stats"], rngs=rngs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updated["batch_stats"]

    (loss, batch_stats), gradients = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    return state.apply_gradients(grads=gradients, batch_stats=batch_stats), loss


def _created(job: Network) -> Any:
    """Return a job's network."""
    if not job.zoo:
        return NETWORKS[job.network]()
    os.environ["FLAXCNN_KERNELS"] = "xla"  # before the first import of what would load the compiled kernels
    from benchmarks.programs import plain_zoo  # and flaxcnn, which other jobs do not need

    return plain_zoo.create(job.network, job.classes)


def prepare_network(data: Data, job: Network) -> Measure:
    """Compile and return what does a network's job."""
    model = _created(job)
    if job.task != "train":
        return jax_layers.prepare_network(model, data, job)
    images, labels = job.examples()
    images = images.astype(np.float32) / 255
    variables = jax_layers.drawn(model, job) if job.zoo else jax.jit(model.init)(jax.random.key(0), images[:1])
    first = NetworkState.create(apply_fn=model.apply, tx=optax.sgd(LEARNING_RATE, MOMENTUM), **variables)
    jax.block_until_ready(first)

    def measure(steps: int = job.calls) -> dict[str, Any]:
        state, started = first, time.perf_counter()
        for step in range(steps):
            batch = slice(step * job.batch, (step + 1) * job.batch)
            state, loss = network_step(state, images[batch], labels[batch])
        jax.block_until_ready(state)
        seconds = (time.perf_counter() - started) / steps
        return {"seconds": seconds, "loss": float(loss), "same": [jax_layers.count(state.params)]}

    measure(steps=1)
    return measure


def run(file: str, folder: Path, job: Job) -> None:
    """Train as a whole process does."""
    state, _ = train(as_floats(Data.load(file)), job, create_state(job.width), folder)
    (folder / "weights.msgpack").write_bytes(flax.serialization.to_bytes(state.params))


if __name__ == "__main__":
    convolution = partial(jax_layers.prepare_convolution, jax.lax.conv_general_dilated)
    does = {Job: prepare, Convolution: convolution, Network: prepare_network}
    answer(f"plain Flax on jax {jax.__version__}", does, run)
