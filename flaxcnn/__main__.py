"""The command's door: `flaxcnn`, `python -m flaxcnn` and `python train.py` enter here."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; Ctrl-C is answered in one line already while it is imported."""
    try:
        from flaxcnn.cli import main as run

        return run(arguments)
    except KeyboardInterrupt:
        print("flaxcnn: interrupted; what was saved stays", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
