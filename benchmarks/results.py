"""Reproduce the library's configs and put their tables into docs/results.md: `make results`, or a few by name.

    python -m benchmarks.results            every config; hours on two cores
    python -m benchmarks.results mnist_fast one, its section of docs/results.md anew and the others as they are

The runs stand in runs/reproduce-NAME and go on where they were interrupted. Each section keeps the digests of its runs'
weights and logs.
"""

import re
import shutil
import sys
from pathlib import Path

from flaxcnn.config import load_experiment
from flaxcnn.errors import FlaxcnnError
from flaxcnn.runs.reproduce import reproduce

SEEDS = {"paper_mnist": 10, "mnist_fast": 5, "mnist_best": 5, "fashion_mnist": 3}
DOCS = Path(__file__).parents[1] / "docs"
HEAD = """# Results

Each config of the library over several seeds, as `flaxcnn reproduce` reports it; made by `make results`, one section
after the other, each with the digests of its runs' weights and logs. The interval of the mean over seeds is Student's.
Digests are of the version that trained them: `mnist_best`, in batches of 100, was trained before a kernel's gradient
was summed in parts, which rounds otherwise. Seconds are those of a machine that did other things too;
[performance.md](performance.md) has timings.
"""


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
    body = body.strip() + "\n"
    if picture.exists():
        shutil.copy(picture, DOCS / "images" / f"reproduce-{name}.png")
        body += f"\n![{title[2:]}](images/reproduce-{name}.png)\n"
    sections[name] = body
    ordered = [f"\n## {each}\n\n{sections[each].strip()}\n" for each in SEEDS if each in sections]
    path.write_text(f"{HEAD}{''.join(ordered)}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
