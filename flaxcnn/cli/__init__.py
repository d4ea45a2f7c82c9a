"""The commands: each reads its options and calls one function. Nothing imports this package but the doors onto it.

JAX and everything that needs it is imported by the command that runs, so that help and mistakes answer at once.
"""

import sys
import traceback
from collections.abc import Callable, Sequence

from flaxcnn import __version__
from flaxcnn.cli.contracts import contract
from flaxcnn.cli.datasets import data
from flaxcnn.cli.runs import compare, evaluate, replay
from flaxcnn.cli.sweeps import sweep
from flaxcnn.cli.training import lr_find, reproduce, resume, train
from flaxcnn.errors import ConfigError, FlaxcnnError, nearest

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train,
    "resume": resume,
    "evaluate": evaluate,
    "reproduce": reproduce,
    "compare": compare,
    "sweep": sweep,
    "lr-find": lr_find,
    "data": data,
    "contract": contract,
    "replay": replay,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 2 after a mistake of the user's."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            print(_help())
            return 0
        if words[0] == "--version":
            print(f"flaxcnn {__version__}")
            return 0
        if words[0].startswith("-"):
            raise ConfigError(
                "unknown option", where=words[0], fix=nearest(words[0], ["--help", "--version", "--debug"])
            )
        if words[0] not in COMMANDS:
            raise ConfigError("unknown command", where=words[0], fix=nearest(words[0], COMMANDS))
        return COMMANDS[words[0]](words[1:])
    except FlaxcnnError as error:
        return _refused(error, debug)
    except PermissionError as error:  # wherever a path was first looked at
        if error.filename is None:
            raise
        fix = "name a file or folder that you may read, and that lies in a folder that you may enter"
        return _refused(FlaxcnnError("permission denied", where=error.filename, fix=fix), debug)
    except BrokenPipeError:  # `flaxcnn data mnist | head`: nobody reads on, which is no fault
        sys.stderr.close()
        return 0


def _refused(error: FlaxcnnError, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"flaxcnn: {error}", file=sys.stderr)
    return error.exit_code


def _help() -> str:
    lines = [f"  {name:10} {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
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
