"""On a GPU: the CPU's numbers, the same bits again and after a kill, bounded memory, and the paper's accuracy.

`make test-gpu` runs this on the default device of JAX. It has not run on a GPU yet, so the bounds that only a GPU can
confirm are estimates, and say so. A dry run (DRY_RUN=1) does the same on the CPU, shortened. Everything is computed in
processes of their own, one after the other: JAX takes most of a GPU's memory for the first.
"""

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import backend
from benchmarks.arithmetic import memory_bound
from tests.conftest import CHECKOUT
from tests.runs.test_faults import MODELS, Started, ended_well, same_bits, summary

pytestmark = pytest.mark.gpu

DRY = backend.dry_run()
STEPS = 8 if DRY else 50
EXAMPLES = 990 if DRY else 9_990  # no multiple of the default batches, 50 on a CPU and 500 elsewhere
# An estimate: what cuDNN may take as scratch memory when XLA tries its convolutions.
WORKSPACE = 256 * 2**20
# Not the GPU's TF32, which keeps 10 bits of a product's operands.
PRECISE = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
# XLA promises the same bits on a GPU only with these operations.
DETERMINISTIC = {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true"}


@pytest.fixture(scope="session")
def device_environment(command_environment):
    """The environment of a process on the device; the CPU's in a dry run."""
    for_cpu = {name: value for name, value in command_environment.items() if name != "JAX_PLATFORMS"}
    return {**for_cpu, **{name: value for name, value in backend.environment().items() if name == "JAX_PLATFORMS"}}


@pytest.fixture(scope="module")
def found(device_environment, tmp_path_factory):
    """What `on_backend.py` found on the device and on the CPU, each with its logits."""
    # In a dry run the second process finds the first one's programs.
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("programs"))}
    cache["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

    def on(name, environment):
        folder = tmp_path_factory.mktemp(name)
        words = [sys.executable, "-m", "tests.gpu.on_backend", str(folder), str(STEPS), str(EXAMPLES)]
        done = subprocess.run(words, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr[-3000:]
        return {**json.loads(done.stdout.splitlines()[-1]), "logits": np.load(folder / "logits.npy")}

    device = on("device", {**device_environment, **PRECISE, **cache})
    assert DRY or device["backend"] != "cpu", "no GPU: `make test-gpu` says what to do"
    print(f"on {device['backend']}: {device['device']}, {device['peak_bytes'] / 1e6:.0f} MB at most")
    return {"device": device, "cpu": on("cpu", {**device_environment, **PRECISE, **cache, "JAX_PLATFORMS": "cpu"})}


# jax 0.10 and 0.12, whose convolutions on CPU round otherwise, part by 2.4e-7 and 2.8e-5 in 50 steps, with logits that
# differ by 2.7e-7. TF32's products differ by some 1e-3.
@pytest.mark.parametrize(("model", "tolerance"), [("paper_cnn", 2e-5), ("wide_resnet10_1", 2e-3)])
def test_losses_are_those_of_the_cpu_to_rounding(model, tolerance, found):
    device, cpu = (np.array(found[name]["losses"][model]) for name in ("device", "cpu"))
    assert len(device) == STEPS
    assert cpu[0] == pytest.approx(np.log(10), abs=0.7)  # ten classes, nothing learnt
    assert device[0] == pytest.approx(cpu[0], abs=1e-5)
    np.testing.assert_allclose(device, cpu, atol=tolerance)


def test_every_image_is_evaluated_once_with_the_logits_of_the_cpu(found):
    for name in ("device", "cpu"):
        counted = found[name]["evaluation"]
        assert counted["examples"] == EXAMPLES
        assert counted["accuracy"] == pytest.approx(counted["correct"] / EXAMPLES, abs=1e-9)
        assert counted["past_the_end"] == 0
    device, cpu = found["device"], found["cpu"]
    np.testing.assert_allclose(device["logits"], cpu["logits"], atol=2e-5)
    assert device["evaluation"]["loss"] == pytest.approx(cpu["evaluation"]["loss"], rel=1e-5)


def test_the_papers_training_takes_no_more_memory_than_its_data_and_steps_need(found):
    device = found["device"]
    assert 0 < device["peak_bytes"] <= memory_bound(device["data_bytes"]) + WORKSPACE


# Options and the steps that fit a GPU's pace, so that a kill after the second row comes before the end.
LENGTHS = {"paper_cnn": (150, 25) if DRY else (1500, 50), "wide_resnet10_1": (30, 6) if DRY else (400, 20)}


def options_of(model):
    steps, every = LENGTHS[model]
    often = ("--checkpoint.every", every, "--logging.every", every, "--logging.test_examples", 100)
    return ("--model.name", model, *MODELS[model], *often, "--training.epochs", 100, "--training.steps", steps)


@pytest.fixture
def start(small_mnist, device_environment, tmp_path):
    """Start the real command on the device, with the operations that promise the same bits."""
    environment = {**device_environment, **DETERMINISTIC}

    def run(out, *options, command="train", **variables):
        words = [sys.executable, "-m", "flaxcnn", command]
        words += ["--data.source", f"idx:{small_mnist}", "--out"] if command == "train" else []
        return Started([*words, str(tmp_path / out), *map(str, options)], {**environment, **variables})

    return run


@pytest.mark.parametrize("model", MODELS)
def test_stopped_killed_and_resumed_it_ends_with_the_bits_of_an_uninterrupted_run(model, start, tmp_path):
    options, (steps, _) = options_of(model), LENGTHS[model]
    ended_well(start("whole", *options))
    stopped = start("run", *options)
    stopped.wait_for(r"^ +1 +\d+ ")
    stopped.process.send_signal(signal.SIGTERM)
    code, printed, errors = stopped.end()
    assert code == 143, errors
    assert int(re.search(r"stopped after step (\d+) of", printed)[1]) < steps
    killed = start("run", *options)
    killed.wait_for("resumes after step")
    killed.wait_for(r"^ +\d+ +\d+ +\d+\.\d+ ")
    assert killed.kill()[0] == -signal.SIGKILL
    assert not (tmp_path / "run" / "summary.json").exists()
    ended_well(start("run", command="resume"))
    same_bits(tmp_path / "run", tmp_path / "whole")


def test_two_runs_that_compile_for_themselves_have_the_same_bits(start, tmp_path):
    for name in ("one", "other"):
        ended_well(start(name, *options_of("paper_cnn"), XDG_CACHE_HOME=str(tmp_path / f"cache-{name}")))
    same_bits(tmp_path / "one", tmp_path / "other")


def test_the_papers_epoch_reaches_its_accuracy_on_every_test_image(device_environment, tmp_path):
    """As a user runs it, without any of the settings above; `flaxcnn evaluate` finds the same numbers again."""
    least = 0.7 if DRY else 0.975  # configs/paper_mnist.py; after a twelfth of an epoch as .ci/run has it
    words = [sys.executable, "-m", "flaxcnn", "train", "paper_mnist", "--out", str(tmp_path / "run")]
    words += ["--training.steps", "100"] if DRY else []
    ended_well(Started(words, device_environment))
    made = summary(tmp_path / "run")
    assert made["test_examples"] == 10_000
    assert least < made["test_accuracy"] <= 1
    assert made["parameters"] == 28_938
    if not DRY:
        device = json.loads((tmp_path / "run" / "environment.json").read_text())["device"]
        assert not device.startswith("cpu"), device
    again = [sys.executable, "-m", "flaxcnn", "evaluate", str(tmp_path / "run")]
    ended_well(Started(again, device_environment))
    assert os.path.getsize(tmp_path / "run" / "curves.png") > 1000
