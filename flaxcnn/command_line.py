"""Parse a command line into a typed dataclass with tyro, which also prints the help. Mistakes are one-line errors."""

import contextlib
import dataclasses
import io
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar, cast

from flaxcnn.config import type_name
from flaxcnn.errors import ConfigError, nearest

T = TypeVar("T")
SHORT = {"task": "task.name", "model": "model.name", "data": "data.source"}
"""Short forms of options, each with the full name."""


def parse(options: type[T], arguments: Sequence[str], *, program: str, default: T | None = None) -> T:
    """Parse the arguments into a dataclass. With -h or --help, print the help and exit.

    Args:
        options: a dataclass. Nested dataclasses become `--section.field` options, positional fields become plain words.
        arguments: the arguments, without the program's name.
        program: the command, for the help.
        default: the values of options that the arguments omit.

    Raises:
        ConfigError: an unknown option, a missing or extra argument, or a value of the wrong type.
    """
    import tyro

    flags = flags_of(options)
    arguments = [_spelt_out(word, flags) for word in arguments]
    if {"-h", "--help"} & set(arguments):
        tyro.cli(options, args=["--help"], prog=program, default=default, use_underscores=True)
    for word in arguments:
        name = _flag(word)
        if name is not None and name not in flags:
            known = [f"--{each}" for each in (*flags, *short_flags(flags))]
            raise unknown_option(word.partition("=")[0], program, known)
        if re.match(r"-[A-Za-z]", word):
            raise ConfigError("unknown option", where=word, fix=f"options have two dashes: see {program} --help")
    parsed, surplus = _quietly(options, arguments, default)
    if parsed is None:
        _explain(options, arguments, flags, default, program)
    if surplus:
        raise ConfigError("unexpected argument", where=surplus[0], fix=f"see {program} --help")
    return parsed


def unknown_option(word: str, program: str, known: Sequence[str]) -> ConfigError:
    """Return the error for an unknown option; its fix suggests the nearest option, or the help.

    For tyro's own completion options (`--tyro-…`), which know only one command at a time, it suggests
    `flaxcnn completion`.
    """
    if word.replace("_", "-").startswith("--tyro-"):
        return ConfigError("unknown option", where=word, fix="to print completions: flaxcnn completion bash")
    hint = nearest(word.replace("-", "_").replace("__", "--", 1), known) if known else ""
    return ConfigError("unknown option", where=word, fix=hint or f"see {program} --help")


def unchecked(options: type) -> Any:
    """Return a dataclass with the same options that accepts any values: its nested dataclasses check nothing.

    Values that fail the checks against the defaults may pass with the values of a config that is not read yet.
    """
    hints = typing.get_type_hints(options, include_extras=True)
    fields: list[Any] = []
    for each in dataclasses.fields(options):
        kind, default = hints[each.name], each.default
        notes = getattr(kind, "__metadata__", ())
        bare = kind.__origin__ if notes else kind
        if dataclasses.is_dataclass(bare):
            bare = unchecked(cast(type, bare))
            kind = typing.Annotated[(bare, *notes)] if notes else bare
            fields.append((each.name, kind, dataclasses.field(default_factory=bare)))
        else:
            fields.append((each.name, kind, dataclasses.field(default=default)))
    return dataclasses.make_dataclass(options.__name__, fields, frozen=True)


def flags_of(options: type) -> dict[str, Any]:
    """Return a dataclass's options: names without dashes, with the types of their values."""
    hints, flags = typing.get_type_hints(options, include_extras=True), {}
    for each in dataclasses.fields(options):
        kind = hints[each.name]
        annotations = getattr(kind, "__metadata__", ())
        if _is_positional(kind):
            continue
        kind = getattr(kind, "__origin__", kind) if annotations else kind
        if dataclasses.is_dataclass(kind):
            inner = flags_of(cast(type, kind))
            prefix = "" if any(getattr(note, "name", None) == "" for note in annotations) else f"{each.name}."
            flags.update({f"{prefix}{name}": inner[name] for name in inner})
        else:
            flags[each.name] = kind
            if kind is bool:
                flags[f"no_{each.name}"] = kind
    return flags


def short_flags(flags: Mapping[str, Any]) -> dict[str, str]:
    """Return the available short forms with their full names; an option with the same name wins over a short form."""
    return {short: name for short, name in SHORT.items() if name in flags and short not in flags}


def _spelt_out(word: str, flags: Mapping[str, Any]) -> str:
    """Replace an option's short form in an argument by its full name."""
    name = short_flags(flags).get(_flag(word) or "")
    return word if name is None else f"--{name}{''.join(word.partition('=')[1:])}"


def _is_positional(kind: Any) -> bool:
    import tyro

    return typing.get_args(tyro.conf.Positional[int])[1] in getattr(kind, "__metadata__", ())


def _flag(word: str) -> str | None:
    """Return an option's name, spelled like its field; None if the word is not an option."""
    return word[2:].partition("=")[0].replace("-", "_") if word.startswith("--") and len(word) > 2 else None


def _quietly(options: type[T], arguments: Sequence[str], default: T | None) -> tuple[T | None, list[str]]:
    import tyro

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            return tyro.cli(
                options,
                args=arguments,
                default=default,
                return_unknown_args=True,
                console_outputs=False,
                use_underscores=True,
            )
        except SystemExit:
            return None, []


def _explain(
    options: type[T], arguments: Sequence[str], flags: dict[str, Any], default: T | None, program: str
) -> NoReturn:
    """Raise the error for the missing argument or, if none is missing, for the first option that fails alone."""
    hints = typing.get_type_hints(options, include_extras=True)
    positional = [
        each.name.upper()
        for each in dataclasses.fields(cast(Any, options))
        if _is_positional(hints[each.name]) and each.default is dataclasses.MISSING
    ]
    for count in range(1, len(positional) + 1):
        if _quietly(options, [*["x"] * count, *arguments], default)[0] is not None:
            raise ConfigError(f"{positional[-count]} is missing", where=program, fix=f"see {program} --help")
    groups: list[list[str]] = []
    for word in arguments:
        if _flag(word) is not None:
            groups.append([])
        if groups:
            groups[-1].append(word)
    for group in groups:
        if _quietly(options, [*["x"] * len(positional), *group], default)[0] is not None:
            continue
        name, value = _flag(group[0]) or "", group[0].partition("=")[2] or " ".join(group[1:])
        raise ConfigError(
            "value missing" if not value else "wrong type",
            where=f"--{name}",
            expected=type_name(flags[name]),
            found=repr(value) if value else "nothing",
        )
    raise ConfigError("options that do not go together", where=program, fix=f"see {program} --help")
