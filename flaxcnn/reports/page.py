"""The page of one run, or of several beside each other. Whatever comes from files goes through `text`."""

from collections.abc import Iterator, Sequence

from flaxcnn.pages.html import document, text
from flaxcnn.pages.render import section
from flaxcnn.reports.about import environment, head, reproduction
from flaxcnn.reports.compared import comparison
from flaxcnn.reports.curves import curves
from flaxcnn.reports.material import Material
from flaxcnn.reports.mistakes import MOST, by_properties, worst
from flaxcnn.reports.network import feature_map, filters
from flaxcnn.reports.numbers import ends, metrics_of, metrics_part, shown, worded

MADE_BY = "flaxcnn report"


def page(runs: Sequence[Material]) -> bytes:
    """Return the report of one run, or of several; the same runs give the same bytes.

    Args:
        runs: at least one.

    Raises:
        DataError: a prediction is not finite.
    """
    if len(runs) == 1:
        name = runs[0].config.file.name
        return document(f"Run: {name}", _of_one(runs[0]), MADE_BY)
    return document(f"Runs: {', '.join(run.called for run in runs)}", comparison(runs), MADE_BY)


def _of_one(run: Material) -> Iterator[str]:
    metrics = metrics_of(run)
    mistakes = run.task.mistakes(run.predicted, run.calibration, MOST)
    main = run.task.logged[0]
    found, kind = metrics[main], run.task.metrics[main]
    yield f'<header><h1>{text(run.config.file.name)}</h1><p class="verdict">'
    yield f"{text(worded(main))} {shown(found.value, kind)} on {len(run.test.index_N):,} test images,"
    yield f"95 % interval {ends(found, kind)}</p></header>"
    yield from head(run)
    yield from section(metrics_part(run, metrics))
    if run.rows:
        yield from section(curves([run]))
    for part in run.task.parts(run.predicted, run.validated, run.interval):
        yield from section(part)
    if mistakes:
        yield "<section><h2>Mistakes</h2>"
        for each in mistakes:
            yield from worst(run, each)
        yield "</section>"
    for each in mistakes:
        if (found_by := by_properties(run, each)) is not None:
            yield from section(found_by)
    yield from filters(run)
    drawn = feature_map(run, mistakes)
    if drawn is not None:
        yield from section(drawn)
    yield from environment(run)
    yield from reproduction(run)
