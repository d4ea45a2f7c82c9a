"""What several tasks have in a report: precision over recall, and how often an answer that is so sure is right."""

from collections.abc import Callable, Sequence

import numpy as np

from flaxcnn.pages.parts import Plot, Series, Table, Text
from flaxcnn.tasks.calibration import in_bins
from flaxcnn.tasks.ranking import average_precision, precision_recall
from flaxcnn.tasks.task import Interval, Predicted

MOST_CURVES = 8
_MOST_POINTS = 200  # of a curve in a page
_BINS = 10


def temperatures_of(
    validation: Predicted | None, fit: Callable[[np.ndarray, np.ndarray], float], more: str
) -> tuple[dict[str, float], Text]:
    """Return by what a report's logits are divided, by name, and what is said of it.

    Args:
        validation: predictions of the validation images; None without.
        fit: the temperature of logits and targets.
        more: the end of what is said where there are validation images.
    """
    if validation is None:
        told = "The run has no validation images, so that no temperature could be fitted: train with --data.validation "
        return {"as trained": 1.0}, Text(f"{told}0.1.", warns=True)
    fitted = fit(validation.prediction("logits"), np.asarray(validation.targets))
    told = (
        f"The temperature {fitted:.3g} has the least cross-entropy on the {len(validation.targets):,} validation "
        f"images; everything below is measured on the test images{more}"
    )
    return {"as trained": 1.0, f"temperature {fitted:.3g}": fitted}, Text(told)


def precision_recall_plot(positive_NxK: np.ndarray, scores_NxK: np.ndarray, names: Sequence[str]) -> Plot:
    """Return the precision-recall curves of the classes with the lowest average precision, eight at most.

    Args:
        positive_NxK: bool, which examples are of a class.
        scores_NxK: the larger, the likelier.
        names: of the classes, K.
    """
    areas = [average_precision(positive_NxK[:, each], scores_NxK[:, each]) for each in range(len(names))]
    ranked = [each for each in np.argsort(areas, kind="stable").tolist() if np.isfinite(areas[each])]
    series = []
    for each in ranked[:MOST_CURVES]:
        precision, recall = precision_recall(positive_NxK[:, each], scores_NxK[:, each])
        kept = np.unique(np.linspace(0, len(recall) - 1, min(len(recall), _MOST_POINTS)).round().astype(int))
        xs, ys = np.append(0, recall[kept]), np.append(precision[0], precision[kept])
        series.append(Series(f"{names[each]}, average precision {areas[each]:.3f}", xs, ys))
    few = len(ranked) > MOST_CURVES
    title = f"Precision over recall{f', the worst {MOST_CURVES} of {len(ranked):,}' if few else ''}"
    return Plot(title, "recall", "precision", series, (0, 1), (0, 1.02))


def reliability_plot(title: str, said: Sequence[tuple[str, np.ndarray]], right_N: np.ndarray) -> Plot:
    """Return how often answers are right over how sure they are; on the diagonal, they are as sure as they should be.

    Args:
        title: of the plot.
        said: what probabilities are called, and the probabilities, float64 (N,).
        right_N: bool, which answers are right.
    """
    series = [Series("as sure as right", [0, 1], [0, 1], "dashed", -1)]
    for name, probabilities_N in said:
        bins = in_bins(probabilities_N, _BINS)
        counts = np.bincount(bins, minlength=_BINS)
        used = counts > 0
        means, shares = (np.bincount(bins, each, _BINS)[used] / counts[used] for each in (probabilities_N, right_N))
        color = len(series) // 2
        series += [Series(name, means, shares, "line", color), Series("", means, shares, "points", color)]
    return Plot(title, "how sure", "share that is right", series, (0, 1), (0, 1.02))


def reliability_table(probabilities_N: np.ndarray, right_N: np.ndarray, interval: Interval) -> Table:
    """Return the bins of a reliability plot: how many answers, how sure on average, and how many are right."""
    bins, rows = in_bins(probabilities_N, _BINS), []
    for place in range(_BINS):
        inside = bins == place
        if inside.any():
            ends = f"{place / _BINS:.1f} to {(place + 1) / _BINS:.1f}"
            sure, right = float(probabilities_N[inside].mean()), float(right_N[inside].mean())
            rows.append([ends, f"{inside.sum():,}", f"{sure:.3f}", f"{right:.3f}", said(*interval(right_N, inside))])
    return Table(["how sure", "answers", "mean", "right", "95 % interval"], rows)


def said(low: float, high: float) -> str:
    """Return an interval as text."""
    return "–" if np.isnan(low) else f"{low:.3f} to {high:.3f}"
