"""What a report says of predicted labels: each label, how sure it may be, precision over recall."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from flaxcnn.pages.parts import Block, Part, Table, Text
from flaxcnn.tasks.calibration import sigmoid, temperature_of_labels
from flaxcnn.tasks.curves import precision_recall_plot, reliability_plot, said, temperatures_of
from flaxcnn.tasks.ranking import average_precision
from flaxcnn.tasks.task import Interval, Mistakes, Predicted

_MOST_ROWS = 200  # of a table of labels


def parts_of(test: Predicted, validation: Predicted | None, interval: Interval) -> Iterator[Part]:
    """Yield the parts; arguments as `Task.parts`."""
    labels_NxL, logits_NxL = np.asarray(test.targets), test.prediction("logits")
    yield _labels(test, labels_NxL, logits_NxL, interval)
    yield _reliability(labels_NxL, logits_NxL, validation)
    yield Part("Precision and recall", [precision_recall_plot(labels_NxL, logits_NxL.astype(np.float64), test.names)])


def mistakes_of(predicted: Predicted, calibration: Mapping[str, Any], most: int) -> Mistakes:
    """Return the images with a wrong label, those first whose wrong label is the surest."""
    labels_NxL, logits_NxL, names = np.asarray(predicted.targets), predicted.prediction("logits"), predicted.names
    probabilities = sigmoid(logits_NxL, calibration.get("temperature", 1.0))
    named_NxL = logits_NxL > predicted.constant("thresholds", logits_NxL.shape[1:])
    wrong_NxL = named_NxL != labels_NxL
    sure_NxL = np.where(wrong_NxL, np.abs(probabilities - ~named_NxL), -1)  # of what is said: there, or not there
    wrong = np.flatnonzero(wrong_NxL.any(1))
    worst = wrong[np.argsort(-sure_NxL[wrong].max(1), kind="stable")][:most].tolist()
    lines, labels = [], []
    for each in worst:
        label = int(sure_NxL[each].argmax())
        labels.append(str(names[label]))
        what = "named, and not there" if named_NxL[each, label] else "there, and not named"
        more = int(wrong_NxL[each].sum()) - 1
        also = f"; {more} more wrong" if more else ""
        lines.append(f"{names[label]} is {what} ({sure_NxL[each, label]:.1%}){also}")
    return Mistakes("share with a wrong label", wrong_NxL.any(1).astype(np.float64), True, worst, lines, of=labels)


def _labels(test: Predicted, labels_NxL: np.ndarray, logits_NxL: np.ndarray, interval: Interval) -> Part:
    """Return a row for each label, that with the lowest average precision first."""
    thresholds = test.constant("thresholds", logits_NxL.shape[1:])
    named_NxL, names = logits_NxL > thresholds, test.names
    areas = [average_precision(labels_NxL[:, each], logits_NxL[:, each].astype(float)) for each in range(len(names))]
    rows, bars = [], []
    for each in np.argsort(areas, kind="stable")[:_MOST_ROWS].tolist():
        there, named = labels_NxL[:, each], named_NxL[:, each]
        both, some, any_named = int((there & named).sum()), int(there.sum()), int(named.sum())
        rows.append(
            [
                names[each],
                f"{some:,}",
                f"{both / some:.3f}" if some else "–",
                said(*interval(named, there)) if some else "–",
                f"{both / any_named:.3f}" if any_named else "–",
                said(*interval(there, named)) if any_named else "–",
                f"{2 * both / (some + any_named):.3f}" if some + any_named else "–",
                "–" if np.isnan(areas[each]) else f"{areas[each]:.3f}",
                f"{thresholds[each]:.3g}",
            ]
        )
        bars.append(0.0 if np.isnan(areas[each]) else float(areas[each]))
    told = (
        "Recall: of the images with a label, the share for which it is named. Precision: of the images for which it is "
        "named, the share that have it. A label is named where its logit is above the threshold. The lowest average "
        "precision is first; bars are of it."
    )
    if len(names) > _MOST_ROWS:
        told += f" The first {_MOST_ROWS} of {len(names):,} labels."
    heads = ["label", "images", "recall", "interval", "precision", "interval", "F1", "average precision", "threshold"]
    return Part("Each label", [Text(told), Table(heads, rows, bars)])


def _reliability(labels_NxL: np.ndarray, logits_NxL: np.ndarray, validation: Predicted | None) -> Part:
    temperatures, told = temperatures_of(validation, temperature_of_labels, ", over all labels together.")
    rows, probabilities = [], []
    for name, each in temperatures.items():
        found = sigmoid(logits_NxL, each)
        signed = np.where(labels_NxL, 1.0, -1.0) * logits_NxL.astype(np.float64) / each
        loss, squared = np.logaddexp(0, -signed).mean(), ((found - labels_NxL) ** 2).mean()
        rows.append([name, f"{loss:.4f}", f"{squared:.4f}"])
        probabilities.append((name, found.ravel()))
    blocks: list[Block] = [told, Table(["probabilities", "log loss (nats)", "mean squared error"], rows)]
    title = "How often a label is there, over its probability"
    return Part("Reliability", [*blocks, reliability_plot(title, probabilities, labels_NxL.ravel())])
