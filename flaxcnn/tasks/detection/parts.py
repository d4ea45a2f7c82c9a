"""What a report says of detections: each class, counts, errors, confusion, sizes, precision over recall."""

from collections.abc import Iterator

import numpy as np

from flaxcnn.pages.parts import Block, Matrix, Part, Plot, Series, Table, Text
from flaxcnn.tasks.classification.confusion import similarity_order
from flaxcnn.tasks.curves import MOST_CURVES, said
from flaxcnn.tasks.detection.confusion import confusion_matrix
from flaxcnn.tasks.detection.errors import KINDS, costs, errors_of
from flaxcnn.tasks.detection.evaluated import Evaluated, evaluated
from flaxcnn.tasks.detection.matching import RANGES
from flaxcnn.tasks.detection.operating_point import counting_errors, precision_recall_f1
from flaxcnn.tasks.task import Interval, Mistakes, Predicted

_MOST_ROWS = 200  # of a table of classes
_MOST_POINTS = 200  # of a curve in a page
_MOST_SAID = 3  # classes of an image's mistakes
_KINDS_SAID = {
    "class": "on an object of another class: an IoU of at least 0.5",
    "place": "beside an object of its class: an IoU from 0.1 to 0.5",
    "both": "beside an object of another class: an IoU from 0.1 to 0.5",
    "duplicate": "on an object of its class that a surer detection has found",
    "background": "where no object is",
    "missed": "an object that nothing finds, and no error of class or place means",
}


def parts_of(test: Predicted, validation: Predicted | None, interval: Interval) -> Iterator[Part]:
    """Yield the parts; arguments as `Task.parts`."""
    found = evaluated(test)
    measured = found.scores.measure(np.ones((1, found.objects.images), np.int32))
    numbers = {name: value[0] for name, value in measured.items()}
    yield _classes(found, numbers, None if validation is None else len(validation.targets["scale"]))
    yield _counts(found, interval)
    yield _errors(found, interval)
    yield _confusion(found)
    yield _sizes(found, numbers)
    yield Part("Precision and recall", [_curves(found, numbers["ap50_of_each"])])


def mistakes_of(predicted: Predicted, most: int) -> Mistakes:
    """Return the images with the most wrong detections and missed objects at the thresholds."""
    found = evaluated(predicted)
    said_N, missed_N = found.wrong_numbers()
    worst, outcome = found.worst_images(most), found.outcome
    truths, detections = found.objects.truths, found.objects.detections
    lines = []
    for image in worst:
        there = truths.images == image
        wrong = (detections.images == image) & outcome.kept & ~outcome.right
        line = f"{(there & outcome.found).sum()} of {there.sum()} objects found"
        line += _named(found, "missed", truths.classes[there & ~outcome.found])
        lines.append(line + _named(found, "wrong", detections.classes[wrong]))
    errors_N = (said_N + missed_N).astype(np.float64)
    return Mistakes("wrong detections and missed objects of an image", errors_N, False, worst, lines)


def _named(found: Evaluated, what: str, classes_Q: np.ndarray) -> str:
    """Return of which classes some objects or detections are, the most frequent ones first."""
    if not len(classes_Q):
        return ""
    kinds, counts = np.unique(classes_Q, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shown = [f"{counts[each]} {found.names[kinds[each]]}" for each in order[:_MOST_SAID]]
    return f"; {what}: {', '.join(shown)}{', …' if len(order) > _MOST_SAID else ''}"


def _classes(found: Evaluated, numbers: dict[str, np.ndarray], validated: int | None) -> Part:
    """Return a row for each class, that with the lowest AP first; those without an object last."""
    outcome = found.outcome
    right_K, said_K, true_K = (each.sum(0) for each in (outcome.right_counts, outcome.said_counts, outcome.true_counts))
    precision, recall, f1 = precision_recall_f1(right_K, said_K, true_K)
    rows, bars = [], []
    for each in np.argsort(numbers["ap_of_each"], kind="stable")[:_MOST_ROWS].tolist():
        values = numbers["ap_of_each"], numbers["ap50_of_each"], precision, recall, f1, found.thresholds
        rows.append([found.names[each], f"{true_K[each]:,}", *(_number(value[each]) for value in values)])
        bars.append(float(np.nan_to_num(numbers["ap_of_each"][each])))
    told = (
        "AP is the mean of the average precision at IoU thresholds from 0.5 to 0.95, as COCO defines it; AP50 is that "
        "at 0.5. Precision, recall and F1 are those of detections whose score is at least the threshold, which are "
        "right at an IoU of 0.5. The lowest AP is first; bars are of it."
    )
    if len(found.names) > _MOST_ROWS:
        told += f" The first {_MOST_ROWS} of {len(found.names):,} classes."
    if validated is None:
        chosen = Text(
            "The run has no validation images, and so thresholds that nothing was chosen by: train with "
            "--data.validation 0.1.",
            warns=True,
        )
    else:
        chosen = Text(f"The thresholds have the best F1 on the {validated:,} validation images.")
    heads = ["class", "objects", "AP", "AP50", "precision", "recall", "F1", "threshold"]
    return Part("Each class", [Text(told), chosen, Table(heads, rows, bars)])


def _counts(found: Evaluated, interval: Interval) -> Part:
    """Return how well the objects of an image are counted, of all classes together and of each."""
    said_NxK, true_NxK = found.outcome.said_counts, found.outcome.true_counts
    every = np.ones(len(true_NxK), bool)
    order = np.argsort(-counting_errors(said_NxK, true_NxK)[0], kind="stable")[:_MOST_ROWS].tolist()
    columns = [("all together", said_NxK.sum(1), true_NxK.sum(1))] if len(found.names) > 1 else []
    columns += [(found.names[each], said_NxK[:, each], true_NxK[:, each]) for each in order]
    rows = []
    for name, said_N, true_N in columns:
        (error,), (bias,) = counting_errors(said_N[:, None], true_N[:, None])
        equal = said_N == true_N
        shares = f"{equal.mean():.3f}", said(*interval(equal, every))
        rows.append([name, f"{true_N.mean():.3g}", f"{said_N.mean():.3g}", f"{error:.3g}", f"{bias:+.3g}", *shares])
    told = (
        "The number of detections of an image whose score is at least the threshold, and the number of its objects: "
        "their means, the mean absolute error, the mean error, and the share of images in which both are equal. The "
        "largest error is first."
    )
    heads = ["class", "objects", "counted", "error", "too many", "right", "95 % interval"]
    return Part("Counts", [Text(told), Table(heads, rows)])


def _errors(found: Evaluated, interval: Interval) -> Part:
    """Return the kinds of errors, and how often the most confident detection of an image is right."""
    objects, matches = found.objects, found.matches
    numbers, cost = errors_of(objects, matches, found.outcome.kept).numbers, costs(objects, matches)
    total = max(1, sum(numbers.values()))
    rows, bars = [], []
    for kind in KINDS:
        share = numbers[kind] / total
        lost = "–" if np.isnan(cost[kind]) else f"{cost[kind]:+.3f}"
        rows.append([kind, _KINDS_SAID[kind], f"{numbers[kind]:,}", f"{share:.3f}", lost])
        bars.append(share)
    told = (
        "How many errors the detections at the thresholds make, and by how much the AP50 of all detections rises if "
        "those of one kind are repaired and nothing else (TIDE, Bolya et al., 2020). Bars are shares."
    )
    right_N, some_N = np.zeros(objects.images, bool), found.outcome.true_counts.any(1)
    right_N[objects.detections.images[objects.first]] = matches.right[objects.first]
    blocks: list[Block] = [Text(told), Table(["error", "what it is", "errors", "share", "AP50"], rows, bars)]
    if some_N.any():
        share = right_N[some_N].mean()
        told = (
            f"Of the {some_N.sum():,} images with an object, the most confident detection is right in class, with an "
            f"IoU of at least 0.5, in a share of {share:.3f} ({said(*interval(right_N, some_N))})."
        )
        blocks.append(Text(told))
    return Part("Errors", blocks)


def _confusion(found: Evaluated) -> Part:
    matrix = confusion_matrix(found.objects, found.outcome)
    order = [*similarity_order(matrix[:-1, :-1]).tolist(), len(found.names)]
    names = [*found.names, "background"]
    told = (
        "A row is what objects are, a column what they are found as at the thresholds, at an IoU of 0.5. Objects in "
        "the last column are missed; in the last row is what is found where nothing is, or a second time."
    )
    shown = matrix[np.ix_(order, order)]
    return Part("Confusion", [Text(told), Matrix("is", "found as", [names[each] for each in order], shown)])


def _sizes(found: Evaluated, numbers: dict[str, np.ndarray]) -> Part:
    said_of = {"small": "less than 32 × 32 pixels", "medium": "up to 96 × 96 pixels", "large": "more"}
    rows = []
    for place, name in enumerate(RANGES):
        if name in said_of:
            there = f"{found.matches.sought[:, place].sum():,}"
            values = numbers[f"ap_{name}"], numbers[f"ar_{name}"]
            rows.append([name, said_of[name], there, *(_number(float(value)) for value in values)])
    told = (
        "Sizes are those of the original images. AR is the share of the objects that are found by the 100 surest "
        "detections of a class in an image, the mean over IoU thresholds from 0.5 to 0.95 and over classes."
    )
    return Part("Sizes", [Text(told), Table(["size", "area", "objects", "AP", "AR"], rows)])


def _curves(found: Evaluated, ap50_K: np.ndarray) -> Plot:
    """Return the precision-recall curves of the classes with the lowest AP50, eight at most."""
    ranked = [each for each in np.argsort(ap50_K, kind="stable").tolist() if not np.isnan(ap50_K[each])]
    series = []
    for each in ranked[:MOST_CURVES]:
        precision, recall = found.precision_recall(each)
        kept = np.unique(np.linspace(0, len(recall) - 1, min(len(recall), _MOST_POINTS)).round().astype(int))
        series.append(Series(f"{found.names[each]}, AP50 {ap50_K[each]:.3f}", recall[kept], precision[kept]))
    few = f", the worst {MOST_CURVES} of {len(ranked):,}" if len(ranked) > MOST_CURVES else ""
    return Plot(f"Precision over recall at an IoU of 0.5{few}", "recall", "precision", series, (0, 1), (0, 1.02))


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"
