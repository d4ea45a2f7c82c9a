"""Run by `test_device_layout.py` with eight virtual devices: does one task and prints what it found as JSON."""

import json
import re
import sys
from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn.data import Split, load
from flaxcnn.errors import ConfigError
from flaxcnn.evaluation import evaluate
from flaxcnn.layers import DetectionHead
from flaxcnn.layers.augmentation import MixUp, Mosaic, RandomCrop, RandomFlip, RandomRotation, RandomScale
from flaxcnn.models import create
from flaxcnn.tasks import Detection
from flaxcnn.training import Hyperparameters, adam, create_state, train_step
from flaxcnn.training.batches import ResidentSource, StreamedSource
from flaxcnn.training.calendar import StepCalendar
from flaxcnn.training.device_layout import DeviceLayout, single_device
from flaxcnn.training.loop import BlockRunner

BATCH_SIZE = 48
# The paper's rate is ten times this one. At that, the losses are within 1e-6 for 50 steps; then a pixel's ReLU or the
# winner of a pool turns over somewhere, and they part, as two runs on one device do whose weights differ by a bit.
RATE = 1e-4


class Wide(nn.Module):
    """Three layers with kernels wide enough to be divided."""

    classes: int = 10

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.tanh(nn.Conv(32, (3, 3), strides=4)(images))
        x = nn.tanh(nn.Conv(256, (3, 3), strides=2)(x))
        x = x.reshape(x.shape[0], -1)
        x = nn.tanh(nn.Dense(256)(x))
        x = nn.tanh(nn.Dense(512)(x))
        return nn.Dense(self.classes)(x), {}


def trained(layout, steps, *, model=None, train=None, streamed=False, **options):
    """Return the losses of a training, and its runner."""
    train = load("mnist").train if train is None else train
    calendar = StepCalendar.of(
        len(train), batch_size=BATCH_SIZE, epochs=1, steps=steps, log_every=50, save_every=10_000
    )

    def create_one():
        chosen = create("paper_cnn", classes=10) if model is None else model
        return create_state(chosen, adam(RATE), train.images.shape[1:], seed=0, **options)

    state = jax.jit(create_one, out_shardings=layout.of_tree(jax.eval_shape(create_one)))()
    batch_source = (
        StreamedSource(train, calendar, 0, layout, 2) if streamed else ResidentSource(train, calendar, 0, layout)
    )
    runner, losses, step = BlockRunner(state, calendar, batch_source, layout), [], 0
    while step < steps:
        block = runner.run(state, step)
        state, step = block.state, step + len(block.losses)
        losses.extend(map(float, block.losses))
    batch_source.close()
    return losses, runner, state


def paper():
    """The paper's model on one device and on eight."""
    one, *_ = trained(single_device(), 100)
    eight, runner, _ = trained(DeviceLayout.of(BATCH_SIZE, 8), 100)
    kinds = re.findall(r" (all-\w+|collective-\w+|reduce-scatter)(?:-start)?\(", runner.text)
    return {"one": one, "8 × 1": eight, "collectives": dict(Counter(kinds))}


def wide():
    """Layers divided along the axis "model"."""
    one, *_ = trained(single_device(), 20, model=Wide())
    layout = DeviceLayout.of(BATCH_SIZE, 2, 4)
    divided, _, state = trained(layout, 20, model=Wide())
    return {"one": one, "2 × 4": divided, "divided": layout.divided((state.params, state.opt_state))}


def statistics():
    """The running mean after one step of a model that normalises its input."""

    class Normalised(nn.Module):
        @nn.compact
        def __call__(self, images, *, train=False):
            x = images.reshape(images.shape[0], -1)
            x = nn.BatchNorm(not train, momentum=0.0, name="norm")(x)
            return nn.Dense(10)(x), {}

    _, _, state = trained(DeviceLayout.of(BATCH_SIZE, 8), 1, model=Normalised())
    train = load("mnist").train
    calendar = StepCalendar.of(len(train), batch_size=BATCH_SIZE, epochs=1, steps=1, log_every=50, save_every=10_000)
    pixels = train.images[calendar.batch(0, 0)].reshape(BATCH_SIZE, -1) / 255
    return {
        "8 × 1": np.asarray(state.batch_stats["norm"]["mean"]).tolist(),
        "by hand": pixels.mean(0).tolist(),
        "of a part": pixels[:6].mean(0).tolist(),
    }


def random():
    """Everything that is drawn in a step, in a batch that is cut into parts."""
    options = {
        "augmentations": (RandomCrop(2), RandomRotation(10.0)),
        "mixup": MixUp(0.3),
        "hyperparameters": Hyperparameters.of(0.1, 0.2, None, 0.99),
        "accumulate": 2,
    }
    return {
        "one": trained(single_device(), 10, **options)[0],
        "8 × 1": trained(DeviceLayout.of(BATCH_SIZE, 8), 10, **options)[0],
    }


class Finder(nn.Module):
    """Two convolutions, and a detection head on them."""

    @nn.compact
    def __call__(self, images, *, train=False):
        fine = nn.tanh(nn.Conv(8, (3, 3), strides=4)(images))
        coarse = nn.tanh(nn.Conv(8, (3, 3), strides=2)(fine))
        return DetectionHead(3, width=16, depth=1, name="head")({4: fine, 8: coarse})


def boxes():
    """A detector, with boxes that move and mosaics of neighbours in the batch, which other devices have."""
    random, count = np.random.default_rng(0), 480
    corners = random.integers(0, 20, (count, 4, 2))
    targets = {
        "boxes": np.concatenate([corners, corners + random.integers(6, 12, (count, 4, 2))], -1).astype(np.float32),
        "classes": random.integers(-1, 3, (count, 4)).astype(np.int32),
        "scale": np.ones(count, np.float32),
    }
    targets["boxes"][targets["classes"] < 0] = np.nan
    train = Split(random.integers(0, 256, (count, 32, 32, 3), np.uint8), targets)
    names = {"boxes": ("y0", "x0", "y1", "x1"), "classes": ("a", "b", "c"), "scale": ("scale",)}
    task = Detection().fitted(targets, names)
    options = {
        "model": Finder(),
        "train": train,
        "task": task,
        "constants": task.constants(targets),
        "augmentations": (RandomFlip(0.5), RandomScale(0.3)),
        "mixup": Mosaic(0.5),
    }
    return {
        "one": trained(single_device(), 10, **options)[0],
        "8 × 1": trained(DeviceLayout.of(BATCH_SIZE, 8), 10, **options)[0],
    }


def streamed():
    """Batches from worker processes."""
    layout = DeviceLayout.of(BATCH_SIZE, 4)
    return {
        "resident": trained(layout, 30)[0],
        "streamed": trained(layout, 30, streamed=True)[0],
    }


def refused():
    """Meshes that cannot be."""
    found = []
    for arguments in ((48, 9, 1), (48, None, 16), (50, 8, 1)):
        try:
            DeviceLayout.of(*arguments)
        except ConfigError as error:
            found.append(str(error))
    return found


def default():
    """How many devices a batch is divided among where nothing is asked for."""
    return {str(size): DeviceLayout.of(size).data for size in (50, 64, 7, 11)}


def evaluation():
    """All of 997 examples, a number that nothing divides."""
    test, model = load("mnist").test, create("paper_cnn", classes=10)
    images, labels = test.images[:997], test.targets[:997]
    state = create_state(model, adam(1e-3), (28, 28, 1))
    for first in range(0, 500, 100):
        state, _ = train_step(state, images[first : first + 100], labels[first : first + 100])
    one, found = evaluate(model, state.variables, jnp.asarray(images), jnp.asarray(labels))
    layout = DeviceLayout.of(8, 8)
    variables = jax.device_put(state.variables, layout.of_tree(state.variables))
    eight, divided = evaluate(model, variables, layout.put(images), layout.put(labels), sharding=layout.batch)
    numbers = [{"examples": each.examples, "loss": each.loss, **each.statistics} for each in (one, eight)]
    return {
        **{name: [float(each[name]) for each in numbers] for name in ("examples", "correct", "loss")},
        "largest difference of a logit": float(
            np.abs(np.asarray(found["logits"]) - np.asarray(divided["logits"])).max()
        ),
    }


if __name__ == "__main__":
    assert jax.device_count() == 8
    print(json.dumps(globals()[sys.argv[1]]()))
