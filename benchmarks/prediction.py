"""What an answer takes, beside ONNX Runtime on the file that `flaxcnn export` wrote of the same model.

    python -m benchmarks.prediction [--rounds N] [--models A,B]

Both have the same pixels and the same cores, take turns, and give the same outputs, which is checked. Medians are
printed, and the median of the rounds' ratios.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

import flaxcnn
from flaxcnn import config, data
from flaxcnn.export.onnx.document import write_onnx
from flaxcnn.prediction.loading import load
from flaxcnn.prediction.trained import Trained

MODELS = {"paper_cnn": (28, 1), "efficientnet_lite0": (224, 3), "resnet18": (224, 3)}
"""A model of the library -> the side of its images in pixels, and their channels."""
BATCHES = (1, 32)
_ABOUT = (__doc__ or "").splitlines()[0]
_SECONDS = 1.0  # that calls are repeated for in a round


def trained(folder: Path, model: str) -> Trained:
    """Return a model that was trained for a step on noise."""
    side, channels = MODELS[model]
    images = np.random.default_rng(0).integers(0, 256, (16, side, side, channels), np.uint8)
    experiment = config.Experiment(
        model=config.Model(model), training=config.Training(steps=1, batch_size=8), logging=config.Logging(every=1)
    )
    own = data.from_arrays(images, np.arange(16) % 2, test_fraction=0.5)
    return load(flaxcnn.train(experiment, dataset=own, out=folder / model, quiet=True).folder)


def seconds(call: Callable[[], object]) -> float:
    """Return what a call takes, the mean of as many as a round has time for."""
    start, count = time.perf_counter(), 0
    while (now := time.perf_counter()) - start < _SECONDS or not count:
        call()
        count += 1
    return (now - start) / count


def compared(model: Trained, folder: Path, batch: int, rounds: int) -> tuple[float, float, float]:
    """Return seconds of a batch by the library and by ONNX Runtime, and the median of the ratios."""
    path = folder / "model.onnx"
    write_onnx(path, model)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).integers(0, 256, (batch, *model.form.image_shape), np.uint8)
    ours, theirs = model.predictions(images)["logits"], session.run(["logits"], {"images": images})[0]
    if not np.abs(ours - theirs).max() <= 1e-4 * np.abs(ours).max():
        raise RuntimeError(f"{model.experiment.model.name}: the outputs differ")
    calls = [lambda: model.predictions(images), lambda: session.run(["logits"], {"images": images})]
    times: list[list[float]] = [[], []]
    for number in range(rounds):
        for place in (0, 1) if number % 2 else (1, 0):
            times[place].append(seconds(calls[place]))
    ratios = [mine / other for mine, other in zip(*times, strict=True)]
    return statistics.median(times[0]), statistics.median(times[1]), statistics.median(ratios)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prediction", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each kind (default 5)")
    parser.add_argument("--models", default=",".join(MODELS), help=f"some of {', '.join(MODELS)}")
    options = parser.parse_args()
    print("| model | images | flaxcnn | ONNX Runtime | ratio |\n|---|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory(prefix="flaxcnn-bench-") as name:
        for model in options.models.split(","):
            own = trained(Path(name), model)
            for batch in BATCHES:
                print(f"{model}, {batch} images", file=sys.stderr, flush=True)
                ours, theirs, ratio = compared(own, Path(name), batch, options.rounds)
                rates = f"{batch / ours:,.0f}/s | {batch / theirs:,.0f}/s"
                print(f"| `{model}` | {batch} | {rates} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
