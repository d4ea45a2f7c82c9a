"""Sixteen learning rates of the paper's CNN, one epoch each: a sweep beside Optuna with a process for each trial.

    python -m benchmarks.sweeps [--rounds N] [--steps N] [--json FILE]

Whole processes, interleaved, medians. Optuna's trials run the library's own program, compiled once and then taken from
the cache, with the same evaluations and without the files and pictures that a run leaves, one after the other on both
cores and two at a time on a core each. The grid is the same for all.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax

from flaxcnn.config import Data, Experiment, Logging
from flaxcnn.sweeps import ASHA, Float, Grid, Straight, Sweep

ROOT = Path(__file__).parents[1]
EXPERIMENT = Experiment(data=Data(validation=0.1), logging=Logging(every=540, test_examples=0))
STEPS = 1080  # an epoch of the images that are not set aside
RATES = 16
SPACE = {"optimizer.learning_rate": Float(1e-4, 1e-1, log=True)}
TARGETS = {"sweep, no early stopping": 0.8, "sweep, ASHA": 0.35}  # of Optuna's seconds, one process at a time
OPTUNA, OPTUNA_TWO = "Optuna, a process a trial", "Optuna, two processes at a time"


def main() -> int:
    """Measure, print, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweeps", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of all programs (default 3)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of a trial (default {STEPS}, an epoch)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    programs: dict[str, Callable[[Path], float]] = {
        OPTUNA: lambda folder: _optuna(folder, options.steps, at_once=1),
        OPTUNA_TWO: lambda folder: _optuna(folder, options.steps, at_once=2),
        "sweep, no early stopping": lambda folder: _sweep(folder, options.steps, Straight()),
        "sweep, no early stopping, two processes": lambda folder: _sweep(folder, options.steps, Straight(), 2),
        "sweep, ASHA": lambda folder: _sweep(folder, options.steps, ASHA()),
    }
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    best: dict[str, float] = {}
    for number in range(options.rounds):
        for name, program in programs.items():
            print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                best[name] = program(Path(folder))
                seconds[name].append(time.perf_counter() - began)
    base = statistics.median(seconds[OPTUNA])
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, jax {jax.__version__}, {RATES} trials of {options.steps} steps"
    )
    missed = []
    for name, taken in seconds.items():
        ratio = statistics.median(taken) / base
        spread = f"{min(taken):.1f} to {max(taken):.1f}"
        print(f"{name:42} {statistics.median(taken):7.1f} s  {spread:16} {ratio:6.3f}  best {best[name]:.4f}")
        if ratio > TARGETS.get(name, ratio) or abs(best[name] - best[OPTUNA]) > 0.002:
            missed.append(name)
    for name in missed:
        print(f"FAIL: {name}: at most {TARGETS.get(name, 'as long')}, and a best accuracy within 0.2 points")
    if options.json:
        options.json.write_text(json.dumps({"seconds": seconds, "best": best, "steps": options.steps}, indent=1) + "\n")
    return 1 if missed else 0


def _sweep(folder: Path, steps: int, scheduler: Straight | ASHA, workers: int = 1) -> float:
    """Run the command over a sweep file, and return the best validation accuracy."""
    file = folder / "rates.py"
    file.write_text(
        "from benchmarks.sweeps import EXPERIMENT, RATES, SPACE\n"
        "from flaxcnn.sweeps import *\n"
        "experiment = EXPERIMENT\n"
        f"sweep = Sweep(space=SPACE, searcher=Grid(points=RATES), scheduler={scheduler!r}, trials=RATES)\n"
    )
    words = [sys.executable, "-m", "flaxcnn", "sweep", str(file), "--out", str(folder / "out")]
    words += ["--training.steps", str(steps)]
    if workers > 1:
        words += ["--executor", "processes", "--workers", str(workers)]
    else:
        words += ["--lanes", str(RATES)]  # so that ASHA sees a whole rung before it promotes
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    printed = subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout
    print(*(line for line in printed.splitlines() if line.startswith("compiled")), file=sys.stderr)
    if (folder / "out" / "executor.json").exists():  # milliseconds of a step of one lane, both ways
        print(" ".join((folder / "out" / "executor.json").read_text().split()), file=sys.stderr)
    lines = (folder / "out" / "sweep.csv").read_text().splitlines()
    column = lines[0].split(",").index("validation_accuracy")
    complete = [line.split(",") for line in lines[1:] if ",complete," in line]
    return max(float(cells[column]) for cells in complete)


def _optuna(folder: Path, steps: int, at_once: int) -> float:
    """Let Optuna's grid sampler start a process for each trial, and return the best validation accuracy."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sweep = Sweep(space=SPACE, searcher=Grid(points=RATES), trials=RATES)
    domain = SPACE["optimizer.learning_rate"]
    rates = [float(rate) for rate in domain.spread(RATES)]
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
    study.optimize(objective, n_trials=RATES, n_jobs=at_once)
    return study.best_value


if __name__ == "__main__":
    sys.exit(main())
