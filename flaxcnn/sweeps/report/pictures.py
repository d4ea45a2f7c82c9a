"""The pictures of a sweep: learning curves by trial, parallel coordinates, importance, metric by hyperparameter.

The best trial is orange. The others range from dark blue (good) to light green (bad), with brightness in the same
order, or are all blue if colour has no meaning. All are drawn with the settings of `flaxcnn.pictures.drawn`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from flaxcnn.pictures import DPI, new_figure
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.sweeps.metric import RankedBy
from flaxcnn.sweeps.report.importance import equally_trained, importances
from flaxcnn.sweeps.report.results import best_of, measured, ranked, short_names, shown
from flaxcnn.sweeps.report.scales import Scale, domain_scale, metric_scale
from flaxcnn.sweeps.space import Choice, Domain, Space, When, domain_of
from flaxcnn.sweeps.trials import Status, Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_BEST, _BLUE, _GREY, _BLACK = (
    "#d55e00",
    "#0072b2",
    "#999999",
    "#000000",
)  # of Okabe and Ito's, which colour-blind people tell apart
_LEGEND_INCHES = 2.7  # of one entry
_LEVEL = 34  # letters below a panel that find room without being slanted
_SHADES = 0.82  # the part of viridis that shows on white
_MARKS = {
    Status.COMPLETE: ("o", True),
    Status.STOPPED: ("o", False),
    Status.PAUSED: ("s", False),
    Status.RUNNING: (">", False),
    Status.WAITING: (">", False),
    Status.FAILED: ("x", True),
}  # at the end of a trial, filled or hollow
_INACTIVE = -0.12  # where, below an axis, the trials stand that do not have its field
_BELOW = -0.1  # where, below the metric's axis, the trials stand that failed without it


def draw_sweep(trials: Sequence[Trial], space: Space, by: RankedBy, folder: Path) -> list[str]:
    """Draw a sweep as it stands.

    Writes `learning_curves.png`, `parallel_coordinates.png`, `hyperparameters.png` and `importance.png`.

    Args:
        trials: all of the sweep's.
        space: the searched fields' domains, by path.
        by: the metric that its trials are ranked by.
        folder: the sweep's.

    Returns:
        A line for each picture that could not be drawn, which says why.

    Raises:
        RunFolderError: the folder cannot be written to.
    """
    missing: list[str] = []
    draw = partial(RunFolder(folder).write_picture, warn=missing.append)
    order = ranked(trials)
    if any(trial.reports for trial in trials):
        draw("learning_curves.png", lambda file: _draw_learning_curves(order, by, file))
    else:
        missing.append("learning_curves.png is left out: no trial has reported anything")
    if any(trial.scores for trial in trials):
        draw("parallel_coordinates.png", lambda file: _draw_parallel(order, space, by, file))
        draw("hyperparameters.png", lambda file: _draw_hyperparameters(order, space, by, file))
    else:
        missing.append("parallel_coordinates.png and hyperparameters.png are left out: no trial has ended a rung")
    equals = equally_trained(trials)
    if len(space) == 1:
        missing.append("importance.png is left out: only one field is searched")
    elif equals is None:
        missing.append("importance.png is left out: no ten trials were trained equally far")
    else:
        shares = importances(equals, space)
        draw("importance.png", lambda file: _draw_importance(shares, equals.described, short_names(space), file))
    return missing


def _draw_learning_curves(order: Sequence[Trial], by: RankedBy, file: BinaryIO) -> None:
    """Draw what each trial reported, against steps; `order` has the best first, as everywhere here."""
    drawn, best = [trial for trial in order if trial.reports], best_of(order)
    scale = metric_scale([value for trial in drawn for value in trial.reports.values()], by)
    figure = new_figure(8.5, 5.2)
    axes = figure.subplots()
    for above, (trial, shade) in enumerate(_from_worst_to_best(drawn), start=3):
        steps = sorted(trial.reports)
        positions = [scale.place(trial.reports[step]) for step in steps]
        colour, width, size = (_BEST, 2.4, 7) if trial is best else (shade, 1.0, 5)
        axes.plot(steps, positions, color=colour, linewidth=width, zorder=above)
        _mark(axes, steps[-1], positions[-1], trial.status, colour, size, above)
    axes.set(xlabel="step", title=_title(order, drawn, "a report"))
    _metric_axis(axes, scale, by.words)
    _shade_axis(figure, axes, len(drawn))
    _legend(figure, [*_best_handle(best, by), *_mark_handles(drawn)])
    figure.savefig(file, dpi=DPI)


def _draw_parallel(order: Sequence[Trial], space: Space, by: RankedBy, file: BinaryIO) -> None:
    """Draw each trial as a line through its values, one vertical axis a field, the metric's last."""
    scored, best = [trial for trial in order if trial.scores], best_of(order)
    outcome = metric_scale(_outcomes(scored, by), by)
    scales = {field: domain_scale(entry) for field, entry in space.items()}
    figure = new_figure(max(6.5, 1.9 * len(space) + 2.2), 5.2)
    axes = figure.subplots()
    without = [(trial, _GREY) for trial in order if not trial.scores]
    for above, (trial, shade) in enumerate([*without, *_from_worst_to_best(scored)]):
        positions = [
            scale.place(trial.params[field]) + _jitter(trial, space[field]) if field in trial.params else _INACTIVE
            for field, scale in scales.items()
        ]
        positions += [outcome.place(value) for value in _outcomes([trial], by)]
        colour = _BEST if trial is best else shade
        width = 2.4 if trial is best else 1.4 if trial.status is Status.COMPLETE else 0.6
        axes.plot(
            range(len(positions)), positions, "-" if trial.scores else "--", color=colour, linewidth=width, zorder=above
        )
    above = len(order)
    for column, (field, scale) in enumerate(scales.items()):
        _upright(axes, column, scale.ticks, above)
        if any(field not in trial.params for trial in order):
            _upright(axes, column, [(_INACTIVE, "inactive")], above)
    _upright(axes, len(space), outcome.ticks, above, right=True)
    axes.set_xticks(range(len(space) + 1), [*short_names(space).values(), by.words])
    axes.set_yticks([])
    axes.set(xlim=(-0.35, len(space) + 0.35), title=_title(order, scored, "a score"))
    axes.spines[:].set_visible(False)
    _legend(figure, [*_best_handle(best, by), *_line_handles(order)])
    figure.savefig(file, dpi=DPI)


def _draw_hyperparameters(order: Sequence[Trial], space: Space, by: RankedBy, file: BinaryIO) -> None:
    """Draw the metric against each searched field, a panel each."""
    drawn = [trial for trial in order if trial.scores or trial.status is Status.FAILED]
    outcome, names, best = metric_scale(_outcomes(order, by), by), short_names(space), best_of(order)
    columns = min(3, len(space))
    rows = -(-len(space) // columns)
    figure = new_figure(max(5.5, 3.4 * columns), 0.9 + 3.0 * rows)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for number, (field, entry) in enumerate(space.items()):
        axes, scale = panels[divmod(number, columns)], domain_scale(entry)
        for above, (trial, _) in enumerate(_from_worst_to_best(drawn), start=3):
            if field in trial.params:
                across = scale.place(trial.params[field]) + _jitter(trial, entry)
                height = next(map(outcome.place, _outcomes([trial], by)), _BELOW)
                colour, size = (_BEST, 9) if trial is best else (_BLUE, 5)
                _mark(axes, across, height, trial.status, colour, size, above)
        slanted = {"rotation": 25, "ha": "right"} if sum(len(text) for _, text in scale.ticks) > _LEVEL else {}
        axes.set_xticks(*zip(*scale.ticks, strict=True), **slanted)
        axes.set(xlim=(-0.06, 1.06), ylim=(_BELOW - 0.04, 1.08), xlabel=names[field])
        if isinstance(entry, When):
            axes.set_title(f"where {entry.path} is {' or '.join(map(shown, entry.wanted))}", fontsize=8)
        _metric_axis(axes, outcome, by.words if number % columns == 0 else "")
    for empty in range(len(space), rows * columns):
        panels[divmod(empty, columns)].set_axis_off()
    figure.suptitle(_title(order, [trial for trial in order if trial.scores], "a score"))
    _legend(figure, [*_best_handle(best, by), *_mark_handles(drawn)])
    figure.savefig(file, dpi=DPI)


def _draw_importance(shares: Mapping[str, float], described: str, names: Mapping[str, str], file: BinaryIO) -> None:
    """Draw a bar for each searched field, the most important on top."""
    figure = new_figure(6.5, 1.2 + 0.34 * len(shares))
    axes = figure.subplots()
    bars = axes.barh([names[field] for field in shares], list(shares.values()), color=_BLUE)
    axes.bar_label(bars, [f"{share:.2f}" for share in shares.values()], padding=3)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.08 * max(shares.values())), xlabel="share", title=f"Importance (PED-ANOVA) {described}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=DPI)


def _outcomes(trials: Sequence[Trial], by: RankedBy) -> list[float]:
    return [value for trial in trials if (value := measured(trial, by)) is not None]


def _from_worst_to_best(order: Sequence[Trial]) -> Iterator[tuple[Trial, Any]]:
    """Give each trial with the colour of its rank, the best last, so that it is drawn over the others."""
    from matplotlib import colormaps

    for place in reversed(range(len(order))):
        yield order[place], colormaps["viridis"](_SHADES * place / max(1, len(order) - 1))


def _mark(axes: Any, x: float, y: float, status: Status, colour: Any, size: float, above: int) -> None:
    """Draw where a trial ended, in the sign of where it stands; `size` in points."""
    marker, filled = _MARKS[status]
    colour = _BLACK if status is Status.FAILED else colour
    fill = colour if filled else "white"
    axes.plot(x, y, marker, color=colour, markerfacecolor=fill, markersize=size, zorder=above)


def _upright(axes: Any, column: int, ticks: Sequence[tuple[float, str]], above: int, *, right: bool = False) -> None:
    """Draw a vertical axis and what stands beside it, so that it can be read over lines."""
    axes.axvline(column, color=_BLACK, linewidth=0.8, zorder=above)
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8}
    side, align = (1, "left") if right else (-1, "right")
    for place, text in ticks:
        axes.plot([column + 0.03 * side, column], [place, place], color=_BLACK, linewidth=0.8, zorder=above + 1)
        axes.text(column + 0.05 * side, place, text, ha=align, va="center", fontsize=8, bbox=box, zorder=above + 1)


def _metric_axis(axes: Any, scale: Scale, label: str) -> None:
    axes.set_yticks(*zip(*scale.ticks, strict=True))
    axes.set_ylabel(label)
    axes.set_axisbelow(True)
    axes.grid(alpha=0.3)


def _shade_axis(figure: "Figure", axes: Any, count: int) -> None:
    """Say beside the picture which colour is which rank; of three trials that can be seen."""
    if count <= 3:
        return
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    shades = ListedColormap(colormaps["viridis"]([_SHADES * place / 99 for place in range(100)]))
    bar = figure.colorbar(ScalarMappable(Normalize(1, count), shades), ax=axes, label="rank", pad=0.02)
    bar.ax.invert_yaxis()
    bar.set_ticks([1, round((1 + count) / 2), count])


def _best_handle(best: Trial | None, by: RankedBy) -> list["Line2D"]:
    from matplotlib.lines import Line2D

    if best is None:
        return []
    label = f"best: trial {best.number}, {measured(best, by):.4f}"
    return [Line2D([], [], color=_BEST, linewidth=2.4, marker="o", label=label)]


def _mark_handles(trials: Sequence[Trial]) -> list["Line2D"]:
    """Say what the marks mean, of those that occur, and how many there are."""
    from matplotlib.lines import Line2D

    counts = Counter(trial.status for trial in trials)
    handles = []
    for status in counts:
        marker, filled = _MARKS[status]
        colour = _BLACK if status is Status.FAILED else _BLUE
        label = f"{status} ({counts[status]:,})"
        fill = colour if filled else "white"
        handles.append(Line2D([], [], color=colour, linestyle="", marker=marker, markerfacecolor=fill, label=label))
    return handles


def _line_handles(trials: Sequence[Trial]) -> list["Line2D"]:
    """Say what the lines mean."""
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    dark, handles = colormaps["viridis"](0.0), []
    if any(trial.status is Status.COMPLETE for trial in trials):
        handles.append(Line2D([], [], color=dark, linewidth=1.4, label="complete; darker is better"))
    if any(trial.status is not Status.COMPLETE and trial.scores for trial in trials):
        handles.append(Line2D([], [], color=dark, linewidth=0.6, label="not complete, at its last rung"))
    if not all(trial.scores for trial in trials):
        handles.append(Line2D([], [], color=_GREY, linestyle="--", linewidth=0.6, label="without a score"))
    return handles


def _legend(figure: "Figure", handles: Sequence["Line2D"]) -> None:
    columns = min(len(handles), int(figure.get_figwidth() / _LEGEND_INCHES))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)


def _title(trials: Sequence[Trial], drawn: Sequence[Trial], what: str) -> str:
    count = f"{len(trials):,} {'trial' if len(trials) == 1 else 'trials'}"
    without = len(trials) - len(drawn)
    return count if not without else f"{count}, {without:,} of them without {what}"


def _jitter(trial: Trial, entry: Domain | When) -> float:
    """Return how far a trial is moved so that those with the same option do not cover each other."""
    domain = domain_of(entry)
    if not isinstance(domain, Choice):
        return 0.0
    golden = trial.number * 0.618034 % 1  # any number of trials in a row are spread evenly by it
    return 0.5 / len(domain.options) * (golden - 0.5)
