"""Commands for finished runs: `evaluate`, `compare` and `replay`."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from tyro.conf import Positional

from flaxcnn.cli.computing import computing
from flaxcnn.cli.overrides import DataOverride, ModelOverride, TaskOverride, named_again
from flaxcnn.command_line import parse
from flaxcnn.errors import printable


@dataclass(frozen=True)
class EvaluateOptions:
    """Evaluate a run's saved weights and check its recorded results."""

    run: Positional[str]
    """Folder of a finished run."""
    data: DataOverride = field(default_factory=DataOverride)
    task: TaskOverride = field(default_factory=TaskOverride)
    model: ModelOverride = field(default_factory=ModelOverride)


def evaluate(arguments: Sequence[str]) -> int:
    """Evaluate a run's saved weights and check its recorded results."""
    options = parse(EvaluateOptions, arguments, program="flaxcnn evaluate")
    with computing():
        from flaxcnn.runs.evaluate import evaluate_run
        from flaxcnn.runs.folder.run_folder import open_run_folder

        folder, data = open_run_folder(options.run), options.data
        named = named_again(options.task, options.model, data)
        now, recorded, metrics, changed = evaluate_run(folder, data.source, data.dir, named)
    width = max(26, *map(len, [*now, *metrics]))
    for name, value in now.items():
        same = "as in summary.json" if value == recorded[name] else printable(f"summary.json says {recorded[name]}")
        print(f"{name:{width}} {value}  ({same})")
    print("\nof the test images, with 95 % bootstrap intervals")
    for name, (measured, interval) in metrics.items():
        print(f"{name:{width}} {_with_interval(measured, *interval)}")
    if now == recorded:
        return 0
    for name, before, after in changed:
        said = f"this run was trained with {name} {before}, and evaluated with {after}"
        print(f"flaxcnn: {printable(said)}: numbers may differ in the last bits", file=sys.stderr)
    return 1


def _with_interval(measured: float, low: float, high: float) -> str:
    """Return a metric with its interval as text, or why it has none."""
    if math.isnan(measured):
        return "not defined for these test images: all targets are the same"
    if math.isnan(low):
        return f"{measured:.4f}  no interval: in each resample of the test images all targets are the same"
    return f"{measured:.4f}  {low:.4f} to {high:.4f}"


@dataclass(frozen=True)
class CompareOptions:
    """Test whether two runs differ significantly on the same test images."""

    run_a: Positional[str]
    """Folder of a finished run."""
    run_b: Positional[str]
    """Folder of another finished run."""
    task: TaskOverride = field(default_factory=TaskOverride)


def compare(arguments: Sequence[str]) -> int:
    """Test whether two runs differ significantly."""
    options = parse(CompareOptions, arguments, program="flaxcnn compare")
    from flaxcnn.evaluation.comparison import compare, describe
    from flaxcnn.evaluation.predictions import load_predictions
    from flaxcnn.runs.folder.record import read_config, require_same_test_images
    from flaxcnn.runs.folder.run_folder import open_run_folder
    from flaxcnn.tasks import create_task

    names = (options.run_a, options.run_b)
    run_a, run_b = map(open_run_folder, names)
    require_same_test_images(run_a, run_b)
    a, b = (load_predictions(run.path / "predictions.npz") for run in (run_a, run_b))
    named = named_again(options.task)
    task, _ = (create_task(read_config(run, named, needs="task.").file.experiment.task) for run in (run_a, run_b))
    print("\n".join(describe(task, compare(task, a, b), a, b, names)))
    return 0


@dataclass(frozen=True)
class ReplayOptions:
    """Repeat the step where a run diverged and name the first non-finite layer."""

    crash: Positional[str]
    """The crash folder that the run wrote: RUN/crash."""
    data: DataOverride = field(default_factory=DataOverride)
    task: TaskOverride = field(default_factory=TaskOverride)
    model: ModelOverride = field(default_factory=ModelOverride)


def replay(arguments: Sequence[str]) -> int:
    """Repeat the step where a run diverged and name the first non-finite layer."""
    options = parse(ReplayOptions, arguments, program="flaxcnn replay")
    with computing():
        from flaxcnn.runs.folder.run_folder import open_crash_folder
        from flaxcnn.runs.output.crash import replay

        folder, data = open_crash_folder(options.crash), options.data
        named = named_again(options.task, options.model, data)
        found = replay(folder, data.source, data.dir, named)
    print(f"step         {found.step:,}, epoch {found.epoch}: loss {found.loss}")
    for kind, first in (("parameter", found.parameter), ("activation", found.activation), ("gradient", found.gradient)):
        print(f"{kind:12} {'all finite' if first is None else f'{first} is the first that is not finite'}")
    return 0
