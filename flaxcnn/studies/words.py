"""What people have to know of an outcome, in sentences: warnings, verdicts, and a metric's value as text."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flaxcnn.studies.outcome import Outcome
from flaxcnn.studies.search import Search
from flaxcnn.tasks import Metric

FEW_GROUPS = 20
_IMBALANCE = 1.5  # times its fair share, from which on the commonest class is said
_CONTROLS = {  # what each sees, and what it means where that is enough
    "border": ("the border of each image alone", "the targets may be told by the background"),
    "middle": ("the middle of each image alone", "the targets may be told by a part of it"),
    "facts": ("the files' sizes and formats alone", "the targets may be told by how the files were made"),
}


def warnings_of(outcome: Outcome) -> list[str]:
    """Return sentences about what a reader has to know before trusting the table."""
    plan, examples = outcome.plan, outcome.examples
    said = []
    if outcome.replicates == 2:
        said.append(
            "Two trainings of each entry: what is behind ± rests on one difference, and is 12.7 standard errors wide. "
            "Three seeds or more say much more."
        )
    if outcome.replicates == 1:
        said.append(
            "One seed: how much each result would differ with another seed is unknown, and the tests are about these "
            "trained models, not about the recipes."
        )
    said += _of_divided_groups(outcome)
    for name, difference in outcome.controls.items():
        if outcome.trained[name].entry.divides_groups:
            continue
        if not difference.is_told or (difference.value < 0) == outcome.kind.higher_is_better:
            probe = outcome.trained[name].entry.probe
            sees, told = _CONTROLS[probe.sees if probe else "border"]
            said.append(
                f"{name} sees {sees}, and {outcome.verdict.order[0]} is not better by {worded(outcome.main)}: "
                f"{told}, and not by the subject."
            )
    if examples.groups is None:
        said.append(
            "The data have no groups. If several images show the same object, plant, person or session, some may be on "
            "both sides of a split, and then all accuracies are too high; name what belongs together (--data.group)."
        )
    elif examples.groups < FEW_GROUPS:
        said.append(
            f"The {examples.tested:,} tested examples are in {examples.groups:,} groups: intervals and tests rest on "
            "these few independent units."
        )
    if examples.commonest is not None and examples.counts is not None:
        classes = sum(count > 0 for count in examples.counts)
        if examples.commonest * classes >= _IMBALANCE:
            said.append(
                f"The classes are not balanced: always naming the commonest one is right in {examples.commonest:.1%}. "
                "Read the recall of each class beside the accuracy."
            )
    settings = {name: len(each.entry.settings) for name, each in outcome.trained.items() if each.entry.probe is None}
    if len(set(settings.values())) > 1:
        told = ", ".join(f"{name} {max(1, count)}" for name, count in settings.items())
        said.append(f"The searches are not equally large; settings tried: {told}.")
    budgets = {name: each.budget for name, each in outcome.trained.items() if each.entry.probe is None}
    if len(set(budgets.values())) > 1:
        told = ", ".join(f"{name} {budget}" for name, budget in budgets.items())
        said.append(f"The budgets are not the same: {told}.")
    said += [f"{name} could not be trained, and is not judged: {reason}" for name, reason in outcome.failed.items()]
    if plan.folds is not None and plan.validation and any(each.entry.settings for each in outcome.trained.values()):
        several = [
            name for name, each in outcome.trained.items() if len({_chosen(s) for s in each.searches.values()}) > 1
        ]
        if several:
            said.append(f"The search chose other values on other folds for {', '.join(several)}: see what was chosen.")
    return said


def _of_divided_groups(outcome: Outcome) -> list[str]:
    """Return a sentence for each control that divides groups: what a random split reports, beside whole groups."""
    said = []
    for name, each in outcome.trained.items():
        if not each.entry.divides_groups or each.entry.probe is None:
            continue
        same = replace(each.entry.probe, groups="whole")
        whole = next((other for other, found in outcome.trained.items() if found.entry.probe == same), None)
        values = {
            metric: f"{worded(metric)} {shown(outcome.results[name].metrics[metric].mean, kind)}"
            + (f" (whole groups: {shown(outcome.results[whole].metrics[metric].mean, kind)})" if whole else "")
            for metric, kind in outcome.task.metrics.items()
            if metric in outcome.task.compared
        }
        said.append(
            f"{name} divides groups between training and test, as a random split does, and may leak: "
            f"{', '.join(values.values())}. It is here to be compared with, not believed."
        )
    return said


def verdicts_of(outcome: Outcome) -> list[str]:
    """Return the sentences that name the winner, or those that cannot be told from the best, and why."""
    verdict, words = outcome.verdict, worded(outcome.main)
    if len(verdict.order) == 1:
        return [f"{verdict.order[0]} alone was trained: there is nothing to compare it with."]
    first = verdict.order[0]
    if verdict.winner is not None:
        told = [f"{first} is better than each other entry by {words}."]
    else:
        told = [
            f"No entry wins. {first} is the best by {words} on average, and cannot be told from "
            f"{_listed(verdict.best[1:])}."
        ]
    for name in verdict.order[1:]:
        found = verdict.differences[first, name]
        shown = _shown_difference(outcome, found.value)
        interval = f"{_shown_difference(outcome, found.low)} to {_shown_difference(outcome, found.high)}"
        p = f"corrected p {found.corrected:.2g}" if found.corrected >= 0.0001 else "corrected p below 0.0001"
        how = "is better than" if found.is_told else "cannot be told from"
        told.append(f"{first} {how} {name}: difference {shown} ({interval}), {p}.")
    return told


def worded(name: str) -> str:
    """Return a metric's name as people read it."""
    return name.replace("_", " ")


def shown(value: float, kind: Metric) -> str:
    """Return a metric's value as text; a fraction in percent."""
    if not np.isfinite(value):
        return "–"
    return f"{100 * value:.2f}" if kind.fraction else f"{value:.4g}"


def _shown_difference(outcome: Outcome, value: float) -> str:
    if not np.isfinite(value):
        return "unknown"
    return f"{100 * value:+.2f} points" if outcome.kind.fraction else f"{value:+.4g}"


def _chosen(search: Search) -> str:
    return str(sorted(search.settings[search.chosen].items()))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
