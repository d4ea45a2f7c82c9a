"""From measurements to medians, ratios and targets, and these as text: on a terminal, and as tables for the docs."""

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.arithmetic import memory_bound
from benchmarks.peers import LABELS
from benchmarks.workloads import (
    BOUND,
    BOUND_ROWS,
    FIRST,
    LAYERS,
    LIMIT,
    OURS,
    PROGRAMS,
    SECOND,
    TARGETS,
    WORKLOADS,
    ZOO,
    Target,
)

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
_AGAINST = {**LABELS, LIMIT: "the limit", BOUND: "the bound of memory", FIRST: "the first start"}
_CORES, _JAX = 2, 12  # that the targets are for


class MissingMarkersError(ValueError):
    """A text has no place for the tables."""


def summarize(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the statistics of what `measure` returned.

    Returns:
        `rows`: for each, `programs` with `median`, `min` and `max` and `ours_of_it`, this library's median over that
        one; and `limit`, the seconds of its products at the machine's rate for matrices, the median over the rounds.
        `memory`: the same in bytes beyond the imports, with `bound`, None where there is none. `targets`: each with its
        `ratio`, None where it was not measured, and `met`. `not_judged`: why the targets say nothing of these figures;
        None where they do.
    """
    rows = {name: _row(row) for name, row in figures["rows"].items()}
    memory = {name: _memory(name, row, figures) for name, row in figures["rows"].items() if row["import_bytes"]}
    targets = []
    for target in TARGETS:
        if target.row in rows:
            ratio = _ratio(target, rows, memory)
            met = None if ratio is None else ratio <= target.at_most
            targets.append({**target._asdict(), "ratio": ratio, "met": met})
    return {"rows": rows, "memory": memory, "targets": targets, "not_judged": _not_judged(figures)}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    values = {
        program: [each[row["measure"]] for each in rounds]
        for program, rounds in row["rounds"].items()
        if program != LIMIT
    }
    summary: dict[str, Any] = {"programs": _statistics(values), "limit": None}
    if LIMIT in row["rounds"]:
        summary["limit"] = row["flops"] / statistics.median(each["flops_per_second"] for each in row["rounds"][LIMIT])
    return summary


def _memory(name: str, row: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    values = {
        program: [each["peak_bytes"] - row["import_bytes"][program] for each in rounds]
        for program, rounds in row["rounds"].items()
    }
    return {
        "programs": _statistics(values),
        "bound": memory_bound(figures["data_bytes"]) if name in BOUND_ROWS else None,
    }


def _statistics(values: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    medians = {program: statistics.median(each) for program, each in values.items()}
    return {
        program: {
            "median": medians[program],
            "min": min(each),
            "max": max(each),
            "ours_of_it": medians[OURS] / medians[program],
        }
        for program, each in values.items()
    }


def _ratio(target: Target, rows: Mapping[str, Any], memory: Mapping[str, Any]) -> float | None:
    row = memory[target.row] if target.memory else rows[target.row]
    ours = row["programs"][OURS]["median"]
    if target.against in (LIMIT, BOUND):
        return ours / row["limit" if target.against == LIMIT else "bound"]
    if target.against == FIRST:
        return ours / rows["startup_first"]["programs"][OURS]["median"]
    if target.against == SECOND:
        return ours
    return ours / row["programs"][target.against]["median"] if target.against in row["programs"] else None


def _not_judged(figures: Mapping[str, Any]) -> str | None:
    """Return why the targets say nothing of these figures; None where they do."""
    cores, jax = figures["machine"]["cores"], figures["versions"]["jax"]
    if figures["steps_at_most"] is not None:
        return f"no training has more than {figures['steps_at_most']} steps; the targets are for all of them"
    if not figures["machine"]["avx512"]:
        return "the targets are for a processor with AVX-512; this one has none"
    if cores != _CORES or tuple(map(int, jax.split(".")[:2])) < (0, _JAX):
        return f"the targets are for {_CORES} cores and jax 0.{_JAX}; these are {cores} and jax {jax}"
    return None


def as_text(figures: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """Return medians, spreads, ratios and targets for a terminal."""
    lines = [_kernels(figures), _circumstances(figures)]
    for name, row in summary["rows"].items():
        lines += ["", figures["rows"][name]["label"]]
        accuracies = {program: _accuracy(rounds) for program, rounds in figures["rows"][name]["rounds"].items()}
        for program, found in row["programs"].items():
            lines.append(_text_line(LABELS[program], found, _time, accuracies[program]))
        if row["limit"] is not None:
            ratio = row["programs"][OURS]["median"] / row["limit"]
            lines.append(f"  {'products at the rate of matrices':34}{_time(row['limit']):>9}{'':24}{ratio:7.3f}")
    for name, row in summary["memory"].items():
        lines += ["", f"peak memory beyond imports, {figures['rows'][name]['label']}"]
        lines += [_text_line(LABELS[program], found, _size) for program, found in row["programs"].items()]
        if row["bound"] is not None:
            ratio = row["programs"][OURS]["median"] / row["bound"]
            lines.append(f"  {'the bound':34}{_size(row['bound']):>9}{'':24}{ratio:7.3f}")
    return "\n".join([*lines, "", *target_lines(figures, summary)])


def target_lines(figures: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """Return a line for each target of the rows that were measured, or one that says why there are none."""
    if summary["not_judged"]:
        return [f"No target is judged: {summary['not_judged']}."]
    lines = []
    for target in summary["targets"]:
        verdict = {True: "PASS", False: "FAIL", None: "NOT MEASURED"}[target["met"]]
        if target["against"] == SECOND:
            found, at_most = f"{_time(target['ratio'])}; ", f"at most {target['at_most']:g} s"
        else:
            found = "" if target["ratio"] is None else f"{target['ratio']:.3f} of {_AGAINST[target['against']]}; "
            at_most = f"at most {target['at_most']:g}" + ("" if found else f" of {_AGAINST[target['against']]}")
        aim = "" if target["aim"] is None else f", {target['aim']:g} the aim"
        lines.append(f"{verdict}: {_target_label(figures, target)}: {found}{at_most} is the target{aim}.")
    return lines


def _target_label(figures: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    memory = "memory beyond imports, " if target["memory"] else ""
    return f"{memory}{figures['rows'][target['row']]['label']}"


def _text_line(label: str, found: Mapping[str, float], written: Any, rest: str = "") -> str:
    spread = f"{written(found['min'])} to {written(found['max'])}"
    return f"  {label:34}{written(found['median']):>9}{spread:>24}{found['ours_of_it']:7.3f}{rest}"


def as_markdown(figures: Mapping[str, Any], summary: Mapping[str, Any], picture: str | None = None) -> str:
    """Return the tables of rows and of targets, for docs/performance.md.

    Args:
        figures: as `measure` returned them.
        summary: of them.
        picture: link to the picture, from where the tables stand.
    """
    kinds = (set(WORKLOADS) - {*LAYERS, ZOO}, set(LAYERS), {ZOO})
    tables = []
    for kind in kinds:
        rows, memory = (
            {name: row for name, row in summary[part].items() if figures["rows"][name]["workload"] in kind}
            for part in ("rows", "memory")
        )
        tables += [_table(figures, rows, memory)] if rows else []
    lines = [line for table in tables for line in ("", *table)][1:]
    lines += [
        "",
        "Medians of one interleaved run. flaxcnn's brackets show the range, the others flaxcnn's median divided by "
        "that one. At a first start, nothing is compiled yet. Limit: the matrix products alone, at the rate at which "
        "the machine multiplies large matrices; for memory, 1.2 × data + 3 × (parameters, optimizer's state, "
        "activations of a batch). Of layers and networks, the time is that of one call or step. In rows of single "
        "convolutions, plain Flax is `jax.lax.conv_general_dilated`. "
        + _left_out(figures)
        + f"{_kernels(figures)} {_circumstances(figures)}",
        "",
        *_targets_as_markdown(figures, summary),
    ]
    if picture:
        lines += ["", f"![Time of each program over flaxcnn's]({picture})"]
    return "\n".join(lines)


def _table(figures: Mapping[str, Any], rows: Mapping[str, Any], memory: Mapping[str, Any]) -> list[str]:
    """Return the lines of a table of rows, a column for each program that any of them measured, and the limit."""
    shown = [program for program in PROGRAMS if any(program in row["programs"] for row in rows.values())]
    columns = len(shown) + 1
    lines = [f"| | {' | '.join(LABELS[program] for program in shown)} | limit |", f"|---|{'---|' * columns}"]
    parts = (("", rows, "limit", _time), ("memory beyond imports, ", memory, "bound", _size))
    for prefix, part, limit, written in parts:
        for name, row in part.items():
            cells = [_cell(row["programs"].get(program), written, spread=program == OURS) for program in shown]
            if row[limit] is not None:
                cells.append(f"{written(row[limit])} ({row['programs'][OURS]['median'] / row[limit]:.2f})")
            lines.append(_markdown_row(f"{prefix}{figures['rows'][name]['label']}", cells, columns))
    return lines


def with_tables(text: str, tables: str) -> str:
    """Return a text with the tables between its two markers, in place of what stood there.

    Raises:
        MissingMarkersError: there aren't exactly the two, in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in before + after:
        raise MissingMarkersError(f"expected one {BEGIN} and one {END} after it")
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def _targets_as_markdown(figures: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    if summary["not_judged"]:
        return target_lines(figures, summary)
    said = {True: "met", False: "missed", None: "not measured"}
    lines = ["| target | at most | measured | |", "|---|---|---|---|"]
    for target in summary["targets"]:
        seconds = target["against"] == SECOND
        label = _target_label(figures, target) + ("" if seconds else f", over {_AGAINST[target['against']]}")
        ratio = "–" if target["ratio"] is None else _time(target["ratio"]) if seconds else f"{target['ratio']:.2f}"
        unit = " s" if seconds else ""
        aim = "" if target["aim"] is None else f" (aim {target['aim']:g})"
        lines.append(f"| {label} | {target['at_most']:g}{unit}{aim} | {ratio} | {said[target['met']]} |")
    return lines


def _left_out(figures: Mapping[str, Any]) -> str:
    """Return a sentence for each program that could not take part."""
    return "".join(f"{line}. " for line in figures.get("left_out", []))


def _kernels(figures: Mapping[str, Any]) -> str:
    return f"flaxcnn's convolutions: {figures['kernels']}."


def _circumstances(figures: Mapping[str, Any]) -> str:
    machine, versions = figures["machine"], figures["versions"]
    libraries = [library for program, library in figures["libraries"].items() if program not in (OURS, LIMIT)]
    compared = f", compared with {', '.join(libraries)}" if libraries else ""
    cores = f"{machine['cores']} core{'s' * (machine['cores'] > 1)}"
    architecture = machine["architecture"] + ", AVX-512" * machine["avx512"]
    return (
        f"{cores} of {machine['processor']} ({architecture}), Python {versions['python']}, "
        f"jax {versions['jax']}{compared}; {figures['date'][:10]}."
    )


def _markdown_row(label: str, cells: list[str], columns: int) -> str:
    return f"| {label} | {' | '.join(cells + ['–'] * (columns - len(cells)))} |"


def _cell(found: Mapping[str, float] | None, written: Any, *, spread: bool) -> str:
    if found is None:
        return "–"
    if spread:
        return f"**{written(found['median'])}** ({written(found['min'])} to {written(found['max'])})"
    return f"{written(found['median'])} ({found['ours_of_it']:.2f})"


def _accuracy(rounds: list[Mapping[str, Any]]) -> str:
    found = [each["accuracy"] for each in rounds if each.get("accuracy") is not None]
    return f"  accuracy {statistics.median(found):.3f}" if found else ""


def _time(seconds: float) -> str:
    if seconds < 0.9995:
        digits = 2 if seconds < 0.009995 else 1 if seconds < 0.09995 else 0
        return f"{seconds * 1e3:.{digits}f} ms"
    return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"


def _size(size: float) -> str:
    return f"{size / 1e6:.0f} MB"
