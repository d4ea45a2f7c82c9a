"""The table of a study: on the terminal, as Markdown and as CSV.

Numbers of the same study are the same bytes whenever and however often it was interrupted, but for those that are
times: `train_seconds` and `images_per_second`.
"""

import csv
import io
import math
from typing import Any

from flaxcnn.errors import printable
from flaxcnn.evaluation.table import markdown
from flaxcnn.studies.outcome import Outcome
from flaxcnn.studies.words import shown, verdicts_of, warnings_of, worded

TIMES = ("train_seconds", "images_per_second")
"""The columns that differ from machine to machine, and from time to time."""


def terminal_table(outcome: Outcome) -> list[str]:
    """Return the lines of the table for a terminal."""
    lines = cells(outcome)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return ["  ".join((line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:]))).rstrip() for line in lines]


def markdown_page(outcome: Outcome, again: str) -> str:
    """Return `table.md`: the table, the verdict, the warnings and the command."""
    parts = [
        f"# {outcome.plan.name}",
        outcome.plan.question,
        markdown([tuple(map(_escaped, line)) for line in cells(outcome)]),
        key(outcome),
        "\n".join(f"- {line}" for line in verdicts_of(outcome)),
        "\n".join(f"- {line}" for line in warnings_of(outcome)),
        f"    {again}",
    ]
    return printable_lines("\n\n".join(part for part in parts if part)) + "\n"


def key(outcome: Outcome) -> str:
    """Return a sentence that says what the numbers of the table are."""
    percent = [worded(name) for name in outcome.tabled if outcome.task.metrics[name].fraction]
    units = "groups of examples" if outcome.examples.groups is not None else "examples"
    several = outcome.replicates > 1
    of = " of each fold" if outcome.plan.folds is not None else ""
    spread = f"Student's 95 % interval of the mean over {outcome.replicates} trainings{of}"
    told = f"± is {spread}; in brackets is" if several else "In brackets is"
    inside = f"{told} the 95 % bootstrap interval over other {units}."
    probed = any(each.entry.probe is not None for each in outcome.trained.values())
    if probed and several:
        inside += " A probe draws nothing, and so has no ± over seeds."
    return f"{inside} In percent: {', '.join(percent)}." if percent else inside


def cells(outcome: Outcome) -> list[tuple[str, ...]]:
    """Return the table as cells of text, its head first."""
    metrics = outcome.tabled
    budget = () if outcome.same_budget else ("budget",)
    head = ("entry", *map(worded, metrics), "parameters", "multiply-adds", *budget, "train s", "images/s")
    lines = [head]
    for name, trained in outcome.trained.items():
        numbers = [measured_text(outcome, name, metric, brackets=metric == outcome.main) for metric in metrics]
        lines.append(
            (
                name,
                *numbers,
                f"{trained.parameters:,}",
                f"{trained.speed.multiply_adds:,}",
                *(() if outcome.same_budget else (trained.budget,)),
                f"{trained.mean_seconds:.1f}",
                f"{trained.speed.images_per_second:,.0f}",
            )
        )
    if outcome.examples.commonest is not None:
        chance = [commonest_text(outcome, metric) for metric in metrics]
        lines.append(("commonest class", *chance, *[""] * (len(head) - 1 - len(chance))))
    lines += [(name, "not trained", *[""] * (len(head) - 2)) for name in outcome.failed]
    return lines


def commonest_text(outcome: Outcome, metric: str) -> str:
    """Return what a fraction of right examples is where the commonest class is always named; "" for other metrics."""
    commonest = outcome.examples.commonest
    return "" if commonest is None or metric not in outcome.task.counted else f"{100 * commonest:.2f}"


def measured_text(outcome: Outcome, name: str, metric: str, *, brackets: bool) -> str:
    """Return an entry's metric with its intervals, as the table has it."""
    kind, found = outcome.task.metrics[metric], outcome.results[name].metrics[metric]
    words = shown(found.mean, kind)
    half = found.over_seeds.high - found.over_seeds.mean
    if math.isfinite(half):
        words += f" ± {shown(half, kind)}"
    if brackets and found.over_examples is not None and all(map(math.isfinite, found.over_examples)):
        low, high = (shown(end, kind) for end in found.over_examples)
        words += f" [{low}, {high}]"
    return words


def csv_table(outcome: Outcome) -> str:
    """Return `table.csv`: a row for each entry, every metric of the task with its intervals, in full precision."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    metrics = list(outcome.task.metrics)
    ends = ("mean", "seeds_low", "seeds_high", "examples_low", "examples_high")
    head = ["entry", "rank", "best", *(f"{metric}_{end}" for metric in metrics for end in ends)]
    fixed = ["parameters", "multiply_adds", "epochs", "images_seen", *TIMES, "failed"]
    rows.writerow([*head, *fixed])
    for rank, (name, trained) in enumerate(outcome.trained.items(), 1):
        numbers: list[Any] = []
        for metric in metrics:
            found = outcome.results[name].metrics[metric]
            pair = found.over_examples or (math.nan, math.nan)
            numbers += [found.mean, found.over_seeds.low, found.over_seeds.high, *pair]
        rows.writerow(
            [
                name,
                rank,
                name in outcome.verdict.best,
                *("" if not math.isfinite(number) else repr(float(number)) for number in numbers),
                trained.parameters,
                trained.speed.multiply_adds,
                trained.entry.experiment.training.epochs,
                f"{trained.images_seen:.0f}",
                f"{trained.mean_seconds:.3f}",
                f"{trained.speed.images_per_second:.1f}",
                "",
            ]
        )
    for name, reason in outcome.failed.items():
        rows.writerow([name, *[""] * (len(head) + len(fixed) - 2), printable(reason)])
    return file.getvalue()


def printable_lines(text: str) -> str:
    """Return text of several lines without anything unprintable."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
