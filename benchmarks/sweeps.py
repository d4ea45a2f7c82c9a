"""Sixteen learning rates of the paper's CNN, one epoch each: a sweep beside Optuna, in one process and in many.

    python -m benchmarks.sweeps [--one-process] [--rounds N] [--trials N] [--steps N] [--json FILE]

Whole processes, interleaved, medians. All have the same grid, images, batches, evaluations and metric. Optuna with its
own pruners runs a plain JAX, Flax and Optax loop in one process that compiles its step once. Optuna with a process a
trial runs the library's own program. Both have a warm compilation cache, and write no files or pictures.
"""

import argparse
import csv
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax

from benchmarks.measure import circumstances
from flaxcnn.config import Data, Experiment, Logging
from flaxcnn.sweeps import ASHA, Float, Grid, Hyperband, Straight, Sweep

ROOT = Path(__file__).parents[1]
EXPERIMENT = Experiment(data=Data(validation=0.1), logging=Logging(every=540, test_examples=0))
STEPS = 1080  # an epoch of the images that are not set aside
RATES = 16
SPACE = {"optimizer.learning_rate": Float(1e-4, 1e-1, log=True)}
TARGETS = {"sweep, no early stopping": 0.8, "sweep, ASHA": 0.35}  # of Optuna's seconds, one process at a time
OPTUNA, OPTUNA_TWO = "Optuna, a process a trial", "Optuna, two processes at a time"
OPTUNA_ONE = {  # by its pruner
    "none": "Optuna, one process, no pruner",
    "median": "Optuna, one process, median pruner",
    "hyperband": "Optuna, one process, Hyperband pruner",
}


class Found(NamedTuple):
    """What a program found."""

    best: float  # validation accuracy
    trained: int  # steps, of all trials


def main() -> int:
    """Measure, print, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweeps", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--one-process", action="store_true", help="leave out the programs that start several")
    parser.add_argument("--rounds", type=int, default=3, help="of all programs (default 3)")
    parser.add_argument("--trials", type=int, default=RATES, help=f"learning rates (default {RATES})")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of a trial (default and most {STEPS}, an epoch)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    trials, steps = options.trials, options.steps
    if not 1 <= steps <= STEPS:
        parser.error(f"--steps: expected 1 to {STEPS}, found {steps}")
    several: dict[str, Callable[[Path], Found]] = {
        OPTUNA: lambda folder: _optuna(folder, trials, steps, at_once=1),
        OPTUNA_TWO: lambda folder: _optuna(folder, trials, steps, at_once=2),
        "sweep, no early stopping, two processes": lambda folder: _sweep(folder, trials, steps, Straight(), 2),
    }
    programs: dict[str, Callable[[Path], Found]] = {
        **({} if options.one_process else several),
        **{name: lambda _, pruner=pruner: _optuna_one(pruner, trials, steps) for pruner, name in OPTUNA_ONE.items()},
        "sweep, no early stopping": lambda folder: _sweep(folder, trials, steps, Straight()),
        "sweep, ASHA": lambda folder: _sweep(folder, trials, steps, ASHA()),
        "sweep, Hyperband": lambda folder: _sweep(folder, trials, steps, Hyperband()),
    }
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    processor: dict[str, list[float]] = {name: [] for name in programs}
    found: dict[str, Found] = {}
    for number in range(options.rounds):
        for name, program in programs.items():
            print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                began, used = time.perf_counter(), _processor_seconds()
                found[name] = program(Path(folder))
                seconds[name].append(time.perf_counter() - began)
                processor[name].append(_processor_seconds() - used)
            taken = f"{seconds[name][-1]:.1f} s, {processor[name][-1]:.1f} s of a core"
            print(f"{taken}, {found[name]}", file=sys.stderr, flush=True)
    base = OPTUNA_ONE["median"] if options.one_process else OPTUNA
    print(f"{os.cpu_count()} cores, {platform.machine()}, jax {jax.__version__}, {trials} trials of {steps} steps")
    print(f"{'':42} {'median':>9}  {'least to most':17} {'ratio':>6} {'of a core':>9} {'steps':>7} {'best':>7}")
    missed = []
    for name, taken in seconds.items():
        ratio = statistics.median(taken) / statistics.median(seconds[base])
        spread = f"{min(taken):.1f} to {max(taken):.1f} s"
        of = f"{statistics.median(taken):7.1f} s  {spread:17} {ratio:6.3f} {statistics.median(processor[name]):7.1f} s"
        print(f"{name:42} {of} {found[name].trained:7,} {found[name].best:7.4f}")
        if ratio > TARGETS.get(name, ratio) or abs(found[name].best - found[base].best) > 0.002:
            missed.append(name)
    if options.json:
        figures = {
            **circumstances(),
            "trials": trials,
            "steps": steps,
            "seconds": seconds,
            "processor_seconds": processor,
            "best": {name: each.best for name, each in found.items()},
            "trained": {name: each.trained for name, each in found.items()},
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if base != OPTUNA or (trials, steps) != (RATES, STEPS):
        print(f"No target is judged: they are of {RATES} trials of {STEPS} steps, beside {OPTUNA}")
        return 0
    for name in missed:
        print(f"FAIL: {name}: at most {TARGETS.get(name, 'as long')}, and a best accuracy within 0.2 points")
    return 1 if missed else 0


def _processor_seconds() -> float:
    """Return the seconds of a core that all programs have used: a busy machine lengthens them less."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sweep(folder: Path, trials: int, steps: int, scheduler: Straight | ASHA | Hyperband, workers: int = 1) -> Found:
    """Run the command over a sweep file."""
    file = folder / "rates.py"
    file.write_text(
        "from benchmarks.sweeps import EXPERIMENT, SPACE\n"
        "from flaxcnn.sweeps import *\n"
        "experiment = EXPERIMENT\n"
        f"sweep = Sweep(space=SPACE, searcher=Grid(points={trials}), scheduler={scheduler!r}, trials={trials})\n"
    )
    words = [sys.executable, "-m", "flaxcnn", "sweep", str(file), "--out", str(folder / "out")]
    words += ["--training.steps", str(steps)]
    if workers > 1:
        words += ["--executor", "processes", "--workers", str(workers)]
    else:
        words += ["--parallel", str(trials)]  # so that ASHA sees a whole rung before it promotes
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    printed = subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout
    print(*(line for line in printed.splitlines() if line.startswith("compiled")), file=sys.stderr)
    if (folder / "out" / "executor.json").exists():  # milliseconds of a step of one trial, both ways
        print(" ".join((folder / "out" / "executor.json").read_text().split()), file=sys.stderr)
    with (folder / "out" / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    best = max(float(row["validation_accuracy"]) for row in rows if row["status"] == "complete")
    return Found(best, sum(int(row["steps"]) for row in rows))


def _optuna_one(pruner: str, trials: int, steps: int) -> Found:
    """Let Optuna search and prune in one process of plain Flax."""
    words = [sys.executable, "-m", "benchmarks.programs.optuna_one_process", pruner, str(trials), str(steps)]
    found = json.loads(subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    assert found["programs"] == 1, "its step is compiled once for all trials"
    return Found(found["best"], found["trained"])


def _optuna(folder: Path, trials: int, steps: int, at_once: int) -> Found:
    """Let Optuna's grid sampler start a process for each trial."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sweep = Sweep(space=SPACE, searcher=Grid(points=trials), trials=trials)
    domain = SPACE["optimizer.learning_rate"]
    rates = [float(rate) for rate in domain.spread(trials)]
    assert sweep.searcher.size(SPACE, EXPERIMENT) == len(rates)
    cores = sorted(os.sched_getaffinity(0))

    def objective(trial: "optuna.Trial") -> float:
        rate = trial.suggest_float("learning_rate", domain.low, domain.high, log=True)
        words = [sys.executable, "-m", "benchmarks.programs.one_trial", repr(rate), str(steps)]
        if at_once > 1:
            words = ["taskset", "-c", str(cores[trial.number % len(cores)]), *words]
        return float(subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout)

    study = optuna.create_study(
        storage=f"sqlite:///{folder}/study.db",
        direction="maximize",
        sampler=optuna.samplers.GridSampler({"learning_rate": rates}, seed=0),
    )
    study.optimize(objective, n_trials=trials, n_jobs=at_once)
    return Found(study.best_value, trials * steps)


if __name__ == "__main__":
    sys.exit(main())
