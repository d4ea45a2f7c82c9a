"""The benchmark runs this library and a plain Flax program on the same batches, and both learn the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.epoch import epoch_flops

CHECKOUT = Path(__file__).parents[1]


def test_a_short_benchmark_says_seconds_and_ratios(tmp_path):
    words = [
        sys.executable,
        "-m",
        "benchmarks.epoch",
        "--steps",
        "60",
        "--rounds",
        "1",
        "--json",
        str(tmp_path / "b.json"),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "TORCH_PYTHON"}
    done = subprocess.run(words, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "plain Flax" in done.stdout
    text = (tmp_path / "b.json").read_text()
    assert json.loads(text)
    assert "NaN" not in text


def test_the_arithmetic_of_an_epoch_is_counted_by_hand():
    # Multiply-adds of an image: conv1 28*28*16*25 forward and for its kernel; conv2 14*14*32*400 and dense 15,680 also
    # for their input.
    by_hand = 2 * (2 * 313_600 + 3 * 2_508_800 + 3 * 15_680)
    assert epoch_flops(1) == by_hand == pytest.approx(16.4e6, rel=0.01)
