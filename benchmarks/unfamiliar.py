"""How well a classifier tells images of something else from its own: energy, features, maximum probability, `familiar`.

    python -m benchmarks.unfamiliar [--seeds N] [--epochs N] [--model NAME]

For each seed it trains on digits (MNIST, bundled) and on clothes (Fashion-MNIST, Debian's package
dataset-fashion-mnist), with a tenth of the training images for validation. A network of all classes is shown the other
set's test images; one of the first seven classes is shown the test images of the other three, which are hard to tell.
A figure is the area under the ROC curve of its own test images against the others (how often an image of its own looks
more familiar, ties half), the mean over seeds with its 95 % interval (Student's t), between networks of other seeds.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import flaxcnn
from flaxcnn.config import Data, Experiment, Logging, Model, Training
from flaxcnn.data import Dataset, Split
from flaxcnn.data.sources.fashion_mnist import FOLDER
from flaxcnn.evaluation.intervals import mean_interval
from flaxcnn.prediction.trained import Trained
from flaxcnn.tasks.calibration import DISTANCE, evidence, softmax
from flaxcnn.tasks.ranking import roc_auc

SCORES = ("maximum probability", "energy", "features", "`familiar`")
_KEPT = 7  # classes of a network that is shown the others


class Case(NamedTuple):
    """What a network learns, and what it is shown.

    Attributes:
        name: for the table.
        dataset: that it learns; its test images are its own.
        strange: images of something else, uint8 (N, H, W, C).
    """

    name: str
    dataset: Dataset
    strange: np.ndarray


def cases() -> Iterator[Case]:
    """Yield what is measured."""
    sets = {"digits": flaxcnn.data.load("mnist"), "clothes": flaxcnn.data.load(f"idx:{FOLDER}")}
    for name, other in (("digits", "clothes"), ("clothes", "digits")):
        yield Case(f"{name}, shown {other}", sets[name], np.asarray(sets[other].test.images))
    for name, dataset in sets.items():
        few, others = divided(dataset)
        yield Case(f"{name} of {_KEPT} classes, shown those of the other 3", few, others)


def divided(dataset: Dataset) -> tuple[Dataset, np.ndarray]:
    """Return a data set of the first classes alone, and the test images of the others."""

    def of_kept(split: Split) -> Split:
        return split.choose(np.flatnonzero(split.targets < _KEPT))

    others = np.flatnonzero(dataset.test.targets >= _KEPT)
    names = dataset.target_names[:_KEPT]
    few = Dataset(f"{dataset.source}, {_KEPT} classes", of_kept(dataset.train), of_kept(dataset.test), names)
    return few, np.asarray(dataset.test.images)[others]


def scores(trained: Trained, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return each score of images, float64 (N,): the larger, the more like those of the training."""
    predictions = trained.predictions(images, 500)
    logits = predictions["logits"]
    return {
        SCORES[0]: softmax(logits, 1.0).max(1),
        SCORES[1]: evidence(logits),
        SCORES[2]: -predictions[DISTANCE].astype(np.float64),
        SCORES[3]: np.array([each["familiar"] for each in trained.answers(predictions, 1)]),
    }


def areas(trained: Trained, own: np.ndarray, strange: np.ndarray) -> dict[str, float]:
    """Return the area under the ROC curve of each score, for a network's own images against strange ones."""
    of_own, of_strange = scores(trained, own), scores(trained, strange)
    is_own = np.arange(len(own) + len(strange)) < len(own)
    return {name: roc_auc(is_own, np.concatenate([of_own[name], of_strange[name]])) for name in SCORES}


def trained_on(case: Case, seed: int, options: argparse.Namespace, folder: Path) -> Trained:
    """Return a network that learned a case's data."""
    experiment = Experiment(
        data=Data(validation=0.1),
        model=Model(options.model),
        training=Training(epochs=options.epochs, seed=seed),
        logging=Logging(every=10_000, test_examples=0),
    )
    return flaxcnn.load(flaxcnn.train(experiment, dataset=case.dataset, out=folder, quiet=True).folder)


def line(name: str, found: Mapping[str, list[float]]) -> str:
    """Return a row of the table: the mean of each score over seeds, with its interval."""
    cells = []
    for score in SCORES:
        values = found[score]
        mean = float(np.mean(values))
        ends: Any = mean_interval(values) if len(values) > 1 else None
        cells.append(f"{mean:.3f}" if ends is None else f"{mean:.3f} ({ends.low:.3f} to {min(ends.high, 1):.3f})")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.unfamiliar", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--seeds", type=int, default=5, help="networks of each kind (default 5)")
    parser.add_argument("--epochs", type=int, default=1, help="of each network's training (default 1)")
    parser.add_argument("--model", default="paper_cnn", help="default paper_cnn")
    options = parser.parse_args()
    print(f"| network | {' | '.join(SCORES)} |\n|---|{'--:|' * len(SCORES)}", flush=True)
    for case in cases():
        found: dict[str, list[float]] = {name: [] for name in SCORES}
        own = np.asarray(case.dataset.test.images)
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory(prefix="flaxcnn-bench-") as name:
                trained = trained_on(case, seed, options, Path(name) / "run")
            for score, value in areas(trained, own, case.strange).items():
                found[score].append(value)
        print(line(case.name, found), flush=True)


if __name__ == "__main__":
    main()
