"""Weights, state and log of some runs, and the trials of a sweep, are what they were when their digests were written.

A digest holds for one line of jax and one kind of kernels on one kind of processor. On others the same runs have to end
with the same numbers to rounding, which a changed recipe does not. To pin another kind: `python -m tests.test_pinned`,
on a commit whose numbers are known to be right. A commit that moves a digest says why, and takes it out of the kinds of
processors that it has no machine of, whose tests would fail.
"""

import hashlib
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

from flaxcnn.kernels import library
from tests.commands import Commands
from tests.conftest import CHECKOUT, write_small_mnist
from tests.runs.test_faults import MODELS
from tests.sweeps.sweep_command import kept

PINS = Path(__file__).with_name("pinned.json")
DIGESTS = ("weights_sha256", "state_sha256", "metrics_sha256")
ROUNDING = {"train_loss": 0.01, "test_loss": 0.01, "test_accuracy": 0.02}  # by which another processor may differ

RUNS = {
    "paper_mnist": ("paper_mnist", "--training.steps", "200"),
    "mnist_fast": ("mnist_fast", "--training.steps", "100"),
    "whole_recipe": (
        *("--data.source", "idx:small", *MODELS["wide_resnet10_1"]),
        *(
            "--training.epochs",
            "2",
            "--training.steps",
            "30",
            "--logging.every",
            "10",
            "--logging.test_examples",
            "100",
        ),
    ),
}
SWEEP = """
from flaxcnn.config import *
from flaxcnn.sweeps import *

experiment = Experiment(data=Data(source="idx:small", validation=0.1), logging=Logging(every=9))
sweep = Sweep(
    space={"optimizer.learning_rate": Float(1e-4, 1e-2, log=True), "schedule.name": Choice("constant", "cosine")},
    searcher=TPE(),
    scheduler=SuccessiveHalving(),
    trials=4,
)
"""


def kind_of_processor():
    """What decides which instructions XLA:CPU compiles to, beside its version."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    vendor = next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "unknown")
    vectors = [each for each in ("avx512_bf16", "avx512f", "avx2") if each in flags]
    return f"jax {version('jax')}, {vendor}, {vectors[0] if vectors else 'no AVX2'}"


def generation():
    """The processor's family, model and caches: by their sizes Eigen cuts its products, which orders their sums."""
    fields = dict(line.partition(":")[::2] for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines())
    named = {name.strip(): value.strip() for name, value in fields.items()}
    sizes = sorted(path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"))
    return f"family {named.get('cpu family')}, model {named.get('model')}, caches {' '.join(sizes)}"


def kind():
    """What a digest holds for; oneDNN's kernels are named, and XLA's are not."""
    kernels = library.describe()
    return ", ".join([kind_of_processor(), generation(), *([] if kernels == library.XLA else [kernels])])


def pinned_here(pins):
    """Return the pins of this very kind of processor, if there are any."""
    exact = pins["bits"].get(kind())
    return [exact] if exact else []


def ran(name, folder, commands):
    """Train one of the runs in a folder that holds the small set; return its summary."""
    run(commands, folder, "train", *RUNS[name], "--out", "run")
    return json.loads((folder / "run" / "summary.json").read_text())


def swept(folder, commands):
    """Search, and return the trials as the study has them."""
    (folder / "search.py").write_text(SWEEP)
    run(commands, folder, "sweep", "search.py", "--out", "sweep")
    return json.loads(json.dumps(kept(folder / "sweep")))


def run(commands, folder, *words):
    done = commands.run(words, folder, seconds=600)
    assert done.returncode == 0, done.stderr


def digest(trials):
    return hashlib.sha256(json.dumps(trials, sort_keys=True).encode()).hexdigest()


@pytest.fixture
def folder(small_mnist, tmp_path):
    (tmp_path / "small").symlink_to(small_mnist)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["paper_mnist", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mnist_fast", "whole_recipe"))]
)
def test_a_pinned_run_ends_with_the_same_bits(name, folder, commands):
    pins = json.loads(PINS.read_text())
    summary = ran(name, folder, commands)
    for here in pinned_here(pins):
        pinned = here.get(name, {})
        assert {each: summary[each] for each in pinned} == pinned
    for each, most in ROUNDING.items():
        assert summary[each] == pytest.approx(pins["numbers"][name][each], abs=most)


@pytest.mark.sweeps
def test_a_pinned_sweep_ends_with_the_same_trials(folder, commands):
    pins = json.loads(PINS.read_text())
    trials = swept(folder, commands)
    for here in pinned_here(pins):
        assert digest(trials) == here["sweep"]
    assert [trial[2] for trial in trials] == pins["numbers"]["sweep"]  # proposed without regard to what is measured


def pin():
    pins = json.loads(PINS.read_text()) if PINS.exists() else {"bits": {}, "numbers": {}}
    bits, numbers = {}, {}
    commands = Commands({**os.environ, "PYTHONPATH": str(CHECKOUT), "JAX_PLATFORMS": "cpu"})
    for name in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            write_small(folder)
            summary = ran(name, Path(folder), commands)
        bits[name] = {each: summary[each] for each in DIGESTS}
        numbers[name] = {each: summary[each] for each in ROUNDING}
    with tempfile.TemporaryDirectory() as folder:
        write_small(folder)
        trials = swept(Path(folder), commands)
    commands.close()
    bits["sweep"], numbers["sweep"] = digest(trials), [trial[2] for trial in trials]
    pins["bits"][kind()] = bits
    pins["numbers"] = numbers
    PINS.write_text(json.dumps(pins, indent=1) + "\n")


def write_small(folder):
    small = Path(folder) / "small"
    small.mkdir()
    write_small_mnist(small)


if __name__ == "__main__":
    pin()
