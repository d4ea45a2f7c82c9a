"""The results of a sweep: its trials from best to worst, as a table, as CSV and for the terminal.

A score is higher for better trials; the output shows the metric itself.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from flaxcnn.errors import printable
from flaxcnn.sweeps.metric import RankedBy
from flaxcnn.sweeps.trials import Params, Status, Trial, Value

_MOST_NAMED = 10  # trials in a list that people read


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials, the best first.

    Complete ones come first, by their last score; then the others, by the rung that they reached and their last score,
    since scores of different rungs do not compare; those that failed last. Of equal ones the lower number comes first.
    """

    def place(trial: Trial) -> tuple[bool, bool, int, float, int]:
        complete, failed = trial.status is Status.COMPLETE, trial.status is Status.FAILED
        score = trial.scores[-1] if trial.scores else float("-inf")
        return not complete, failed, 0 if complete else -trial.rung, -score, trial.number

    return sorted(trials, key=place)


def best_of(trials: Iterable[Trial]) -> Trial | None:
    """Return the first of the ranked trials that have a score and did not fail; None where there is no such."""
    scored = [trial for trial in trials if trial.scores and trial.status is not Status.FAILED]
    return ranked(scored)[0] if scored else None


def measured(trial: Trial, by: RankedBy) -> float | None:
    """Return the metric at the end of a trial's last rung; None where it ended none."""
    return by.score(trial.scores[-1]) if trial.scores else None


def steps_done(trial: Trial) -> int:
    """Return the step of a trial's last report, its parents' steps included; 0 where it has none."""
    return max(trial.reports, default=0)


def short_names(fields: Iterable[str]) -> dict[str, str]:
    """Return for each field's path what people call it: its last part, its section for a section's name.

    Where two would be called alike, it is the whole path.

    >>> short_names(["optimizer.learning_rate", "optimizer.name", "augmentation.scale"])
    {'optimizer.learning_rate': 'learning_rate', 'optimizer.name': 'optimizer', 'augmentation.scale': 'scale'}
    """
    parts = {path: path.rpartition(".") for path in fields}
    short = {path: section if name == "name" else name for path, (section, _, name) in parts.items()}
    alike = Counter(short.values())
    return {path: name if alike[name] == 1 else path for path, name in short.items()}


def shown(value: Value) -> str:
    """Return a value as people read it: a float with four digits.

    >>> shown(0.00213456), shown(64), shown("adamw"), shown(None)
    ('0.002135', '64', 'adamw', 'None')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def shown_params(params: Params, names: Mapping[str, str]) -> str:
    """Return a trial's values in one line, each with its field's short name."""
    return ", ".join(f"{names[path]} {shown(value)}" for path, value in params.items())


def write_csv(trials: Sequence[Trial], fields: Sequence[str], by: RankedBy, path: Path) -> None:
    """Write a row for each trial, by number: where it stands, the metric after its last rung, and its values.

    Args:
        trials: the sweep's.
        fields: the searched fields' paths, in the order of their columns; empty where a trial does not have one.
        by: the metric, whose name heads its column.
        path: of the file.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["number", "status", "rung", by.name, "steps", "seconds", "parent", *fields, "reason"])
        for trial in sorted(trials, key=lambda trial: trial.number):
            values = ["" if path not in trial.params else str(trial.params[path]) for path in fields]
            last, parent = measured(trial, by), trial.parent
            standing = [trial.number, trial.status.value, trial.rung, "" if last is None else last]
            spent = [steps_done(trial), f"{trial.seconds:.3f}", "" if parent is None else parent]
            rows.writerow([*standing, *spent, *values, printable(trial.reason)])


def summary_lines(trials: Sequence[Trial], by: RankedBy) -> list[str]:
    """Return for the terminal: how many trials stand where, the ten best ones, and why some failed."""
    counts = Counter(trial.status for trial in trials)
    standing = ", ".join(f"{counts[status]:,} {status}" for status in Status if counts[status])
    lines = [f"{len(trials):,} {'trial' if len(trials) == 1 else 'trials'}: {standing or 'none began'}"]
    best = [trial for trial in ranked(trials) if trial.scores and trial.status is not Status.FAILED][:_MOST_NAMED]
    if best:
        lines += ["", *_table(best, by)]
    failures: dict[str, list[int]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.status is Status.FAILED:
            failures.setdefault(printable(trial.reason), []).append(trial.number)
    if failures:
        lines += ["", *(f"failed: {_numbered(numbers)}: {reason}" for reason, numbers in failures.items())]
    return lines


def _table(trials: Sequence[Trial], by: RankedBy) -> list[str]:
    """Return lines of aligned columns, numbers and words alike to the right."""
    names = short_names(dict.fromkeys(path for trial in trials for path in trial.params))
    rows = [("trial", "status", by.words, "steps", *names.values())]
    for trial in trials:
        values = (shown(trial.params[path]) if path in trial.params else "–" for path in names)
        rows.append((f"{trial.number}", trial.status, f"{measured(trial, by):.4f}", f"{steps_done(trial):,}", *values))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(map(str.rjust, row, widths)) for row in rows]


def _numbered(numbers: Sequence[int]) -> str:
    named = ", ".join(map(str, numbers[:_MOST_NAMED]))
    more = len(numbers) - _MOST_NAMED
    return f"{'trial' if len(numbers) == 1 else 'trials'} {named}{f' and {more:,} more' if more > 0 else ''}"
