"""The folder of a study: made for one plan, and gone on with by the same one, or by one that asks for more."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from flaxcnn.config import Experiment
from flaxcnn.errors import ConfigError
from flaxcnn.files import cannot_write, user_path
from flaxcnn.runs.folder.kinds import LOCK, PLAN, kind_of
from flaxcnn.runs.folder.run_folder import PARTIAL, RunFolder
from flaxcnn.studies.plan import SPEED, Plan, fixed_fields
from flaxcnn.studies.study import Probe
from flaxcnn.sweeps.files import difference

RUNS, SEARCHES = "runs", "search"
_LONGEST = 200  # characters of a value in an error
_PROBE = json.loads(json.dumps(dataclasses.asdict(Probe("lenet5"))))  # its fields' defaults


def make_study_folder(plan: Plan, out: str | None) -> RunFolder:
    """Make the folder of a new study, or return that of the same one.

    Args:
        plan: the study's.
        out: the folder that the user asked for; None for `runs/study-NAME`.

    Raises:
        ConfigError: it holds something else, or another study.
        RunFolderError: it cannot be made or read.
    """
    path = study_folder_path(plan, out)
    try:
        path.mkdir(parents=True, exist_ok=True)
        holds = sorted(each.name for each in path.iterdir())
    except OSError as error:
        raise cannot_write(path, error) from error
    folder, identity = RunFolder(path), plan.fingerprint()
    if PLAN in holds:
        there = folder.read_json(PLAN)
        require_same_plan(there, identity, path)
        if there != identity:
            folder.write_json(PLAN, identity)
            (path / SPEED).unlink(missing_ok=True)  # entries are timed in one session, one after the other
        return folder
    others = [name for name in holds if name != LOCK and f".{PARTIAL}-" not in name]
    if others:
        kind = kind_of(path)
        what = f"holds {kind}, no study" if kind is not None else "holds files but no study"
        raise ConfigError(what, where=path, found=", ".join(others[:3]), fix="name another --out")
    folder.write_json(PLAN, identity)
    return folder


def study_folder_path(plan: Plan, out: str | None) -> Path:
    """Return where a study's folder is; arguments as for `make_study_folder`."""
    return user_path(out, "--out") if out is not None else Path("runs") / f"study-{plan.name}"


def require_same_plan(there: Any, here: Any, path: Path) -> None:
    """Raise ConfigError where a folder's plan is not the one that is asked for, nor one that this one adds to.

    More seeds after the same ones, and more entries, leave what was trained as it is. Fields that an older version of
    the library did not know have their defaults.
    """
    field, before, now = difference(_grown(_with_defaults(there), here), _with_defaults(here))
    if before != now:
        raise ConfigError(
            f"holds another study, by {field or PLAN}",
            where=path,
            expected=_short(before),
            found=_short(now),
            fix="restore this value, or name another --out",
        )


def _with_defaults(plan: Any) -> Any:
    entries = plan.get("entries") if isinstance(plan, dict) else None
    if not isinstance(entries, dict):
        return plan
    filled = {}
    for name, entry in entries.items():
        sections = entry.get("experiment") if isinstance(entry, dict) else None
        if not isinstance(sections, dict) or not all(isinstance(fields, dict) for fields in sections.values()):
            return plan
        whole = {each: {**fields, **sections.get(each, {})} for each, fields in fixed_fields(Experiment()).items()}
        whole |= {each: fields for each, fields in sections.items() if each not in whole}
        probe = entry.get("probe")
        probe = {**_PROBE, **probe} if isinstance(probe, dict) else probe
        filled[name] = {**entry, "experiment": json.loads(json.dumps(whole)), "probe": probe}
    return {**plan, "entries": filled}


def _grown(there: Any, here: Any) -> Any:
    """Return a plan with the seeds and entries that another one adds to it."""
    if not isinstance(there, dict) or not isinstance(there.get("entries"), dict):
        return there
    seeds, more = there.get("seeds"), here["seeds"]
    more = more if isinstance(seeds, list) and seeds and more[: len(seeds)] == seeds else seeds
    new = {name: entry for name, entry in _with_defaults(here)["entries"].items() if name not in there["entries"]}
    old_code, code = there.get("code"), here["code"]
    if isinstance(old_code, dict):
        of_new = {name: digest for name, digest in code.items() if name.partition(": ")[0] in new}
        old_code = {**old_code, **of_new}
    return {**there, "seeds": more, "entries": {**there["entries"], **new}, "code": old_code}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
