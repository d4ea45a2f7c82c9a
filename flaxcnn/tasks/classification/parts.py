"""What a report says of a classifier: each class, the confusion, how sure it may be, precision over recall."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from flaxcnn.pages.parts import Block, Matrix, Part, Plot, Series, Table, Text
from flaxcnn.tasks.calibration import softmax, temperature_of_classes
from flaxcnn.tasks.classification.confusion import confusion_matrix, similarity_order
from flaxcnn.tasks.classification.metrics import classification_metrics
from flaxcnn.tasks.curves import precision_recall_plot, reliability_plot, reliability_table, said, temperatures_of
from flaxcnn.tasks.task import Interval, Mistakes, Predicted

_MOST_ROWS = 200  # of a table of classes
_MOST_PAIRS = 12  # of classes that are taken for each other


def parts_of(test: Predicted, validation: Predicted | None, interval: Interval) -> Iterator[Part]:
    """Yield the parts; arguments as `Task.parts`."""
    yield _classes(test, interval)
    yield _confusion(test, interval)
    yield _reliability(test, validation, interval)
    labels, logits, names = test.targets, test.prediction("logits"), test.names
    own = np.arange(len(names)) == labels[:, None]
    yield Part("Precision and recall", [precision_recall_plot(own, softmax(logits, 1.0), names), _answered(test)])


def mistakes_of(predicted: Predicted, calibration: Mapping[str, Any], most: int) -> Mistakes:
    """Return the most confident mistakes; arguments as `Task.mistakes`."""
    probabilities = softmax(predicted.prediction("logits"), calibration.get("temperature", 1.0))
    answers, labels, names = probabilities.argmax(1), predicted.targets, predicted.names
    sure, wrong = probabilities.max(1), np.flatnonzero(answers != labels)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:most].tolist()
    lines = [f"{names[labels[each]]}, taken for {names[answers[each]]} ({sure[each]:.1%})" for each in worst]
    return Mistakes("share of mistakes", (answers != labels).astype(np.float64), True, worst, lines)


def _classes(test: Predicted, interval: Interval) -> Part:
    """Return a row for each class, that with the lowest recall first."""
    labels, logits, names = test.targets, test.prediction("logits"), test.names
    found, answers = classification_metrics(labels, logits), logits.argmax(1)
    rows, bars = [], []
    order = np.lexsort((found.recall, found.support == 0))
    for each in order[:_MOST_ROWS].tolist():
        of_class, named = labels == each, answers == each
        some = bool(of_class.any())
        rows.append(
            [
                names[each],
                f"{found.support[each]:,}",
                f"{found.recall[each]:.3f}" if some else "–",
                said(*interval(named, of_class)) if some else "–",
                f"{found.precision[each]:.3f}" if named.any() else "–",
                said(*interval(of_class, named)) if named.any() else "–",
                f"{found.f1[each]:.3f}",
                _number(found.average_precision[each]),
            ]
        )
        bars.append(float(found.recall[each]))
    told = (
        "Recall: of a class's images, the share predicted as it. Precision: of the images predicted as it, the share "
        "that are. The lowest recall is first; intervals are of 95 %, and wide where images are few."
    )
    if len(names) > _MOST_ROWS:
        told += f" The first {_MOST_ROWS} of {len(names):,} classes."
    heads = ["class", "images", "recall", "interval", "precision", "interval", "F1", "average precision"]
    return Part("Each class", [Text(told), Table(heads, rows, bars)])


def _confusion(test: Predicted, interval: Interval) -> Part:
    labels, logits, names = test.targets, test.prediction("logits"), test.names
    counts, answers = confusion_matrix(labels, logits), logits.argmax(1)
    order = similarity_order(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    pairs = sorted(np.argwhere(shares).tolist(), key=lambda pair: (-shares[tuple(pair)], pair))[:_MOST_PAIRS]
    blocks: list[Block] = [
        Text(
            "A row is what images are, a column what they are taken for. Blue: right, the darker, the larger the share "
            "of the row. Orange: mistakes, relative to the most frequent one. Classes that are taken for "
            "each other stand together."
        ),
        Matrix("is", "taken for", [names[each] for each in order], counts[np.ix_(order, order)]),
    ]
    if pairs:
        rows = [
            [
                f"{names[is_]} taken for {names[taken]}",
                f"{counts[is_, taken]:,} of {counts[is_].sum():,}",
                f"{shares[is_, taken]:.3f}",
                said(*interval(answers == taken, labels == is_)),
            ]
            for is_, taken in pairs
        ]
        blocks.append(Table(["most often", "images", "share", "95 % interval"], rows))
    return Part("Confusion", blocks)


def _reliability(test: Predicted, validation: Predicted | None, interval: Interval) -> Part:
    labels, logits = test.targets, test.prediction("logits")
    right = logits.argmax(1) == labels
    temperatures, told = temperatures_of(
        validation, temperature_of_classes, ". It changes no answer, only how sure it is."
    )
    probabilities = {name: softmax(logits, each).max(1) for name, each in temperatures.items()}
    rows = []
    for name, each in temperatures.items():
        found = classification_metrics(labels, logits.astype(np.float64) / each)
        values = found.calibration_error, found.log_loss, found.brier_score
        rows.append([name, *(f"{value:.4f}" for value in values), f"{probabilities[name].mean():.4f}"])
    heads = ["probabilities", "calibration error", "log loss (nats)", "Brier score", "mean confidence"]
    last = list(probabilities)[-1]
    return Part(
        "Reliability",
        [
            told,
            Table(heads, rows),
            Text(f"The accuracy is {right.mean():.4f}. How sure answers are, and how many are right, {last}:"),
            reliability_plot("Right answers over how sure they are", list(probabilities.items()), right),
            reliability_table(probabilities[last], right, interval),
        ],
    )


def _answered(test: Predicted) -> Plot:
    """Return how precise answers are if only the surest ones are given."""
    probabilities = softmax(test.prediction("logits"), 1.0)
    right = (probabilities.argmax(1) == test.targets)[np.argsort(-probabilities.max(1), kind="stable")]
    counts = np.arange(1, len(right) + 1)
    kept = np.unique(np.linspace(0, len(right) - 1, min(len(right), 200)).round().astype(int))
    accuracy = (np.cumsum(right) / counts)[kept]
    wrong = 1 - float(np.min(accuracy))
    ends = 1 - 1.05 * wrong - 0.005, 1 + 0.05 * wrong + 0.005
    series = [Series("", counts[kept] / len(right), accuracy)]
    return Plot("Accuracy of the surest answers", "share of images that are answered", "accuracy", series, (0, 1), ends)


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"
