"""`python -m flaxcnn`: the command without its script."""

import sys

from flaxcnn.cli import main

if __name__ == "__main__":
    sys.exit(main())
