"""The entry point of `flaxcnn`, `python -m flaxcnn` and `python train.py`."""

import os
import sys
from collections.abc import Sequence

from flaxcnn import terminal

_INTERRUPTED = "flaxcnn: interrupted; saved files are kept"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Ctrl-C prints one line, also during imports."""
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
    sys.exit(main())
