"""Train an experiment: `python train.py [CONFIG] [--section.field VALUE ...]`; the same as `flaxcnn train`."""

import sys

from flaxcnn.__main__ import program

if __name__ == "__main__":
    sys.exit(program(["train", *sys.argv[1:]]))
