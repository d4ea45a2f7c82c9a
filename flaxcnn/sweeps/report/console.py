"""Console output of a sweep: a live table on a terminal, one line per event elsewhere.

Events, also those of other workers, are derived from how the trials changed between two reads.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from flaxcnn.errors import printable
from flaxcnn.sweeps.metric import RankedBy
from flaxcnn.sweeps.report.results import best_of, measured, short_names, shown_params, steps_done
from flaxcnn.sweeps.trials import Status, Trial

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live

_LEAST_SECONDS = 0.25  # between two refreshes of the live table
_AROUND = 10  # lines of a terminal that are not left to the running trials
_BAR = 20  # letters of a trial's bar
_BESIDE = 34  # letters of a terminal that are not left to the bar


class Work(NamedTuple):
    """How far a sweep is, in steps of single trials."""

    done: int
    expected: int  # of the whole sweep, as far as that can be said; those done among them
    compilations: int


def time_left(done: int, seconds: float, left: int) -> str:
    """Return how long some steps take at the pace of those that were done.

    >>> time_left(done=100, seconds=60, left=1000)
    '10 min left'
    """
    if not done:
        return "time left unknown"
    seconds_left = seconds / done * max(0, left)
    if seconds_left < 90:
        return f"{seconds_left:.0f} s left"
    hours, minutes = divmod(round(seconds_left / 60), 60)
    return f"{hours} h {minutes:02} min left" if hours else f"{minutes} min left"


class SweepConsole:
    """Prints a sweep as it goes on.

    Args:
        total_trials: how many trials it is to have, those that begin with another's state aside.
        by: what they are ranked by.
        console: rich's console; by default one on standard output, whose width and colours follow the terminal.
    """

    def __init__(self, total_trials: int, by: RankedBy, console: "Console | None" = None):
        from rich.console import Console

        self._total, self._by = total_trials, by
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._seen: dict[int, Trial] | None = None
        self._began: tuple[float, int] | None = None  # when the first steps of this process were done, and how many
        self._refreshed = 0.0
        self._live: Live | None = None

    def lines(self, lines: Sequence[str]) -> None:
        """Print some lines: what will run, or what came of it."""
        for line in lines:
            self.event(line)

    def event(self, line: str) -> None:
        """Print a line; on a terminal above the live table."""
        self._console.print(line, markup=False)

    @contextmanager
    def live(self) -> Iterator[None]:
        """While entered, keep the live table on a terminal; where there is none, this does nothing."""
        if not self._console.is_terminal:
            yield
            return
        from rich.live import Live

        with Live(console=self._console, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    def updated(self, trials: Sequence[Trial], progress: Mapping[int, tuple[int, int]], work: Work) -> None:
        """Show how the sweep stands; the first call says where this process found it.

        Cheap enough for after each block of steps: a terminal is written to four times a second at most.

        Args:
            trials: all of the sweep's.
            progress: steps done, and of how many, for the trials that this process trains; 0 of 0 for those that it has
                taken on, and that wait for their program.
            work: of the whole sweep.
        """
        for trial in trials:
            for line in self._news(trial):
                self.event(line)
        self._seen = {trial.number: trial for trial in trials}
        now = time.monotonic()
        if self._began is None:
            self._began = now, work.done
        if self._live and now - self._refreshed >= _LEAST_SECONDS:
            self._refreshed = now
            self._live.update(self._table(trials, progress, work), refresh=True)

    def _news(self, trial: Trial) -> list[str]:
        """Return what has happened to a trial since the last look; on a terminal only what its table does not show."""
        if self._seen is None:
            return []
        before = self._seen.get(trial.number)
        name = f"trial {trial.number}"
        if trial.status is Status.FAILED:
            failed_before = before is not None and before.status is Status.FAILED
            return [] if failed_before else [f"{name} failed: {printable(trial.reason)}"]
        if self._live:
            return []
        news = []
        if before is None:
            origin = "" if trial.parent is None else f" with the state of trial {trial.parent}"
            news.append(f"{name} began{origin}: {shown_params(trial.params, short_names(trial.params))}")
        value = measured(trial, self._by)
        outcome = "" if value is None else f": {self._by.words} {value:.4f}"
        reached = f"step {steps_done(trial):,}{outcome}"
        if trial.status is Status.COMPLETE and (before is None or before.status is not Status.COMPLETE):
            news.append(f"{name} complete at {reached}")
        elif len(trial.scores) > (len(before.scores) if before else 0):
            news.append(f"{name} ended rung {trial.rung} at {reached}")
        elif before and before.status is Status.PAUSED and trial.status is Status.RUNNING:
            news.append(f"{name} goes on")
        if trial.status is Status.STOPPED and (before is None or before.status is not Status.STOPPED):
            news.append(f"{name} stopped at {reached}")
        return news

    def _table(self, trials: Sequence[Trial], progress: Mapping[int, tuple[int, int]], work: Work) -> "Group":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        line = partial(Text, no_wrap=True, overflow="ellipsis")
        names = short_names(dict.fromkeys(path for trial in trials for path in trial.params))
        running = [trial for trial in trials if trial.number in progress or trial.status is Status.RUNNING]
        room = max(1, self._console.height - _AROUND)
        table = Table(box=None, pad_edge=False)
        for heading in ("trial", "step"):
            table.add_column(heading, justify="right", no_wrap=True)
        wide = min(_BAR, max(7, self._console.width - _BESIDE))
        table.add_column("", width=wide, no_wrap=True)
        table.add_column("last", justify="right", no_wrap=True)
        table.add_column("")  # the first one that gives way where the terminal is narrow; the bar is the second
        for trial in running[:room]:
            done, total = progress.get(trial.number, (0, 0))
            done = max(done, steps_done(trial))
            steps = f"{done:,} of {total:,}" if total else f"{done:,}"
            who = "up next" if trial.number in progress else "by another worker"
            bar = ProgressBar(total=total, completed=done, width=wide) if total else line(who)
            last = f"{trial.reports[steps_done(trial)]:.4f}" if trial.reports else "–"
            table.add_row(f"{trial.number}", steps, bar, last, line(shown_params(trial.params, names)))
        more = [Text(f"and {len(running) - room:,} more")] if len(running) > room else []
        return Group(Text(), *map(line, self._standing(trials, work, names)), Text(), table, *more)

    def _standing(self, trials: Sequence[Trial], work: Work, names: Mapping[str, str]) -> list[str]:
        """Return the lines above the running trials: how many stand where, the best one, and the time left."""
        counts = Counter(trial.status for trial in trials)
        begun = sum(trial.parent is None for trial in trials)
        counts[Status.WAITING] += max(0, self._total - begun)
        lines = ["  ".join(f"{status} {counts[status]:,}" for status in Status if counts[status])]
        best = best_of(trials)
        if best is not None:
            value = measured(best, self._by)
            lines.append(f"best {value:.4f}, trial {best.number}, {best.status}: {shown_params(best.params, names)}")
        assert self._began is not None
        pace = work.done - self._began[1], time.monotonic() - self._began[0]
        left = time_left(*pace, work.expected - work.done)
        share = work.done / max(work.expected, 1)
        lines.append(
            f"{work.done:,} of about {work.expected:,} steps ({share:.0%}), {left}; "
            f"{work.compilations:,} compiled {'program' if work.compilations == 1 else 'programs'}"
        )
        return lines
