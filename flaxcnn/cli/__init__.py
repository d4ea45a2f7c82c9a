"""The commands: each reads its options and calls one function. Nothing imports this package but the doors onto it.

JAX and everything that needs it is imported by the command that runs, so that help and mistakes answer at once.
"""

import errno
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flaxcnn import __version__
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
    words = {name: words_of(_about(command), command.options) for name, command in COMMANDS.items()}
    print(script_for(shell, words))
    return 0


class Command(NamedTuple):
    """A command of the library."""

    run: Callable[[Sequence[str]], int]
    options: type
    elsewhere: str = "name {} with --out"  # how it gets to another folder, for the advice of an error


COMMANDS = {
    "train": Command(train, TrainOptions),
    "resume": Command(resume, ResumeOptions, "copy the run to {} and resume the copy"),
    "evaluate": Command(evaluate, EvaluateOptions, "use {}"),
    "reproduce": Command(reproduce, ReproduceOptions),
    "compare": Command(compare, CompareOptions, "use {}"),
    "sweep": Command(sweep, SweepOptions),
    "lr-find": Command(lr_find, LrFindOptions),
    "data": Command(data, DataOptions),
    "contract": Command(contract, ContractOptions, "use {}"),
    "replay": Command(replay, ReplayOptions, "use {}"),
    "completion": Command(completion, CompletionOptions, "use {}"),
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
            return 0
        if words[0] == "--version":
            print(f"flaxcnn {__version__}")
            return 0
        if words[0].startswith("-"):
            raise unknown_option(words[0], "flaxcnn", ["--help", "--version", "--debug"])
        if words[0] not in COMMANDS:
            raise ConfigError("unknown command", where=words[0], fix=nearest(words[0], COMMANDS))
        return COMMANDS[words[0]].run(words[1:])
    except FlaxcnnError as error:
        return _refused(error, words[0], debug)
    except BrokenPipeError:  # `flaxcnn data mnist | head`: nobody reads on, which is no fault
        sys.stderr.close()
        return 0
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


def _about(command: Command) -> str:
    return (command.run.__doc__ or "").splitlines()[0]


def _help() -> str:
    lines = [f"  {name:10} {_about(command)}" for name, command in COMMANDS.items()]
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
