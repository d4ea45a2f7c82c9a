"""Trains from Python, as a user's own script does: `python python_run.py OUT KIND`, which is one of the keys below.

With `FLAXCNN_STOP_AFTER=N` it kills itself by SIGKILL after step N: a hook tells the instant, which no clock can.
"""

import os
import signal
import sys

import flax.linen as nn
import jax
import numpy as np

import flaxcnn
from flaxcnn import config


class Source:
    """A random-access source, as TFDS's `data_source`, Grain's or a torch `Dataset`."""

    def __init__(self, seed, count):
        draws = np.random.default_rng(seed)
        self.brightness = draws.random(count)
        self.images = (draws.integers(0, 256, (count, 12, 12, 1)) * self.brightness[:, None, None, None]).astype(
            np.uint8
        )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, position):
        bright = self.brightness[position]
        return {"image": self.images[position], "label": int(bright * 3), "amount": float(bright)}


class Net(nn.Module):
    """A model of the user's own, with what a resume has to bring back: statistics and dropout."""

    classes: int

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3, 3))(images)))
        x = nn.Dropout(0.2, deterministic=not train)(x.reshape(len(x), -1))
        return nn.Dense(self.classes)(x)


def training(kind):
    """Return the arguments of a training, without its folder."""
    targets = {"kind": "label", "amount": "amount"} if kind == "several" else "label"
    dataset = flaxcnn.data.from_source(Source(0, 200), Source(1, 60), target=targets, in_memory=0)
    heads = ("kind=classification", "amount=regression:0.5") if kind == "several" else ()
    experiment = config.Experiment(
        task=config.Task("several", heads=heads) if heads else config.Task(),
        data=config.Data(validation=0.2, device_memory=0, workers=1),
        augmentation=config.Augmentation(shift=1.0),
        training=config.Training(epochs=20, batch_size=10, steps=40),
        logging=config.Logging(every=10, test_examples=20),
        checkpoint=config.Checkpoint(every=5),
    )
    return {"experiment": experiment, "dataset": dataset, "model": Net}


def main(out, kind):
    """Train, and kill this process where it is told to."""
    hooks = []
    if last := int(os.environ.get("FLAXCNN_STOP_AFTER", "0")):

        def stop(moment):
            jax.block_until_ready(moment.state.params)
            os.kill(os.getpid(), signal.SIGKILL)

        hooks = [flaxcnn.Hook(last, stop)]
    run = flaxcnn.train(**training(kind), out=out, hooks=hooks)
    assert run.complete


if __name__ == "__main__":
    main(*sys.argv[1:])
