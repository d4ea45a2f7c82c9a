"""The command `runs`."""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from flaxcnn.command_line import parse

if TYPE_CHECKING:
    from flaxcnn.runs.tools.listing import Listed


@dataclass(frozen=True)
class RunsOptions:
    """List runs, sweeps and studies with their state and their numbers, or remove some.

    A run is complete, running (a process works in it), interrupted (`flaxcnn resume RUN` goes on with it), diverged or
    damaged.
    """

    dir: Positional[str] = "runs"
    """The folder that they lie in, at any depth."""
    where: tuple[str, ...] = ()
    """Only those of which FIELD=TEXT holds, where the field contains the text: state=interrupted model=resnet. Fields:
    path, kind, state, name, data, model, task, metric."""
    sort: Literal["path", "name", "value", "seconds", "bytes", "modified"] = "path"
    """By which they are ordered: their folders, the configs' names, the metric (the greatest first), time, size, or
    when they were written last (the latest first)."""
    json: bool = False
    """Print an array of JSON with everything that is known."""
    remove: tuple[str, ...] = ()
    """Folders of runs, of several seeds or of studies to remove. Asks before it does."""
    yes: bool = False
    """Remove without asking."""


_FIELDS = ("path", "kind", "state", "name", "data", "model", "task", "metric")


def list_runs(arguments: Sequence[str]) -> int:
    """List runs, sweeps and studies, or remove some."""
    options = parse(RunsOptions, arguments, program="flaxcnn runs")
    from flaxcnn.errors import ConfigError
    from flaxcnn.files import user_path
    from flaxcnn.runs.tools.listing import listed

    if options.remove:
        return _remove(options)
    tests = [_test(each) for each in options.where]
    root = user_path(options.dir, "the folder of runs")
    if not root.is_dir():
        raise ConfigError("no such folder", where=root, fix="name the folder that runs lie in: flaxcnn runs DIR")
    found = [each for each in listed(root) if all(text in str(getattr(each, field)) for field, text in tests)]
    if options.sort != "path":
        down = options.sort in ("value", "seconds", "bytes", "modified")
        found.sort(key=lambda each: _order(getattr(each, options.sort), down))
    if options.json:
        print(json.dumps([_as_json(each) for each in found], indent=1, allow_nan=False))
        return 0
    _print(found)
    return 0


def _test(written: str) -> tuple[str, str]:
    from flaxcnn.errors import ConfigError, nearest

    field, equals, text = written.partition("=")
    if not equals or field not in _FIELDS:
        fix = nearest(field, _FIELDS)
        raise ConfigError("not a condition", where="--where", expected="FIELD=TEXT", found=repr(written), fix=fix)
    return field, text


def _order(value: Any, down: bool) -> Any:
    if not isinstance(value, int | float):
        return value
    return (math.isnan(value), -value if down else value)


def _as_json(each: "Listed") -> dict[str, Any]:
    found = each._asdict()
    found |= {name: None for name in ("value", "seconds") if math.isnan(found[name])}
    return {**found, "path": str(each.path), "kind": each.kind.value, "state": each.state.value}


def _print(found: Sequence["Listed"]) -> None:
    import datetime

    from flaxcnn.errors import printable

    lines = []
    for each in found:
        value = "" if math.isnan(each.value) else f"{each.metric.replace('_', ' ')} {each.value:.4f}"
        ends = "" if each.interval is None or not value else f" ({each.interval[0]:.4f} to {each.interval[1]:.4f})"
        seconds = "" if math.isnan(each.seconds) else f"{each.seconds:,.0f} s"
        when = datetime.datetime.fromtimestamp(each.modified).strftime("%Y-%m-%d %H:%M")
        what = each.fault or " ".join(filter(None, (each.model, each.data)))
        kind = each.kind.removeprefix("a ")
        lines.append((str(each.path), kind, each.state.value, value + ends, seconds, _size(each.bytes), when, what))
    widths = [max((len(line[place]) for line in lines), default=0) for place in range(7)]
    for line in lines:
        aligned = zip(line, widths, "<<<<>><", strict=False)
        cells = [f"{cell:{side}{width}}" for cell, width, side in aligned]
        print(printable("  ".join([*cells, line[-1]]).rstrip()))
    counts = {each.state.value: 0 for each in found}
    for each in found:
        counts[each.state.value] += 1
    told = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    print(f"{len(found):,} in all{': ' if told else ''}{told}; {_size(sum(each.bytes for each in found))}")


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB" if count < 2**30 else f"{count / 2**30:,.2f} GiB"


def _remove(options: RunsOptions) -> int:
    from flaxcnn.errors import ConfigError, printable
    from flaxcnn.files import user_path
    from flaxcnn.runs.tools.listing import listed
    from flaxcnn.runs.tools.removing import remove_runs, require_removable

    folders = list(dict.fromkeys(user_path(each, "--remove") for each in options.remove))
    require_removable(folders)
    for each in (one for folder in folders for one in listed(folder)):
        print(printable(f"{each.path}: {each.kind}, {each.state}, {_size(each.bytes)}"))
    if not options.yes:
        if not sys.stdin.isatty():
            raise ConfigError("nobody to ask", where="--remove", fix="add --yes to remove them")
        if input("Remove? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was removed")
            return 1
    remove_runs(folders)
    print(printable(f"removed {', '.join(map(str, folders))}"))
    return 0
