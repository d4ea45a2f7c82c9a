"""The fields of an experiment that can name a user's own code, `FILE.py:NAME`. Nothing here imports that code."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flaxcnn.config.experiment import Experiment, to_json
from flaxcnn.errors import ConfigError
from flaxcnn.files.user_code import is_outside, outside_parts

CODE_FIELDS = ("task.name", "model.name", "data.source")
"""The fields that may name a file of the user's own code."""
HEADS = "task.heads"  # each head can name code, too; "task.heads.age" is the head `age`
HEAD_FORM = "NAME=TASK or NAME=TASK:WEIGHT for each, such as species=classification area=regression:0.5"


class WrittenHead(NamedTuple):
    """The parts of a head such as `area=regression:0.5`; the weight is "" if omitted."""

    name: str
    task: str
    weight: str

    def __str__(self) -> str:
        return f"{self.name}={self.task}{':' if self.weight else ''}{self.weight}"


def parse_head(written: str) -> WrittenHead:
    """Return the parts of a head; raises ConfigError if it has another form.

    >>> parse_head("area=regression:0.5"), parse_head("age=my_task.py:Ordinal").task
    (WrittenHead(name='area', task='regression', weight='0.5'), 'my_task.py:Ordinal')
    """
    name, equals, rest = written.partition("=")
    task, _, weight = rest.rpartition(":")
    if not task or not _is_number(weight):  # no weight: a colon may be that of FILE.py:NAME
        task, weight = rest, ""
    if not equals or not name.isidentifier() or not task or (weight and not 0 < float(weight) < 3.4e38):
        raise ConfigError("not a head", where=HEADS, expected=HEAD_FORM, found=repr(written))
    return WrittenHead(name, task, weight)


def outside_names(experiment: Experiment) -> dict[str, str]:
    """Return the names of a user's own code in an experiment, `FILE.py:NAME`, by field."""
    return names_in(to_json(experiment))


def names_in(sections: Mapping[str, Any]) -> dict[str, str]:
    """Return `outside_names` for an experiment's JSON sections."""
    found = {path: name for path in CODE_FIELDS if is_outside(name := _value(sections, path, ""))}
    heads = map(parse_head, _value(sections, HEADS, ()))
    return found | {f"{HEADS}.{head.name}": head.task for head in heads if is_outside(head.task)}


def field_of(experiment: Experiment, path: str) -> str:
    """Return the value of a field such as "model.name" or "task.heads.age"; "nothing" if there is no such head."""
    section, _, name = path.partition(".")
    field, _, called = name.partition(".")
    value = getattr(getattr(experiment, section), field)
    return next((head.task for head in map(parse_head, value) if head.name == called), "nothing") if called else value


def with_names(experiment: Experiment, names: Mapping[str, str]) -> Experiment:
    """Return the experiment with new names in the given fields, which are spelled as for `field_of`."""
    for path, name in names.items():
        section, _, field = path.partition(".")
        value: Any = name
        if path.startswith(f"{HEADS}."):
            field, _, called = field.partition(".")
            heads = map(parse_head, experiment.task.heads)
            value = tuple(str(head._replace(task=name) if head.name == called else head) for head in heads)
        changed: Any = {section: dataclasses.replace(getattr(experiment, section), **{field: value})}
        experiment = dataclasses.replace(experiment, **changed)
    return experiment


def with_code_beside(experiment: Experiment, config: Path) -> Experiment:
    """Return the experiment with its relative code paths resolved beside its config file, if the code is there.

    Args:
        experiment: the experiment that the file binds.
        config: the file.
    """
    names = {}
    for path, value in outside_names(experiment).items():
        file, name = outside_parts(value, path)
        beside = config.parent / file
        if not file.is_absolute() and beside.is_file():
            names[path] = f"{beside}:{name}"
    return with_names(experiment, names)


def options_of(names: Mapping[str, str]) -> list[str]:
    """Return the command-line arguments that set these fields to these names.

    >>> options_of({"task.name": "my_task.py:Ordinal", "task.heads.age": "a.py:A", "task.heads.sex": "b.py:B"})
    ['--task.name', 'my_task.py:Ordinal', '--task.heads', 'age=a.py:A', 'sex=b.py:B']
    """
    words = [word for path, name in names.items() if path in CODE_FIELDS for word in (f"--{path}", name)]
    heads = [f"{path.removeprefix(f'{HEADS}.')}={name}" for path, name in names.items() if path not in CODE_FIELDS]
    return [*words, f"--{HEADS}", *heads] if heads else words


def option_of(path: str, name: str) -> str:
    """Return the option that sets a field to a name, as one string."""
    return " ".join(options_of({path: name}))


def names_of_heads(heads: Iterable[str]) -> dict[str, str]:
    """Return the task names of heads, by field ("task.heads.age")."""
    return {f"{HEADS}.{head.name}": head.task for head in map(parse_head, heads)}


def _value(sections: Mapping[str, Any], path: str, default: Any) -> Any:
    section, _, name = path.partition(".")
    return sections.get(section, {}).get(name, default)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
