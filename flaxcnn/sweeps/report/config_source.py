"""An experiment as the Python source of a config file, ready for `flaxcnn train`.

It lists only fields that differ from their defaults, formatted as by `ruff format`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from flaxcnn.config import Experiment
from flaxcnn.errors import printable

_COLUMNS = 120  # of a line


def experiment_source(experiment: Experiment, docstring: str) -> str:
    """Return a config file that binds `experiment`; `load_experiment` reads the same experiment back, bit for bit.

    Args:
        experiment: the experiment.
        docstring: the file's, without its quotes; what cannot be printed in a line is spelt out.

    >>> from flaxcnn.config import Optimizer
    >>> source = experiment_source(Experiment(optimizer=Optimizer(learning_rate=0.0021)), "The best of 24 trials.")
    >>> print(*source.splitlines()[2:], sep=chr(10))
    from flaxcnn.config import Experiment, Optimizer
    <BLANKLINE>
    experiment = Experiment(
        optimizer=Optimizer(learning_rate=0.0021),
    )
    """
    names, sections = {"Experiment"}, []
    for each in dataclasses.fields(experiment):
        section = getattr(experiment, each.name)
        values = {
            field.name: getattr(section, field.name)
            for field in dataclasses.fields(section)
            if getattr(section, field.name) != field.default
        }
        if values:
            names.add(type(section).__name__)
            sections.append(_section(each.name, type(section).__name__, values))
    body = "\n".join(["experiment = Experiment(", *sections, ")"]) if sections else "experiment = Experiment()"
    return f"{_docstring(docstring)}\n\n{_imports(sorted(names))}\n\n{body}\n"


def _section(name: str, kind: str, values: dict[str, Any]) -> str:
    """Return a section's lines, one where it fits, else one a field."""
    texts = [f"{field}={_value(value)}" for field, value in values.items()]
    line = f"    {name}={kind}({', '.join(texts)}),"
    if len(line) <= _COLUMNS:
        return line
    fields = [_field(field, value, text) for (field, value), text in zip(values.items(), texts, strict=True)]
    return "\n".join([f"    {name}={kind}(", *fields, "    ),"])


def _field(name: str, value: Any, text: str) -> str:
    """Return a field's line; numbers that are too many for it one a line."""
    line = f"        {text},"
    if len(line) <= _COLUMNS or not isinstance(value, tuple):
        return line
    return "\n".join([f"        {name}=(", *(f"            {_value(each)}," for each in value), "        ),"])


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_value, value))}{',' if len(value) == 1 else ''})"
    return repr(value).replace("e+", "e")  # 1e+16 is 1e16 to ruff


def _quoted(text: str) -> str:
    """Return a string as ruff quotes it: in double quotes, but where it holds more of those than of single ones."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    escaped = (each if each in "\"'" else repr(each)[1:-1] for each in text)
    return quote + "".join(f"\\{each}" if each == quote else each for each in escaped) + quote


def _imports(names: Sequence[str]) -> str:
    line = f"from flaxcnn.config import {', '.join(names)}"
    if len(line) <= _COLUMNS:
        return line
    return "\n".join(["from flaxcnn.config import (", *(f"    {name}," for name in names), ")"])


def _docstring(text: str) -> str:
    """Return the lines in triple quotes, away from a quote at either end by a space, as ruff writes it."""
    shown = "\n".join(map(printable, text.strip().split("\n")))
    lines = [line.rstrip() for line in shown.replace("\\", "\\\\").replace('"""', '\\"\\"\\"').split("\n")]
    body = "\n".join([*lines, ""] if len(lines) > 1 else lines)
    before, after = (" " if end == '"' else "" for end in (body[:1], body[-1:]))
    return f'"""{before}{body}{after}"""'
