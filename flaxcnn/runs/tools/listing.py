"""What lies in a folder of runs: each run, sweep and study with its state, its numbers, its time and its size."""

import fcntl
import math
import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from flaxcnn.errors import FlaxcnnError
from flaxcnn.runs.folder.kinds import LOCK, Kind, kind_of
from flaxcnn.runs.folder.record import CONFIG, SUMMARY, read_summary
from flaxcnn.runs.folder.run_folder import CRASH, RunFolder

_MOST_DEPTH = 6  # of folders below the one that is listed
_INTERVAL = "_interval_95"
_ENDED = {Kind.SWEEP: "best.py", Kind.SEEDS: "reproduce.json", Kind.STUDY: "study.json"}  # written last


class _Source(TypedDict):
    source: str


class _Verdict(TypedDict):
    best: list[str]


class _Metric(TypedDict):
    mean: float | None
    over_examples_95: list[float] | None


class _Entry(TypedDict):
    metrics: dict[str, _Metric]


class _Study(TypedDict):  # what is read of a study's numbers
    name: str
    metric: str
    data: _Source
    entries: dict[str, _Entry]
    verdict: _Verdict


class State(StrEnum):
    """How far a folder's work is."""

    COMPLETE = "complete"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    DIVERGED = "diverged"
    DAMAGED = "damaged"


class Listed(NamedTuple):
    """A run, sweep or study.

    Attributes:
        path: its folder.
        kind: what it is.
        state: how far it is.
        name: of its config; "" where it is not known.
        data, model, task: as its config names them; of a study, the best entry in the place of a model; "" for others.
        metric: the name of the test metric that a run reports first; "" for none.
        value: of that metric, NaN for none.
        interval: its 95 % interval; None where there is none.
        seconds: that it took in all, NaN where it is not known.
        bytes: that it takes on the disk.
        modified: when a file of it was last written, seconds since 1970.
        fault: what is damaged, a line; "" for nothing.
    """

    path: Path
    kind: Kind
    state: State
    name: str = ""
    data: str = ""
    model: str = ""
    task: str = ""
    metric: str = ""
    value: float = math.nan
    interval: tuple[float, float] | None = None
    seconds: float = math.nan
    bytes: int = 0
    modified: float = 0.0
    fault: str = ""


def listed(root: Path) -> list[Listed]:
    """Return what lies in a folder and below it, by path; of a sweep or a study the whole, and not its runs.

    Nothing is imported that a run names, and links are not followed.

    Raises:
        OSError: the folder cannot be read.
    """
    return [_listed(path, kind) for path, kind in _found(root, 0)]


def is_used(folder: Path) -> bool:
    """Return whether a process holds the lock of a folder, or of one below it."""
    return any(_is_held(Path(above) / LOCK) for above, _, files in os.walk(folder) if LOCK in files)


def _found(folder: Path, depth: int) -> Iterator[tuple[Path, Kind]]:
    kind = kind_of(folder)
    if kind is not None:
        yield folder, kind
        return
    if depth == _MOST_DEPTH:
        return
    with os.scandir(folder) as entries:
        inside = sorted(each.name for each in entries if each.is_dir(follow_symlinks=False))
    for name in inside:
        try:
            yield from _found(folder / name, depth + 1)
        except PermissionError:  # another user's; what can be read is listed
            continue


def _listed(path: Path, kind: Kind) -> Listed:
    size, modified = _size_of(path)
    found = Listed(path, kind, State.INTERRUPTED, bytes=size, modified=modified)
    try:
        if kind is Kind.RUN:
            found = _with_numbers(found, RunFolder(path))
        elif os.path.isfile(path / _ENDED.get(kind, "")):
            found = found._replace(state=State.COMPLETE)
            found = _best_of(found, RunFolder(path)) if kind is Kind.STUDY else found
    except (FlaxcnnError, OSError) as error:
        return found._replace(state=State.DAMAGED, fault=str(error))
    if found.state is not State.COMPLETE and is_used(path):
        found = found._replace(state=State.RUNNING)
    return found


def _with_numbers(found: Listed, folder: RunFolder) -> Listed:
    """Return a run with what its config and its summary say; raises FlaxcnnError where one is damaged."""
    if os.path.isfile(folder.path / CONFIG):
        config = folder.read_json(CONFIG)
        data, model, task = (_text(config.get(part), field) for part, field in _NAMES.items())
        found = found._replace(name=str(config.get("name", "")), data=data, model=model, task=task)
    if not os.path.isfile(folder.path / SUMMARY):
        return found._replace(state=State.DIVERGED) if os.path.isdir(folder.path / CRASH) else found
    summary = read_summary(folder)
    first = next((key for key in summary if key.startswith("test_") and f"{key}{_INTERVAL}" in summary), None)
    seconds = summary.get("total_seconds")
    found = found._replace(state=State.COMPLETE, seconds=seconds if isinstance(seconds, int | float) else math.nan)
    if first is None:
        return found
    value, (low, high) = summary[first], summary[f"{first}{_INTERVAL}"]
    value = value if isinstance(value, int | float) else math.nan
    return found._replace(metric=first.removeprefix("test_"), value=value, interval=(low, high))


def _best_of(found: Listed, folder: RunFolder) -> Listed:
    """Return a study with its best entry in the place of a model; raises FlaxcnnError where its numbers are damaged."""
    said: _Study = folder.read_json(_ENDED[Kind.STUDY], _Study)
    name, data = said["name"], said["data"]["source"]
    best = next(iter(said["verdict"]["best"]), "")
    of_best = said["entries"].get(best, {"metrics": {}})["metrics"].get(said["metric"])
    if of_best is None:
        return found._replace(name=name, data=data, model=best)
    ends = of_best["over_examples_95"]
    return found._replace(
        name=name,
        data=data,
        model=best,
        metric=said["metric"],
        value=math.nan if of_best["mean"] is None else of_best["mean"],
        interval=None if ends is None or len(ends) != 2 else (ends[0], ends[1]),
    )


_NAMES = {"data": "source", "model": "name", "task": "name"}


def _text(section: Any, field: str) -> str:
    value = section.get(field) if isinstance(section, Mapping) else None
    return value if isinstance(value, str) else ""


def _size_of(folder: Path) -> tuple[int, float]:
    """Return the bytes of all files of a folder, and when one was last written; links are not followed."""
    size, modified = 0, 0.0
    for above, _, files in os.walk(folder):
        for name in files:
            try:
                found = os.lstat(os.path.join(above, name))
            except OSError:  # gone meanwhile
                continue
            size, modified = size + found.st_size, max(modified, found.st_mtime)
    return size, modified


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a disk without locks
        return False
    finally:
        os.close(descriptor)
    return False
