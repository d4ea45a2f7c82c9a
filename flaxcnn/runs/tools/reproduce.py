"""Train one experiment with several seeds and summarise the results: `flaxcnn reproduce`.

Each seed is a run in its own folder, so interrupted runs continue and finished runs stay unchanged.
"""

import dataclasses
import math
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flaxcnn.config import ExperimentFile, with_data
from flaxcnn.errors import ConfigError
from flaxcnn.evaluation.pictures import draw_over_seeds
from flaxcnn.evaluation.reproduction import (
    Reported,
    compared_rows,
    judgement,
    reported,
    reported_table,
    require_reported,
    rows_table,
)
from flaxcnn.files import user_path
from flaxcnn.runs.folder.kinds import Kind, kind_of
from flaxcnn.runs.folder.record import read_rows, read_summary, reported_numbers
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.given import load
from flaxcnn.runs.output.console import RunConsole
from flaxcnn.runs.train import train
from flaxcnn.tasks import create_task

_MOST_ROWS = 60  # of a table that people read


def reproduce(file: ExperimentFile, seeds: int, out: str | None) -> int:
    """Train an experiment with the seeds 0, 1, … and write `reproduce.md`, `.json` and, of its rows, `.png`.

    Args:
        file: the experiment, the values that a paper printed, and what is expected.
        seeds: how many.
        out: the folder that holds the runs; None for `runs/reproduce-NAME`. A run in it goes on where it stood.

    Returns:
        The exit code: 0; 1 where an expectation does not hold; 130 or 143 where a signal stopped a run.

    Raises:
        ConfigError: there is no seed, or something is expected of a number that no run reports.
        FlaxcnnError: as `flaxcnn.runs.train.train`.
    """
    if seeds < 1:
        raise ConfigError("out of range", where="--seeds", expected="at least 1", found=seeds)
    loaded = load(with_data(file.experiment))
    task = create_task(file.experiment.task)
    require_reported(file.expected, reported_numbers(file.experiment, task, len(loaded.dataset.test)))
    base = user_path(out, "--out") if out is not None else Path("runs") / f"reproduce-{file.name}"
    kind = kind_of(base)
    if kind not in (None, Kind.SEEDS):
        raise ConfigError(f"holds {kind}", where=base, expected="runs with several seeds", fix="name another --out")
    folders = []
    for seed in range(seeds):
        training = dataclasses.replace(file.experiment.training, seed=seed)
        experiment = dataclasses.replace(file.experiment, training=training)
        folder = base / f"seed-{seed:03d}"
        print(f"\n== seed {seed}, {seed + 1} of {seeds}", flush=True)
        code = train(file, experiment, str(folder), started=time.perf_counter())
        if code:
            return code
        folders.append(RunFolder(folder))
    summaries = [read_summary(folder) for folder in folders]
    numbers = reported(summaries, file.expected)
    logged = [read_rows(folder, summary["rows"]) for folder, summary in zip(folders, summaries, strict=True)]
    metric = task.logged[0]
    column, kind_of_metric = f"test_{metric}", task.metrics[metric]
    rows = compared_rows(logged, file.published, column)
    judged = judgement(logged, file.published, column)
    table = rows_table(rows, column, 1 if kind_of_metric.fraction else math.inf)
    results = RunFolder(base)
    results.write_text(
        "reproduce.md", _report(file, summaries, numbers, table if len(rows) <= _MOST_ROWS else "", judged)
    )
    kept = ("seed", "device", "weights_sha256", "state_sha256", "metrics_sha256")
    runs = [{name: summary[name] for name in kept} for summary in summaries]
    values = {each.metric: each.values for each in numbers}
    results.write_json("reproduce.json", {"name": file.name, "runs": runs, "numbers": values})
    if len(rows) > 1:
        title, warn = f"{file.name}, {seeds} seeds", RunConsole().warn
        results.write_picture(
            "reproduce.png", lambda png: draw_over_seeds(rows, (metric, kind_of_metric), title, png), warn
        )
    print(f"\n{(base / 'reproduce.md').read_text(encoding='utf-8')}\nfolder  {base}")
    return 0 if all(each.as_expected for each in numbers) else 1


def _report(
    file: ExperimentFile,
    summaries: Sequence[dict[str, Any]],
    numbers: Sequence[Reported],
    table: str,
    judged: str,
) -> str:
    seeds, first = len(summaries), summaries[0]
    steps = sorted({summary["steps"] for summary in summaries})
    spread = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    lines = [
        f"# {file.name}, {seeds} {'seed' if seeds == 1 else 'seeds'}",
        "",
        f"{first['parameters']:,} parameters, {spread} steps, on {first['device']}.",
        "",
        reported_table(numbers),
    ]
    failed = [each.metric for each in numbers if not each.as_expected]
    if file.expected:
        verdict = f"Not as expected: {', '.join(failed)}." if failed else "Everything is as expected."
        lines += ["", verdict]
    if judged:
        lines += ["", textwrap.fill(judged, 120)]
    if table:
        lines += ["", table]
    if seeds == 1:
        lines += ["", "One seed gives no intervals; train more with --seeds."]
    digests = [
        f"- seed {each['seed']}: weights {each['weights_sha256']}, log {each['metrics_sha256']}" for each in summaries
    ]
    lines += ["", "SHA-256 of each run's weights and log:", "", *digests]
    return "\n".join(lines) + "\n"
