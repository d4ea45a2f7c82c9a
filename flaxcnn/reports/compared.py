"""Several runs beside each other: their metrics, the differences, the curves, and the images on which they differ."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from flaxcnn.errors import FlaxcnnError
from flaxcnn.evaluation.comparison import compare, describe
from flaxcnn.pages.html import text, tile
from flaxcnn.pages.parts import Part, Table, Text
from flaxcnn.pages.render import blocks, section
from flaxcnn.reports.about import environment, head, reproduction
from flaxcnn.reports.curves import curves
from flaxcnn.reports.material import Material
from flaxcnn.reports.numbers import metrics_of, shown, unit, worded
from flaxcnn.runs.folder.record import require_same_test_images
from flaxcnn.tasks import Mistakes

_MOST_IMAGES = 24
_EVERY = 1 << 30  # mistakes: all of them


class _Pair(NamedTuple):
    """The first run and another on the same test images: what is to be said, or why they cannot be compared."""

    run: Material
    lines: list[str]
    same: bool


def comparison(runs: Sequence[Material]) -> Iterator[str]:
    """Yield the page of several runs, as HTML; all but the first are compared with the first."""
    first, *others = runs
    pairs = [_pair(first, other) for other in others]
    yield f"<header><h1>{len(runs):,} runs</h1><p>{text(', '.join(run.called for run in runs), 2000)}</p></header>"
    yield "<section><h2>Which is better</h2>"
    if len(others) > 1:
        yield (
            f'<p class="warn">{len(others):,} runs are compared with the first one, and none of the tests is corrected '
            "for that: of twenty comparisons of equally good models, one names a difference.</p>"
        )
    for pair in pairs:
        yield f"<h3>{text(first.called)} and {text(pair.run.called)}</h3>"
        yield from blocks([Text(line, warns=not pair.same) for line in pair.lines])
    yield "<p>Each pair is compared on the same test images; another training of either may differ.</p></section>"
    for task in dict.fromkeys(run.task for run in runs):
        yield from section(_metrics([run for run in runs if run.task == task]))
    for name in dict.fromkeys(run.task.logged[0] for run in runs):
        alike = [run for run in runs if run.task.logged[0] == name and run.rows]
        if alike:
            yield from section(curves(alike))
    for pair in pairs:
        if pair.same:
            yield from _differing(first, pair.run)
    for run in runs:
        yield f"<h2>{text(run.called)}</h2>"
        yield from head(run)
        if run is not first and _computed(run) == _computed(first):
            yield f"<section><h2>Environment</h2><p>That of {text(first.called)}.</p></section>"
        else:
            yield from environment(run)
        yield from reproduction(run)


def _computed(run: Material) -> dict[str, object]:
    """Return what is recorded of the environment, without the data."""
    return {name: value for name, value in run.environment.items() if name != "data_sha256"}


def _pair(first: Material, other: Material) -> _Pair:
    try:
        require_same_test_images(first.folder, other.folder)
        if first.task != other.task:
            return _Pair(other, [f"Not compared: tasks {first.task.name} and {other.task.name} differ."], False)
        found = compare(first.task, first.test, other.test)
    except FlaxcnnError as error:
        return _Pair(other, [f"Not compared: {error}"], False)
    return _Pair(other, describe(first.task, found, first.test, other.test, (first.called, other.called)), True)


def _metrics(runs: Sequence[Material]) -> Part:
    task, found = runs[0].task, [metrics_of(run) for run in runs]
    rows = []
    for name, kind in task.metrics.items():
        cells = []
        for each in found:
            value = each[name]
            between = "" if np.isnan(value.low) else f" ({shown(value.low, kind)} to {shown(value.high, kind)})"
            cells.append(f"{shown(value.value, kind)}{between}")
        rows.append([worded(name), *cells, unit(kind)])
    told = (
        "On all test images of each run. The intervals, of 95 %, are of each run alone: that two overlap does not say "
        "that the runs are alike. The differences above count the same images for both."
    )
    return Part(f"Metrics, {task.name}", [Text(told), Table(["metric", *(run.called for run in runs), ""], rows)])


def _differing(first: Material, other: Material) -> Iterator[str]:
    """Yield the images that one of two runs gets right and the other wrong, or on which their errors differ most."""
    of_first = first.task.mistakes(first.predicted, first.calibration, _EVERY)
    of_other = other.task.mistakes(other.predicted, other.calibration, _EVERY)
    for one, two in zip(of_first, of_other, strict=True):
        called = f": {one.head}" if one.head else ""
        yield f"<section><h2>Where {text(first.called)} and {text(other.called)} differ{text(called)}</h2>"
        difference = np.nan_to_num(two.errors_N - one.errors_N)
        if one.counted:
            better, worse = int((difference < 0).sum()), int((difference > 0).sum())
            both = int(((one.errors_N > 0) & (two.errors_N > 0)).sum())
            yield f"<p>Only {text(first.called)} is right on {worse:,} images, only {text(other.called)} on {better:,};"
            yield f"both are wrong on {both:,}.</p>"
        else:
            yield "<p>The images on which their errors differ most.</p>"
        for sign, wrong, run in ((1, two, other), (-1, one, first)):
            yield from _tiles(first, sign * difference, wrong, run)
        yield "</section>"


def _tiles(first: Material, worse_N: np.ndarray, wrong: Mistakes, run: Material) -> Iterator[str]:
    """Yield the images on which a run is worse than the other."""
    said = dict(zip(wrong.worst, wrong.said, strict=True))
    order = sorted((each for each in wrong.worst if worse_N[each] > 0), key=lambda each: -worse_N[each])[:_MOST_IMAGES]
    yield f"<h3>{text(run.called)} is worse</h3>"
    if not order:
        yield "<p>On none.</p>"
        return
    if first.dataset is None and run.dataset is None:
        lines = "".join(f"<li>test image {first.test.index_N[each]:,}: {text(said[each])}</li>" for each in order)
        yield f"<ul>{lines}</ul>"
        return
    dataset = first.dataset or run.dataset
    assert dataset is not None
    names = dataset.test.names
    tiles = (tile(dataset.test.images[int(each)], said[each], "" if names is None else names[each]) for each in order)
    yield f'<div class="tiles">{"".join(tiles)}</div>'
