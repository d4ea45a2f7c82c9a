"""Run by `test_gpu.py` once on the device and once on the CPU: trains, evaluates, and prints what it found as JSON.

    python -m tests.gpu.on_backend FOLDER STEPS EXAMPLES

It leaves the logits of the evaluated images in the folder.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np

import flaxcnn
from flaxcnn.data import Split, load
from flaxcnn.training.batches import ResidentSource
from flaxcnn.training.calendar import StepCalendar
from flaxcnn.training.device_layout import single_device
from flaxcnn.training.loop import BlockRunner

# A tenth of the paper's: at that, a ReLU or the winner of a pool turns over after some 50 steps, and trainings that
# round otherwise part (tests/training/on_eight_devices.py).
RATE = 1e-4
BATCH = {"paper_cnn": 50, "wide_resnet10_1": 16}


def padded(split):
    """Return images of 32 by 32 and three channels, as the residual network takes them."""
    images = np.pad(split.images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return Split(np.repeat(images, 3, axis=3), split.targets)


def trained(model, train, steps):
    """Return the losses of so many steps as a run makes them, and the most bytes that the device held for it.

    Where a device does not count its bytes, as a CPU, they are those that the compiled program says it needs.
    """
    layout = single_device()
    calendar = StepCalendar.of(
        len(train), batch_size=BATCH[model], epochs=1, steps=steps, log_every=50, save_every=10_000
    )
    state = flaxcnn.create_state(flaxcnn.create(model, classes=10), flaxcnn.adam(RATE), train.images.shape[1:], seed=0)
    runner = BlockRunner(state, calendar, ResidentSource(train, calendar, 0, layout), layout)
    losses: list[float] = []
    while len(losses) < steps:
        block = runner.run(state, len(losses))
        state = block.state
        losses.extend(map(float, block.losses))
    counted = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if counted is None:
        needs = runner._block.memory_analysis()
        counted = needs.argument_size_in_bytes + needs.output_size_in_bytes + needs.temp_size_in_bytes
    return losses, counted


def evaluated(folder, test, examples):
    """Evaluate the first images with fresh weights, in the device's own batches; return what was counted."""
    model = flaxcnn.create("paper_cnn", classes=10)
    state = flaxcnn.create_state(model, flaxcnn.adam(), (28, 28, 1), seed=0)
    sums, predictions = flaxcnn.evaluate(
        model, state.variables, jax.device_put(test.images), jax.device_put(test.targets), examples
    )
    logits = np.asarray(predictions["logits"])
    np.save(folder / "logits.npy", logits)
    correct = int((logits[:examples].argmax(1) == test.targets[:examples]).sum())
    return {
        "examples": int(sums.examples),
        "accuracy": sums.measures["accuracy"],
        "correct": correct,
        "loss": sums.mean_loss,
        "past_the_end": float(np.abs(logits[examples:]).max()),
    }


def main():
    folder, steps, examples = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    mnist = load("mnist")
    paper, peak_bytes = trained("paper_cnn", mnist.train, steps)  # first: the peak is the process's
    residual, _ = trained(
        "wide_resnet10_1", padded(Split(mnist.train.images[:2000], mnist.train.targets[:2000])), steps
    )
    found = {
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "losses": {"paper_cnn": paper, "wide_resnet10_1": residual},
        "peak_bytes": peak_bytes,
        "data_bytes": mnist.train.images.nbytes + np.asarray(mnist.train.targets).nbytes,
        "evaluation": evaluated(folder, mnist.test, examples),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
