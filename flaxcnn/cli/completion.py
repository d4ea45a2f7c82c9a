"""Shell-completion scripts for bash, zsh and fish.

The scripts are generated from the options' types and hold every word, so completion starts no process. tyro's own
script knows a single parser, but each command here has its own. Where no word is known, the shell completes file names.
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
from flaxcnn.studies import studies
from flaxcnn.sweeps import sweeps

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class CompletionOptions:
    """Print a shell-completion script for flaxcnn.

    In ~/.bashrc: eval "$(flaxcnn completion bash)"; in ~/.zshrc, after compinit: eval "$(flaxcnn completion zsh)"; for
    fish: flaxcnn completion fish > ~/.config/fish/completions/flaxcnn.fish
    """

    shell: Positional[str]
    """bash, zsh or fish."""


class Words(NamedTuple):
    """The words that can follow a command.

    Attributes:
        about: one sentence about the command.
        names: words for its positional arguments, apart from file names.
        values: for each option, by its name without dashes, the known values; empty if any value is possible, None if
            the option takes no value.
    """

    about: str
    names: tuple[str, ...]
    values: Mapping[str, tuple[str, ...] | None]


def words_of(about: str, options: type) -> Words:
    """Return the words that can follow a command with these options."""
    configs, searches = tuple(experiments()), tuple(sweeps())
    models = tuple(
        sorted(path.stem for path in (Path(flaxcnn.__file__).parent / "models/contracts").glob("*.contract"))
    )
    known = {"data.source": ("mnist",), "model.name": models, "search": searches}
    choices = {"config": configs, "study": tuple(studies()), "source": ("mnist",), "model": models, "shell": SHELLS}
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
    """Yield the values of every Literal in a type."""
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
    """Return the script for zsh, which wraps the bash script."""
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
    """Return the script for a shell; raises ConfigError for an unknown shell."""
    scripts = dict(zip(SHELLS, (bash_script, zsh_script, fish_script), strict=True))
    if shell not in scripts:
        raise ConfigError("no completion for this shell", where=shell, expected=" or ".join(SHELLS))
    return scripts[shell](commands)


def _joined(words: Iterable[str]) -> str:
    return " ".join(words)
