"""Reproduce the library's configs and put their tables into docs/results.md: `make results`, or a few by name.

    python -m benchmarks.results            every config; hours on two cores
    python -m benchmarks.results mnist_fast one, its section of docs/results.md; the others stay

The runs stand in runs/reproduce-NAME and go on where they were interrupted. Each section keeps the digests of its runs'
weights and logs.
"""

import re
import shutil
import sys
from pathlib import Path

from flaxcnn.config import load_experiment
from flaxcnn.errors import FlaxcnnError
from flaxcnn.runs.tools.reproduce import reproduce

SEEDS = {"paper_mnist": 10, "mnist_fast": 5, "mnist_best": 5, "fashion_mnist": 3}
DOCS = Path(__file__).parents[1] / "docs"
HEAD = """# Results

This page shows each config of the library over several seeds, as `flaxcnn reproduce` reports it. `make results` writes
it, one section per config, with the digests of the runs' weights and logs. The interval of the mean over seeds is
Student's. The digests belong to the version and the kernels that trained them: each section says which device it was;
`mnist_best` and `fashion_mnist` were trained on XLA, before convolutions ran on oneDNN, and `mnist_best`, in batches of
100, before a kernel's gradient was summed in parts, which rounds differently. With `FLAXCNN_KERNELS=xla` the
convolutions of this version have the bits of those before. The seconds come from a machine that did other work too;
[performance.md](performance.md) has timings.
"""
# Of the weights of the ten runs, on the first 20,000 training images, and of their logs.
NOTES = {
    "paper_mnist": """
**Why the train loss jumps.** The loss of a row is the loss of one batch of 50 images, before its update. Once the
network classifies nearly all images correctly, most images have almost no loss and a few have a large one. At the end
of training, the loss of an image has a median of 0.001, a mean of 0.064 and a standard deviation of 0.375, and half of
the sum comes from 1 % of the images. The mean of 50 such images has a standard deviation of 0.375 / √50 = 0.053, as
large as the mean itself; over seeds, rows 18 to 23 have 0.054. So the paper's losses between 0.02 and 0.21 in its
second half differ because their batches contain different images. They say little about the quality of the network. The
accuracy on 2,000 images says more: 0.977, with a standard deviation of √(0.977 · 0.023 / 2,000) = 0.003.

**Why logarithms.** The losses of batches have a skewed distribution with a long upper tail. With intervals of the
losses themselves, 13 of our own 240 losses lie above those of the other runs and 2 below. With intervals of the
logarithms, 4 lie above and 5 below; 12 are expected in all. On the plain scale, two of the paper's values would lie
above: 0.5555 (row 2) and 0.2115 (row 15), no more than the 2.4 of 48 that chance gives. The closest accuracy is 0.96 in
row 15, below 0.9630. It counts as inside, because a printed 0.96 can be 0.9649.
""",
}


def main(names: list[str]) -> int:
    """Reproduce the named configs, all where none is named, and return 1 if something is not as expected."""
    unknown = set(names) - set(SEEDS)
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(SEEDS)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names or SEEDS:
        folder = Path("runs") / f"reproduce-{name}"
        try:
            code = reproduce(load_experiment(name), SEEDS[name], str(folder))
        except FlaxcnnError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return error.exit_code
        if code > 1:  # a signal
            return code
        failed = failed or code
        _put(name, (folder / "reproduce.md").read_text(encoding="utf-8"), folder / "reproduce.png")
    return failed


def _put(name: str, report: str, picture: Path) -> None:
    path = DOCS / "results.md"
    text = path.read_text(encoding="utf-8") if path.exists() else HEAD
    sections = dict(re.findall(r"^## (\w+).*?\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    title, _, body = report.partition("\n")
    body = body.strip() + f"\n{NOTES.get(name, '')}"
    if picture.exists():
        shutil.copy(picture, DOCS / "images" / f"reproduce-{name}.png")
        body += f"\n![{title[2:]}](images/reproduce-{name}.png)\n"
    sections[name] = body
    ordered = [f"\n## {each}\n\n{sections[each].strip()}\n" for each in SEEDS if each in sections]
    path.write_text(f"{HEAD}{''.join(ordered)}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
