"""The commands: each reads its options and calls one function. Nothing imports this package but the doors onto it.

JAX and everything that needs it is imported by the command that runs, so that help and mistakes answer at once.
"""

import errno
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flaxcnn import __version__, terminal
from flaxcnn.cli.completion import CompletionOptions, script_for, words_of
from flaxcnn.cli.contracts import ContractOptions, contract
from flaxcnn.cli.datasets import DataOptions, data
from flaxcnn.cli.runs import CompareOptions, EvaluateOptions, ReplayOptions, compare, evaluate, replay
from flaxcnn.cli.sweeps import SweepOptions, sweep
from flaxcnn.cli.training import (
    LrFindOptions,
    ReproduceOptions,
    ResumeOptions,
    TrainOptions,
    lr_find,
    reproduce,
    resume,
    train,
)
from flaxcnn.command_line import parse, unknown_option
from flaxcnn.errors import ConfigError, FlaxcnnError, nearest


def completion(arguments: Sequence[str]) -> int:
    """Print a script that completes these commands in a shell."""
    shell = parse(CompletionOptions, arguments, program="flaxcnn completion").shell
    words = {name: words_of(command.summary, command.options) for name, command in COMMANDS.items()}
    print(script_for(shell, words))
    return 0


class Command(NamedTuple):
    """A command, and what the help says of it: where Python strips docstrings (`PYTHONOPTIMIZE=2`) too."""

    run: Callable[[Sequence[str]], int]
    options: type
    summary: str
    elsewhere: str = "use {}"  # how it gets to another folder, for the advice of an error
    keeps: bool = False  # what it finds in a folder: what it prints may be lost


_OUT = "name {} with --out"
_COPY = "copy the run to {} and resume the copy"
COMMANDS = {
    "train": Command(train, TrainOptions, "Train an experiment: the paper's CNN on MNIST by default.", _OUT, True),
    "resume": Command(resume, ResumeOptions, "Go on with a run that was interrupted, to the same bits.", _COPY, True),
    "evaluate": Command(evaluate, EvaluateOptions, "Repeat a run's final numbers from its saved weights."),
    "reproduce": Command(
        reproduce, ReproduceOptions, "Train several seeds, and compare their mean with what is expected.", _OUT, True
    ),
    "compare": Command(compare, CompareOptions, "Say whether two runs differ beyond chance."),
    "sweep": Command(sweep, SweepOptions, "Search for the best settings of an experiment.", _OUT, True),
    "lr-find": Command(lr_find, LrFindOptions, "Find a learning rate by one step at each of many.", _OUT),
    "data": Command(data, DataOptions, "Verify a data set, describe it, and draw a grid of its examples.", _OUT),
    "contract": Command(contract, ContractOptions, "Print, write, update or check a model's shape contract."),
    "replay": Command(replay, ReplayOptions, "Repeat the step at which a run diverged, and say in which layer."),
    "completion": Command(completion, CompletionOptions, "Print a script that completes these commands in a shell."),
}

# What a path that a user names can be, wherever it is first looked at: no bug of the library's.
_UNUSABLE_PATHS = {
    errno.EACCES: "name a file or folder that you may read, and that lies in a folder that you may enter",
    errno.ELOOP: "a link leads back to itself: name what it should lead to",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.ENOTDIR: "a file stands where a folder should: name another path",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 2 after a mistake of the user's."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        _require_text(words)
        if not words or words[0] in ("-h", "--help", "help"):
            print(_help())
            return _printed(0)
        if words[0] == "--version":
            print(f"flaxcnn {__version__}")
            return _printed(0)
        if words[0].startswith("-"):
            raise unknown_option(words[0], "flaxcnn", ["--help", "--version", "--debug"])
        if words[0] not in COMMANDS:
            raise ConfigError("unknown command", where=words[0], fix=nearest(words[0], COMMANDS))
        command = COMMANDS[words[0]]
        return _printed(command.run(words[1:]), command.keeps)
    except FlaxcnnError as error:
        return _refused(error, words[0] if words else "", debug)
    except OSError as error:
        if error.filename is None or error.errno not in _UNUSABLE_PATHS:
            raise
        what = (error.strerror or str(error)).lower()
        refused = FlaxcnnError(what, where=error.filename, fix=_UNUSABLE_PATHS[error.errno])
        return _refused(refused, words[0], debug)


def _require_text(words: Sequence[str]) -> None:
    """Raise ConfigError where an argument holds bytes that are no text in the encoding of the system."""
    for word in words:
        try:
            word.encode("utf-8")
        except UnicodeEncodeError as error:
            where = word.encode("utf-8", "backslashreplace").decode()
            raise ConfigError(
                "an argument that is no text", where=where, expected=f"text in {sys.getfilesystemencoding().upper()}"
            ) from error


def _refused(error: FlaxcnnError, command: str, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"flaxcnn: {error.line(COMMANDS[command].elsewhere) if command in COMMANDS else error}", file=sys.stderr)
    return error.exit_code


def _printed(code: int, keeps: bool = False) -> int:
    """Return a command's exit code, if what it printed has arrived or is kept in a folder too."""
    error = terminal.lost()
    if error is None:
        return code
    what, where = f"cannot write: {error.strerror or error}", "standard output"
    if not keeps:
        raise FlaxcnnError(what, where=where, fix="make space there, or print to another place")
    print(f"flaxcnn: warning: {where}: {what}; nothing else is lost", file=sys.stderr)
    return code


def _help() -> str:
    lines = [f"  {name:10} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: flaxcnn COMMAND [OPTIONS]",
            "",
            "Train, check and reproduce image-recognition CNNs with pure functions in JAX and Flax.",
            "",
            *lines,
            "",
            "flaxcnn COMMAND --help shows a command's options; --debug shows the traceback of an error.",
        ]
    )
