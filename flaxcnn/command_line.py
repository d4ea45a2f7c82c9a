"""A command line into a typed dataclass: tyro parses it and prints the help, and what is wrong becomes one line."""

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
"""Options that have a short form, by it."""


def parse(options: type[T], arguments: Sequence[str], *, program: str, default: T | None = None) -> T:
    """Return the options that the arguments say; print the help and exit where they ask for it.

    Args:
        options: a dataclass; its nested dataclasses become `--section.field`, its positional fields plain words.
        arguments: without the program's name.
        program: the command, for the help.
        default: what is not said keeps its value.

    Raises:
        ConfigError: an unknown option, a missing or surplus word, or a value of the wrong type.
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
        raise ConfigError("a word too many", where=surplus[0], fix=f"see {program} --help")
    return parsed


def unknown_option(word: str, program: str, known: Sequence[str]) -> ConfigError:
    """Return the error of an option that a command does not have: the one that is meant, or where its options are said.

    tyro's own options for completion, which each of its programs has, know one command at a time.
    """
    if word.replace("_", "-").startswith("--tyro-"):
        return ConfigError("unknown option", where=word, fix="completions are printed by: flaxcnn completion bash")
    hint = nearest(word.replace("-", "_").replace("__", "--", 1), known) if known else ""
    return ConfigError("unknown option", where=word, fix=hint or f"see {program} --help")


def unchecked(options: type) -> Any:
    """Return a dataclass with the same options that takes any values: nested ones check nothing when they are made.

    What is wrong together may be right beside the values of a config that is still to be read.
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
    """Return the names of a dataclass's options, without their dashes, and the types of their values."""
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
    """Return the short forms that options have, and what each stands for; an option of the same name comes first."""
    return {short: name for short, name in SHORT.items() if name in flags and short not in flags}


def _spelt_out(word: str, flags: Mapping[str, Any]) -> str:
    """Return a word with the option's own name in the place of its short form."""
    name = short_flags(flags).get(_flag(word) or "")
    return word if name is None else f"--{name}{''.join(word.partition('=')[1:])}"


def _is_positional(kind: Any) -> bool:
    import tyro

    return typing.get_args(tyro.conf.Positional[int])[1] in getattr(kind, "__metadata__", ())


def _flag(word: str) -> str | None:
    """Return an option's name as its field's is spelt, or None where the word is not an option."""
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
    """Raise the error of the word that is missing or, where none is, of the first option that fails on its own."""
    hints = typing.get_type_hints(options, include_extras=True)
    positional = [name.upper() for name, kind in hints.items() if _is_positional(kind)]
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
