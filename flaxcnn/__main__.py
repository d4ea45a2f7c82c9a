"""The command's door: `flaxcnn`, `python -m flaxcnn` and `python train.py` enter here."""

import _thread
import sys
import threading
from collections.abc import Sequence

_AGAIN_SECONDS = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; Ctrl-C is answered in one line already while it is imported."""
    sys.unraisablehook = _interrupt_again
    try:
        from flaxcnn.cli import main as run

        return run(arguments)
    except KeyboardInterrupt:
        print("flaxcnn: interrupted; what was saved stays", file=sys.stderr)
        return 130


def _interrupt_again(ignored: "sys.UnraisableHookArgs") -> None:
    """Interrupt once more where Python ignored it, as when Ctrl-C falls into JAX's hook of the garbage collector."""
    if isinstance(ignored.exc_value, KeyboardInterrupt):
        threading.Timer(_AGAIN_SECONDS, _thread.interrupt_main).start()
    else:
        sys.__unraisablehook__(ignored)


if __name__ == "__main__":
    sys.exit(main())
