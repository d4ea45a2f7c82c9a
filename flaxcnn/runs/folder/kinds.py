"""The kinds of folders that the library writes, and the command for each."""

import os
from enum import StrEnum
from pathlib import Path

from flaxcnn.terminal import command

LOCK = ".lock"  # the first file that a run makes; a copy may lack it
SWEEP = "sweep.json"  # what makes the folder's sweep another than any other
PLAN = "plan.json"  # what makes the folder's study another than any other
STEP = "step.json"  # the step at which a run diverged
FIRST_SEED = "seed-000"


class Kind(StrEnum):
    """What a folder holds, in words."""

    RUN = "a run"
    CRASH = "a crash"
    SWEEP = "a sweep"
    SEEDS = "runs with several seeds"
    STUDY = "a study"


def kind_of(folder: Path) -> Kind | None:
    """Return what a folder holds; None for nothing of the library's, or where it may not be looked into."""

    def has(*names: str) -> bool:
        return any(os.path.isfile(folder / name) for name in names)

    if has(STEP):
        return Kind.CRASH
    if has(SWEEP):
        return Kind.SWEEP
    if has(PLAN):
        return Kind.STUDY
    if has(LOCK, "config.json"):
        return Kind.RUN
    seeds = has("reproduce.json", f"{FIRST_SEED}/{LOCK}", f"{FIRST_SEED}/config.json")
    return Kind.SEEDS if seeds else None


def use_of(kind: Kind, folder: Path) -> str:
    """Return how to use a folder, for an error that says it is not what the command expects."""
    if kind is Kind.RUN:
        return f"if it is not complete, resume it with: {command('resume', folder)}"
    if kind is Kind.CRASH:
        return f"inspect it with: {command('replay', folder)}"
    if kind is Kind.SEEDS:
        more = command("reproduce", "CONFIG", "--out", folder)
        return f"name one of them, such as {folder / FIRST_SEED}, or continue them with: {more}"
    if kind is Kind.STUDY:
        runs = folder / "runs"
        more = command("study", "FILE", "SOURCE", "--out", folder)
        return f"name one of its runs, below {runs}, or continue it with: {more}"
    again = f"continue it with: {command('sweep', 'CONFIG', '--out', folder)}"
    best = folder / "best.py"
    return f"{again}; train its best setting with: {command('train', best)}" if best.is_file() else again
