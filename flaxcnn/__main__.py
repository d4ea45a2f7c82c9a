"""The entry point of `flaxcnn`, `python -m flaxcnn` and `python train.py`."""

import gc
import os
import sys
from collections.abc import Sequence

from flaxcnn import huge_pages, terminal

# What imports and traces allocate stays: looking for garbage in it 240 times took a fifth of a second of each command.
_COLLECT_EVERY = 10_000

_COMPUTING = ("train", "resume", "evaluate", "reproduce", "sweep", "study", "lr-find", "probe", "replay")

_INTERRUPTED = "flaxcnn: interrupted; saved files are kept"


def program(arguments: Sequence[str] | None = None) -> int:
    """Run a command as the whole of a process, which may start again for huge pages."""
    command = (sys.argv[1:] if arguments is None else arguments)[:1]
    if command and command[0] in _COMPUTING:
        huge_pages.start_again()
    return main(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Ctrl-C prints one line, also during imports."""
    gc.set_threshold(_COLLECT_EVERY, *gc.get_threshold()[1:])
    terminal.go_on_without()
    sys.unraisablehook = _end_where_interrupt_is_ignored
    try:
        from flaxcnn.cli import main as run

        return run(arguments)
    except KeyboardInterrupt:
        print(_INTERRUPTED, file=sys.stderr)
        return 130


def _end_where_interrupt_is_ignored(ignored: "sys.UnraisableHookArgs") -> None:
    """End the process where Python would ignore Ctrl-C, such as in JAX's garbage-collector hook."""
    if isinstance(ignored.exc_value, KeyboardInterrupt):
        terminal.write_now(_INTERRUPTED)
        os._exit(130)
    sys.__unraisablehook__(ignored)


if __name__ == "__main__":
    sys.exit(program())
