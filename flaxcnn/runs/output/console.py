"""Console output of a training: a progress bar and a table on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from flaxcnn.config import ExperimentFile
from flaxcnn.errors import printable
from flaxcnn.evaluation.table import Columns, LoggedRow, column_widths
from flaxcnn.runs.setup import Setup
from flaxcnn.tasks import Metric, Task
from flaxcnn.terminal import command

_TABLE_WIDTH = 100  # of the table, where a task has more metrics than one


class RunConsole:
    """Prints a run as it goes on.

    Args:
        console: rich's console; by default one on standard output, whose width and colours follow the terminal.
        speaks: False for a process of several that says nothing, since another one does.
    """

    def __init__(self, console: Console | None = None, *, speaks: bool = True):
        self._console = console or Console(highlight=False, soft_wrap=True, quiet=not speaks)
        self._speaks = speaks
        self._columns: Columns | None = None
        self._widths: tuple[int, ...] = ()
        self._progress: Progress | None = None
        self._last_metric = ""

    def warn(self, line: str) -> None:
        """Print a warning on standard error."""
        if self._speaks:
            print(f"flaxcnn: {printable(line)}", file=sys.stderr)

    def lines(self, lines: Sequence[str]) -> None:
        """Print some lines."""
        for line in lines:
            self._say(line)

    def started(
        self,
        file: ExperimentFile,
        parameters: int,
        setup: Setup,
        device: str,
        folder: Path,
        step: int,
        why_xla: str,
        trained: Sequence[str] = (),
    ) -> None:
        """Print what will run, from which step, what it trains where that is not everything, and why its convolutions
        run on XLA where they should not.
        """
        train, dataset = file.experiment.training, setup.dataset
        height, width, channels = dataset.image_shape
        steps = setup.calendar.steps_per_epoch
        aside = "" if setup.validation is None else f", {len(setup.validation):,} validation"
        epochs = "1 epoch" if train.epochs == 1 else f"{train.epochs:,} epochs"
        ended = "" if train.steps is None else f", ended after {train.steps:,} steps"
        self._say(f"{file.name}: {file.experiment.model.name}, {parameters:,} parameters, on {device}")
        if why_xla:
            self._say(f"  kernels convolutions run on XLA: {why_xla}")
        self._say(
            f"  data    {dataset.source}: {len(setup.train):,} training{aside} and {len(dataset.test):,} test images "
            f"of {height}×{width}×{channels}, {setup.task.described(setup.train.targets, dataset.target_names)}"
        )
        for note in dataset.notes:
            self._say(f"          {note}")
        each = f"{steps:,} {'step' if steps == 1 else 'steps'} of {train.batch_size:,} images"
        self._say(f"  steps   {epochs} of {each}{ended}; seed {train.seed}")
        optimizer, schedule = file.experiment.optimizer, file.experiment.schedule.name
        self._say(f"  {optimizer.name:7} learning rate {optimizer.learning_rate:g}, {schedule}")
        layout, mesh = setup.layout, ""
        if layout.mesh.size > 1:
            mesh = f"{layout.mesh.size} devices: batches in {layout.data}, wide layers in {layout.model} parts"
            if layout.processes > 1:
                mesh += f"; {layout.processes} processes"
            self._say(f"  mesh    {mesh}")
        if setup.initial is not None:
            self._say(f"  weights {setup.initial.line}")
        for number, line in enumerate(trained):
            self._say(f"  {'' if number else 'trains':7} {line}")
        if not setup.fits(setup.train):
            workers = file.experiment.data.workers
            self._say(f"  images  too many for the device: streamed by {workers} worker processes")
        for note in file.notes:
            self._say(f"  {note}")
        self._say(f"  folder  {folder}")
        if step:
            self._say(f"  resumes after step {step:,}")

    @contextmanager
    def training(self, total_steps: int, columns: Columns) -> Iterator[None]:
        """Print the table's head; while entered, keep a progress bar below it on a terminal."""
        self._columns, heads = columns.fitting(_TABLE_WIDTH)
        self._widths = tuple(map(max, zip(*map(column_widths, heads), strict=True)))
        self._say()
        for head in heads:
            self._say(self._line(head))
        if not self._console.is_terminal or not self._speaks:
            yield
            return
        bar = (BarColumn(bar_width=30), TextColumn("{task.description}"), TimeRemainingColumn())
        count = TextColumn("step {task.completed:,.0f} of {task.total:,.0f}")
        with Progress(count, *bar, console=self._console, transient=True) as self._progress:
            self._progress.add_task("", total=total_steps)
            yield

    def advanced(self, step: int, loss: float, images_per_second: float) -> None:
        """Move the progress bar to `step` steps done."""
        if self._progress:
            described = f"loss {loss:.4f}  {self._last_metric}{images_per_second:,.0f} images/s"
            self._progress.update(self._progress.tasks[0].id, completed=step, description=described)

    def logged(self, number: int, row: LoggedRow) -> None:
        """Print a row of the table."""
        assert self._columns is not None, "within `training`"
        main = self._columns.main
        value = None if main is None else row.number(main)
        self._last_metric = "" if value is None else f"{_worded(self._columns.logged[0])} {value:.4f}  "
        self._say(self._line(self._columns.cells(number, row)))

    def stopped(self, step: int, total_steps: int, folder: Path, options: Sequence[str] = ()) -> None:
        """Print where a signal stopped the run, what is saved, and how to go on.

        Args:
            step: how many steps are made.
            total_steps: of how many.
            folder: the run's.
            options: with which it goes on.
        """
        saved = f"the checkpoint of step {step:,}" if step else "nothing but the config: no step was made"
        self._say()
        self._say(f"stopped after step {step:,} of {total_steps:,}; saved {saved}")
        self._say(f"resume with: {command('resume', folder, *options)}")

    def complete(self, step: int, total_steps: int, folder: Path) -> None:
        """Print that a run has nothing left to do."""
        asked = f" ({total_steps:,} are asked for)" if step != total_steps else ""
        self._say(f"{folder} is complete: {step:,} steps{asked}; nothing to do")

    def finished(self, summary: Mapping[str, Any], task: Task, first: int, folder: Path) -> None:
        """Print the final numbers, the times and the folder."""
        self._say()
        if summary["stopped_early"]:
            self._say(f"stopped early, after step {summary['steps']:,}: validation did not get better")
        for head, text in (lines := _final_lines(summary, task, first, folder)):
            self._say(f"{head:<{max(14, *(len(head) for head, _ in lines))}} {text}")

    def _line(self, texts: Sequence[str]) -> str:
        return "  ".join(map(str.rjust, texts, self._widths))

    def _say(self, line: str = "") -> None:
        self._console.print(printable(line), markup=False)


def _final_lines(summary: Mapping[str, Any], task: Task, first: int, folder: Path) -> list[tuple[str, str]]:
    """Return the lines of the end, what each begins with and the rest."""
    lines = []
    if summary["weights_step"] != summary["steps"]:
        lines.append(("weights", f"of step {summary['weights_step']:,}, the best one"))
    first_metric, *others = dict.fromkeys((*task.reported, *task.logged))
    lines.append(
        (f"test {_worded(first_metric)}", _with_interval(summary, task, first_metric, _over(summary, first_metric)))
    )
    if first and first_metric in task.logged:
        value = summary[f"test_{first_metric}_first_{first}"]
        lines.append(("", f"{_shown(value, task.metrics[first_metric])} on the first {first:,}"))
    for name in others:
        over = _over(summary, name)
        shown = _with_interval(summary, task, name, "" if over == _over(summary, first_metric) else over)
        lines.append((f"test {_worded(name)}", shown))
    logged = task.logged[0]
    kind, named = task.metrics[logged], f" {_worded(logged)}" if others else ""
    if f"validation_{logged}" in summary:
        shown = _shown(summary[f"validation_{logged}"], kind)
        lines.append((f"validation{named}", f"{shown} on {summary['validation_examples']:,} images never trained on"))
    shown, gap = (_shown(summary[name], kind) for name in (f"train_{logged}", "generalization_gap"))
    lines.append((f"training{named}", f"{shown} on the first {summary['train_examples']:,}: generalization gap {gap}"))
    times = (
        f"{summary['total_seconds']:.1f} s: steps {summary['train_seconds']:.1f}, "
        f"evaluation {summary['eval_seconds']:.1f}, compilation {summary['compile_seconds']:.1f}"
    )
    return [*lines, ("test loss", f"{summary['test_loss']:.4f}"), ("time", times), ("folder", str(folder))]


def _over(summary: Mapping[str, Any], metric: str) -> str:
    """Return over which test images a metric is: all, or those that have the target of its head."""
    for key, count in summary.items():
        head = key.removeprefix("test_").removesuffix("_examples")
        if key == f"test_{head}_examples" and metric.startswith(f"{head}_") and count < summary["test_examples"]:
            return f"on the {count:,} of {summary['test_examples']:,} that have a target, each exactly once"
    return f"on all {summary['test_examples']:,}, each exactly once"


def _worded(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: float | None, kind: Metric) -> str:
    """Return a metric's value: four decimals, and four digits of what is too small or too large for them."""
    if value is None:
        return "not defined"
    return f"{value:.4f}" if kind.fraction or value == 0 or 0.01 <= abs(value) < 1e6 else f"{value:.4g}"


def _with_interval(summary: Mapping[str, Any], task: Task, name: str, of_all: str) -> str:
    """Return a metric of the test images, its unit and its interval."""
    kind, value, interval = task.metrics[name], summary[f"test_{name}"], summary.get(f"test_{name}_interval_95")
    words = [_shown(value, kind), "" if value is None else kind.unit, of_all]
    if interval is not None:
        low, high = (_shown(end, kind) for end in interval)
        over = " over groups" if summary.get("test_groups") else ""
        words.append(f"(95 % interval{over} {low} to {high})")
    return " ".join(word for word in words if word)
