"""The commands: each reads its options and calls one function. Nothing imports this package but the doors onto it.

JAX and everything that needs it is imported by the command that runs, so that help and mistakes answer at once.
"""

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flaxcnn import __version__, terminal
from flaxcnn.cli.contracts import contract
from flaxcnn.cli.datasets import data
from flaxcnn.cli.runs import compare, evaluate, replay
from flaxcnn.cli.sweeps import sweep
from flaxcnn.cli.training import lr_find, reproduce, resume, train
from flaxcnn.errors import ConfigError, FlaxcnnError, nearest


class Command(NamedTuple):
    """A command, and what the help says of it: where Python strips docstrings (`PYTHONOPTIMIZE=2`) too."""

    run: Callable[[Sequence[str]], int]
    summary: str
    keeps: bool = False  # what it finds in a folder: what it prints may be lost


COMMANDS = {
    "train": Command(train, "Train an experiment: the paper's CNN on MNIST by default.", keeps=True),
    "resume": Command(resume, "Go on with a run that was interrupted, to the same bits.", keeps=True),
    "evaluate": Command(evaluate, "Repeat a run's final numbers from its saved weights."),
    "reproduce": Command(reproduce, "Train several seeds, and compare their mean with what is expected.", keeps=True),
    "compare": Command(compare, "Say whether two runs differ beyond chance."),
    "sweep": Command(sweep, "Search for the best settings of an experiment.", keeps=True),
    "lr-find": Command(lr_find, "Find a learning rate by one step at each of many."),
    "data": Command(data, "Verify a data set, describe it, and draw a grid of its examples."),
    "contract": Command(contract, "Print, write, update or check a model's shape contract."),
    "replay": Command(replay, "Repeat the step at which a run diverged, and say in which layer."),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 2 after a mistake of the user's."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            print(_help())
            return _printed(0)
        if words[0] == "--version":
            print(f"flaxcnn {__version__}")
            return _printed(0)
        if words[0].startswith("-"):
            raise ConfigError(
                "unknown option", where=words[0], fix=nearest(words[0], ["--help", "--version", "--debug"])
            )
        if words[0] not in COMMANDS:
            raise ConfigError("unknown command", where=words[0], fix=nearest(words[0], COMMANDS))
        command = COMMANDS[words[0]]
        return _printed(command.run(words[1:]), command.keeps)
    except FlaxcnnError as error:
        return _refused(error, debug)
    except PermissionError as error:  # wherever a path was first looked at
        if error.filename is None:
            raise
        fix = "name a file or folder that you may read, and that lies in a folder that you may enter"
        return _refused(FlaxcnnError("permission denied", where=error.filename, fix=fix), debug)


def _refused(error: FlaxcnnError, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"flaxcnn: {error}", file=sys.stderr)
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
