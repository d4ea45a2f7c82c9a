"""The content of `test_metrics.json`: every metric, and what is found of each class."""

from typing import Any

import numpy as np

from flaxcnn.tasks.arithmetic import as_json
from flaxcnn.tasks.detection.confusion import confusion_matrix
from flaxcnn.tasks.detection.errors import costs, errors_of
from flaxcnn.tasks.detection.evaluated import evaluated
from flaxcnn.tasks.detection.operating_point import counting_errors, precision_recall_f1
from flaxcnn.tasks.task import Predicted


def report_of(predicted: Predicted) -> dict[str, Any]:
    """Return what JSON can say of detections; None for what is not defined.

    Args:
        predicted: as `flaxcnn.tasks.detection.evaluated.evaluated` takes it.

    Returns:
        Every metric by name; "count_bias", the mean error of the number of objects; "classes", and lists in their
        order: "objects", "thresholds" and, with the ending "_of_each", ap, ap50, precision, recall, f1, count_error
        and count_bias; "errors", by kind their "number" at the thresholds and "ap50_cost", what the AP50 of all
        detections rises by if they are repaired; "confusion", K + 1 lists of K + 1 numbers, the background last.
    """
    found = evaluated(predicted)
    objects, matches, outcome = found.objects, found.matches, found.outcome
    measured = {name: value[0] for name, value in found.scores.measure(np.ones((1, objects.images), np.int32)).items()}
    of_each = {name: measured.pop(name) for name in ("ap_of_each", "ap50_of_each")}
    counts = outcome.right_counts, outcome.said_counts, outcome.true_counts
    shares = precision_recall_f1(*(each.sum(0) for each in counts))
    of_each |= dict(zip(("precision_of_each", "recall_of_each", "f1_of_each"), shares, strict=True))
    errors_and_bias = counting_errors(outcome.said_counts, outcome.true_counts)
    of_each |= dict(zip(("count_error_of_each", "count_bias_of_each"), errors_and_bias, strict=True))
    numbers, cost = errors_of(objects, matches, outcome.kept).numbers, costs(objects, matches)
    return {
        **{name: as_json(value.item()) for name, value in measured.items()},
        "count_bias": float((outcome.said_counts.sum() - outcome.true_counts.sum()) / objects.images),
        "classes": list(found.names),
        "objects": outcome.true_counts.sum(0).tolist(),
        "thresholds": as_json(found.thresholds),
        **{name: as_json(value) for name, value in of_each.items()},
        "errors": {kind: {"number": numbers[kind], "ap50_cost": as_json(cost[kind])} for kind in numbers},
        "confusion": confusion_matrix(objects, outcome).tolist(),
    }
