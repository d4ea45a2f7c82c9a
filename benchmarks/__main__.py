"""Times this library beside its peers and the machine's limit, on CPU: `make bench`.

    python -m benchmarks [--workloads A,B] [--rows A,B] [--rounds N] [--json FILE] [--picture FILE] [--document [FILE]]
                         [--check]

Within a row every program takes its turn in each round, so that a machine that grows slower meanwhile is slower for all
of them. Programs of jobs are processes that compile, warm up and then wait: only the work is timed. Whole processes are
timed from start to exit. A peer without an interpreter here is left out, and a line says so.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks import measure, peers, picture, report
from benchmarks.worker import ROOT
from benchmarks.workloads import ROWS, WORKLOADS
from flaxcnn import huge_pages

DOCUMENT = ROOT / "docs" / "performance.md"


def main() -> int:
    """Measure, print, write, and return the exit code."""
    options = _options()
    unknown = [name for name in options.workloads if name not in WORKLOADS]
    if unknown:
        print(f"error: no such workload: {', '.join(unknown)}; there are {', '.join(WORKLOADS)}", file=sys.stderr)
        return 2
    known = {row.name for row in ROWS if row.workload in options.workloads}
    if unknown := [name for name in options.rows or () if name not in known]:
        print(f"error: no such row of these workloads: {', '.join(unknown)}", file=sys.stderr)
        return 2
    if options.document:
        try:  # before the minutes that it takes
            report.with_tables(options.document.read_text(encoding="utf-8"), "")
        except (OSError, report.MissingMarkersError) as error:
            print(f"error: no place for the tables in {options.document}: {error}", file=sys.stderr)
            return 2
    kept = {}
    if options.keep:
        if options.json is None or not options.json.exists():
            print("error: --keep needs the --json FILE of an earlier run", file=sys.stderr)
            return 2
        kept = json.loads(options.json.read_text(encoding="utf-8"))["rows"]
    os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported
    if huge_pages.needed(os.environ):  # every program asks for them, as this library's commands do by themselves
        os.environ[huge_pages.VARIABLE] = huge_pages.ASKS
    pythons, left_out = peers.pythons()
    rows = [row for row in ROWS if row.workload in options.workloads and row.name in (options.rows or (row.name,))]
    rows, without = peers.able(rows, pythons)
    left_out += without
    for line in left_out:
        print(line, file=sys.stderr)
    figures = {"left_out": left_out, **measure.measure(rows, pythons, rounds=options.rounds, steps=options.steps)}
    figures["rows"] = _in_order(kept | figures["rows"])
    summary = report.summarize(figures)
    print(report.as_text(figures, summary))
    if options.json:
        options.json.write_text(json.dumps({**figures, "summary": summary}, indent=1) + "\n")
    if options.picture:
        picture.draw(figures, summary, options.picture)
    if options.document:
        link = os.path.relpath(options.picture, options.document.parent) if options.picture else None
        text = options.document.read_text(encoding="utf-8")
        tables = report.as_markdown(figures, summary, link)
        options.document.write_text(report.with_tables(text, tables), encoding="utf-8")
    held = summary["not_judged"] or all(target["met"] for target in summary["targets"])
    return 1 if options.check and not held else 0


def _in_order(rows: dict[str, Any]) -> dict[str, Any]:
    return {row.name: rows[row.name] for row in ROWS if row.name in rows}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--workloads",
        type=lambda words: words.split(","),
        default=WORKLOADS,
        metavar="A,B",
        help=f"only these of {', '.join(WORKLOADS)}",
    )
    parser.add_argument(
        "--rows",
        type=lambda words: words.split(","),
        metavar="A,B",
        help="of these workloads only these rows, by their names in the JSON",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="measurements of each program (default 3 to 9)")
    parser.add_argument("--steps", type=int, metavar="N", help="at most so many steps a training, for a quick look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument(
        "--keep", action="store_true", help="keep the rows of that file that are not measured now, on the same machine"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the ratios there")
    parser.add_argument(
        "--document",
        type=Path,
        nargs="?",
        const=DOCUMENT,
        metavar="FILE",
        help="rewrite the tables there (docs/performance.md)",
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed or not measured")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
