"""Train an experiment: `python train.py [CONFIG] [--section.field VALUE ...]`; the same as `flaxcnn train`."""

import sys

from flaxcnn.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
