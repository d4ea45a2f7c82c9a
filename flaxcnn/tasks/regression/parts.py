"""What a report says of predicted numbers: over the true ones, their errors, and how often intervals hold."""

from collections.abc import Iterator, Sequence

import numpy as np

from flaxcnn.pages.parts import Block, Part, Plot, Series, Table, Text
from flaxcnn.tasks.calibration import half_widths
from flaxcnn.tasks.curves import said
from flaxcnn.tasks.regression.scores import fitting
from flaxcnn.tasks.task import Interval, Mistakes, Predicted

_MOST_POINTS = 1000  # of a plot in a page
_SHARE = 0.9


def parts_of(test: Predicted, validation: Predicted | None, interval: Interval, names: Sequence[str]) -> Iterator[Part]:
    """Yield the parts; arguments as `Task.parts`, and the names of the numbers."""
    true_NxT, predicted_NxT = fitting(test.targets, test.prediction("numbers"))
    chosen = np.linspace(0, len(true_NxT) - 1, min(len(true_NxT), _MOST_POINTS)).round().astype(int)
    of_each: list[Block] = []
    for each, name in enumerate(names):
        true, predicted = true_NxT[chosen, each], predicted_NxT[chosen, each]
        ends = [float(min(np.min(true), np.min(predicted))), float(max(np.max(true), np.max(predicted)))]
        equal = Series("equal", ends, ends, "dashed", -1)
        of_each.append(
            Plot(f"{name}: predicted over true", "true", "predicted", [equal, Series("", true, predicted, "points", 0)])
        )
        ends = [float(np.min(predicted)), float(np.max(predicted))]
        none = Series("no error", ends, [0, 0], "dashed", -1)
        errors = Series("", predicted, predicted - true, "points", 0)
        of_each.append(Plot(f"{name}: error over predicted", "predicted", "predicted − true", [none, errors]))
    if len(true_NxT) > _MOST_POINTS:
        of_each.insert(0, Text(f"{_MOST_POINTS:,} of the {len(true_NxT):,} test images, evenly spaced in their order."))
    yield Part("Predicted and true numbers", of_each)
    yield _intervals(true_NxT, predicted_NxT, validation, interval, names)


def mistakes_of(predicted: Predicted, names: Sequence[str], most: int) -> Mistakes:
    """Return the largest errors; of several numbers, of the mean over them, each in its own deviation."""
    true_NxT, said_NxT = fitting(predicted.targets, predicted.prediction("numbers"))
    errors_NxT = np.abs(said_NxT - true_NxT)
    one = len(names) == 1
    if not one:
        deviation = predicted.constant("target_deviation", (len(names),)).astype(np.float64)
        errors_NxT = errors_NxT / deviation
    errors_N = errors_NxT.mean(1)
    worst = np.argsort(-errors_N, kind="stable")[:most].tolist()
    lines = [
        "; ".join(
            f"{name} {true:.4g}, predicted {guess:.4g}"
            for name, true, guess in zip(names, true_NxT[each], said_NxT[each], strict=True)
        )
        for each in worst
    ]
    measure = f"mean absolute error of {names[0]}" if one else "mean absolute error in standard deviations"
    return Mistakes(measure, errors_N, False, worst, lines)


def _intervals(
    true_NxT: np.ndarray,
    predicted_NxT: np.ndarray,
    validation: Predicted | None,
    interval: Interval,
    names: Sequence[str],
) -> Part:
    """Return how often the 90 % intervals that `flaxcnn predict` gives hold on the test images."""
    title = "Do the 90 % intervals hold?"
    if validation is None:
        told = "The run has no validation images, and so no intervals: train with --data.validation 0.1."
        return Part(title, [Text(told, warns=True)])
    validated = fitting(validation.targets, validation.prediction("numbers"))
    widths, rows = half_widths(validated[1] - validated[0], _SHARE), []
    every = np.ones(len(true_NxT), bool)
    for each, (name, width) in enumerate(zip(names, widths, strict=True)):
        if width is None:
            rows.append([name, "–", "–", "–"])
            continue
        inside = np.abs(true_NxT[:, each] - predicted_NxT[:, each]) <= width
        rows.append([name, f"± {width:.4g}", f"{inside.mean():.3f}", said(*interval(inside, every))])
    told = (
        f"Their widths are chosen on the {len(validated[0]):,} validation images, so that a new number lies inside with"
        " 90 % probability. Of the test images, so many do:"
    )
    return Part(title, [Text(told), Table(["number", "width", "inside", "95 % interval"], rows)])
