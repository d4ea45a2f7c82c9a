"""Scripts that let a shell complete the words of the commands: bash, zsh and fish.

They are written from the options' types, and hold every word: completing starts no process. tyro's own script knows one
parser, and each command here has its own. Where no word is known, the shell completes the names of files.
"""

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tyro.conf import Positional

import flaxcnn
from flaxcnn.command_line import flags_of, short_flags
from flaxcnn.config import experiments
from flaxcnn.errors import ConfigError
from flaxcnn.sweeps import sweeps

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class CompletionOptions:
    """Print a script that completes this command's words in a shell.

    In ~/.bashrc: eval "$(flaxcnn completion bash)"; in ~/.zshrc, after compinit: eval "$(flaxcnn completion zsh)"; and
    for fish: flaxcnn completion fish > ~/.config/fish/completions/flaxcnn.fish
    """

    shell: Positional[str]
    """bash, zsh or fish."""


class Words(NamedTuple):
    """What may follow a command.

    Attributes:
        about: the command, in a sentence.
        names: for its words that are not options, files aside.
        values: of each option, by its name without dashes: the words that are known, none for another value; None for
            an option that takes no value.
    """

    about: str
    names: tuple[str, ...]
    values: Mapping[str, tuple[str, ...] | None]


def words_of(about: str, options: type) -> Words:
    """Return what may follow a command with these options."""
    configs, searches = tuple(experiments()), tuple(sweeps())
    models = tuple(sorted(path.stem for path in (Path(flaxcnn.__file__).parent / "models").glob("*.contract")))
    known = {"data.source": ("mnist",), "model.name": models, "search": searches}
    choices = {"config": configs, "source": ("mnist",), "model": models, "shell": SHELLS}
    values: dict[str, tuple[str, ...] | None] = {
        name: None if kind is bool else known.get(name, tuple(_literals(kind)))
        for name, kind in flags_of(options).items()
    }
    values |= {short: values[name] for short, name in short_flags(values).items()}
    names: tuple[str, ...] = ()
    for field in dataclasses.fields(options):
        if field.name not in values:
            names += choices.get(field.name, ())
    if "search" in values:
        names += searches
    return Words(about, names, {**values, "help": None, "debug": None})


def _literals(kind: Any) -> Iterable[str]:
    """Yield the words that a type names one by one."""
    if typing.get_origin(kind) is Literal:
        yield from (str(value) for value in typing.get_args(kind))
        return
    for part in typing.get_args(kind):
        yield from _literals(part)


def bash_script(commands: Mapping[str, Words]) -> str:
    """Return the script for bash."""
    own = [
        f'        {name}) options="{_joined(f"--{each}" for each in words.values)}" names="{_joined(words.names)}" ;;'
        for name, words in commands.items()
    ]
    flags = [
        f'"{name} {option}"' for name, words in commands.items() for option, of in words.values.items() if of is None
    ]
    values = [
        f'            "{name} {option}") words="{_joined(of)}" ;;'
        for name, words in commands.items()
        for option, of in words.values.items()
        if of
    ]
    return "\n".join(
        [
            "_flaxcnn() {",
            '    local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" options= names= words=',
            '    if [[ "$current" == "=" ]]; then  # bash takes --option=value for three words',
            "        current=",
            '    elif [[ "$before" == "=" ]]; then',
            '        before="${COMP_WORDS[COMP_CWORD-2]}"',
            "    fi",
            '    case "${COMP_WORDS[1]}" in',
            *own,
            "    esac",
            '    [[ "$current" == -* ]] && words="$options" || words="$names"',
            "    if (( COMP_CWORD == 1 )); then",
            f'        words="{_joined(commands)} --help --version"',
            '    elif [[ "$before" == --* ]]; then',
            '        before="${before#--}"',
            '        case "${COMP_WORDS[1]} ${before//-/_}" in',
            f"            {'|'.join(flags)}) ;;",
            *values,
            "            *) words= ;;",
            "        esac",
            "    fi",
            '    COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "}",
            "complete -o default -F _flaxcnn flaxcnn",
        ]
    )


def zsh_script(commands: Mapping[str, Words]) -> str:
    """Return the script for zsh, which runs bash's."""
    return f"autoload -U +X bashcompinit && bashcompinit\n{bash_script(commands)}"


def fish_script(commands: Mapping[str, Words]) -> str:
    """Return the script for fish."""
    lines = []
    for name, words in commands.items():
        about = words.about.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"complete -c flaxcnn -n __fish_use_subcommand -f -a {name} -d '{about}'")
        after = f"complete -c flaxcnn -n '__fish_seen_subcommand_from {name}'"
        if words.names:
            lines.append(f"{after} -a '{_joined(words.names)}'")
        for option, values in words.values.items():
            value = "" if values is None else f" -x -a '{_joined(values)}'" if values else " -r"
            lines.append(f"{after} -l {option}{value}")
    return "\n".join(lines)


def script_for(shell: str, commands: Mapping[str, Words]) -> str:
    """Return the script for a shell; raises ConfigError where there is none for it."""
    scripts = dict(zip(SHELLS, (bash_script, zsh_script, fish_script), strict=True))
    if shell not in scripts:
        raise ConfigError("no completion for this shell", where=shell, expected=" or ".join(SHELLS))
    return scripts[shell](commands)


def _joined(words: Iterable[str]) -> str:
    return " ".join(words)
