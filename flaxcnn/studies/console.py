"""Console output of a study: a line for each training, and the table and the verdict at the end."""

from collections.abc import Sequence
from pathlib import Path

from flaxcnn.errors import printable
from flaxcnn.runs.setup import Setup
from flaxcnn.studies.outcome import Outcome
from flaxcnn.studies.plan import Entry, Fold, Plan
from flaxcnn.studies.search import Search
from flaxcnn.studies.tables import terminal_table
from flaxcnn.studies.words import verdicts_of, warnings_of


class StudyConsole:
    """Prints a study as it goes on.

    Args:
        plan: of the study.
    """

    def __init__(self, plan: Plan):
        self._plan, self._done = plan, 0

    def started(self, introduction: Sequence[str], folder: Path, again: bool) -> None:
        """Print what is compared, on what (`introduced`), and where."""
        for line in introduction:
            self._say(line)
        self._say(f"  folder  {folder}{', which is continued' if again else ''}")

    def searched(self, entry: Entry, fold: Fold, search: Search, seconds: float) -> None:
        """Print what a search chose."""
        setting = ", ".join(f"{path} {value}" for path, value in search.settings[search.chosen].items())
        failed = sum(value is None for value in search.values)
        told = f"; {failed} of {len(search.values)} failed" if failed else ""
        self._say(f"  {entry.name}{_called(fold)}: {setting}, by validation ({seconds:.0f} s){told}")

    def trained(self, entry: Entry, fold: Fold, seed: int | None, told: str) -> None:
        """Print how a training, or a probe without a seed, ended; one that was finished before says nothing."""
        self._done += 1
        if told:
            width = len(str(self._plan.jobs))
            of = "" if seed is None else f", seed {seed}"
            self._say(f"  [{self._done:{width}}/{self._plan.jobs}] {entry.name}{_called(fold)}{of}: {told}")

    def failed(self, entry: Entry, reason: str) -> None:
        """Print why an entry is not trained on."""
        self._say(f"  {entry.name} is not judged: {reason}")

    def stopped(self, folder: Path) -> None:
        """Print that a signal stopped the study."""
        self._say(f"stopped; continue with the same command; what is finished is kept in {folder}")

    def finished(self, outcome: Outcome, folder: Path) -> None:
        """Print the table, the verdict and the warnings."""
        self._say()
        for line in terminal_table(outcome):
            self._say(line)
        self._say()
        for line in (*verdicts_of(outcome), *(f"Note: {line}" for line in warnings_of(outcome))):
            self._say(line)
        self._say()
        self._say(f"folder  {folder}: study.html, table.md, table.csv, study.json and accuracy_over_speed.png")

    def warn(self, line: str) -> None:
        """Print a warning."""
        self._say(f"warning: {line}")

    def _say(self, line: str = "") -> None:
        print(printable(line), flush=True)


def introduced(plan: Plan, setup: Setup) -> list[str]:
    """Return lines that say what is compared, and on what data; of the first fold."""
    seeds = f"{len(plan.seeds)} {'seed' if len(plan.seeds) == 1 else 'seeds'}"
    repeats = f", {plan.repeats} times" if plan.repeats > 1 else ""
    test = f"{len(setup.dataset.test):,} images" if plan.folds is None else f"each of {plan.folds} folds{repeats}"
    classes = setup.task.described(setup.train.targets, setup.dataset.target_names)
    lines = [
        f"{plan.name}: {plan.question}" if plan.question else plan.name,
        f"  entries {', '.join(entry.name for entry in plan.entries)}",
        f"  data    {setup.dataset.source}: {classes}",
        f"  test    {test}; {seeds}; {plan.jobs:,} trainings",
    ]
    searched = [f"{entry.name} {len(entry.settings)}" for entry in plan.entries if entry.settings]
    return [*lines, f"  search  settings on each fold: {', '.join(searched)}"] if searched else lines


def _called(fold: Fold) -> str:
    if fold.number is None:
        return ""
    return f", fold {fold.number}" + (f" of division {fold.repeat}" if fold.repeat else "")
