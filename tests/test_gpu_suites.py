"""The suites for a GPU where there is none: what they say, and the benchmark's networks, table and dry run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import export

import flaxcnn
from benchmarks import gpu
from benchmarks.gpu_job import CLASSES
from benchmarks.programs.resnet import ResNet
from flaxcnn.training import train_block
from flaxcnn.training.batches import ResidentBatches

CHECKOUT = Path(__file__).parents[1]


def run(*words, **environment):
    chosen = {name: value for name, value in os.environ.items() if name != "DRY_RUN"}
    environment = {**chosen, "JAX_PLATFORMS": "cpu", "TORCH_PYTHON": "/nowhere/python", **environment}
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.parametrize("suite", ["benchmarks.backend", "benchmarks.gpu"])
def test_without_a_gpu_a_suite_says_so_in_one_line_and_exits_with_2(suite):
    done = run(suite)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    for part in ("no GPU", "cpu", "EXTRAS=cuda", "DRY_RUN=1"):
        assert part in line


# torchvision's numbers, with 1,000 classes; for images of 32 by 32, the stem has a kernel of 3×3 in place of 7×7.
@pytest.mark.parametrize(
    ("stages", "bottleneck", "stem", "expected"),
    [
        (gpu.RESNET18, False, "imagenet", 11_689_512),
        (gpu.RESNET50, True, "imagenet", 25_557_032),
        (gpu.RESNET18, False, "small", 11_689_512 - 64 * 3 * (7 * 7 - 3 * 3)),
    ],
)
def test_residual_networks_have_the_parameters_of_torchvisions(stages, bottleneck, stem, expected):
    model = ResNet(stages, bottleneck, CLASSES, stem)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


@pytest.mark.benchmarks  # lowering takes some 10 seconds
@pytest.mark.parametrize(
    ("stages", "bottleneck", "convolutions"), [(gpu.RESNET18, False, 1 + 16 + 3), (gpu.RESNET50, True, 1 + 48 + 4)]
)
def test_their_steps_lower_for_a_gpu_at_full_size(stages, bottleneck, convolutions):
    def given():
        model = ResNet(stages, bottleneck, CLASSES)
        state = flaxcnn.create_state(model, flaxcnn.sgd(0.1, 0.9), (224, 224, 3))
        images, labels = jnp.zeros((128, 224, 224, 3), jnp.uint8), jnp.zeros(128, jnp.int32)
        return state, ResidentBatches(images, labels, labels, jnp.int32(0), 64), jnp.int32(2)

    program = export.export(train_block, platforms=["cuda"])(*jax.eval_shape(given), most_steps=2).mlir_module()
    assert program.count("stablehlo.convolution(") == 3 * convolutions - 1  # the images need no gradient
    assert "custom_call" not in program


def test_the_table_holds_rates_memory_and_what_is_missing(tmp_path):
    ours = {"library": "flaxcnn on jax", "device": "a device", "seconds": [2.0, 1.0, 4.0], "peak_bytes": 123_400_000}
    theirs = {"library": "PyTorch", "device": "a device", "seconds": [1.0, 1.0, 2.0], "peak_bytes": None}
    job = {"steps": 10, "batch_size": 20}
    figures = {
        "rows": {
            "first": {"job": job, "programs": {"ours": ours, "torch_channels_last": theirs}},
            "second": {"job": job, "programs": {"ours": ours}},
        },
        "dry_run": True,
        "date": "2026-11-29T12:00:00",
    }
    table = gpu.as_markdown(figures)
    assert "| first | 100 (50 to 200) | 123 MB | 200 (100 to 200) | not counted |" in table
    assert "| second | 100 (50 to 200) | 123 MB | – | – |" in table
    assert "A dry run on the CPU" in table
    text = gpu.DOCUMENT.read_text(encoding="utf-8")
    before, after = text.partition(gpu.BEGIN)[0], text.partition(gpu.END)[2]
    assert gpu.with_table(text, table) == f"{before}{gpu.BEGIN}\n{table}\n{gpu.END}{after}"


@pytest.mark.benchmarks
def test_a_dry_run_of_the_benchmark_measures_every_job_and_writes_only_where_it_is_told(tmp_path):
    document = tmp_path / "document.md"
    document.write_text(f"Before.\n\n{gpu.BEGIN}\nNot measured.\n{gpu.END}\n\nAfter.\n")
    done = run("benchmarks.gpu", "--json", tmp_path / "g.json", "--document", document, DRY_RUN="1")
    assert done.returncode == 0, done.stderr
    assert "PyTorch is left out" in done.stderr
    figures = json.loads((tmp_path / "g.json").read_text())
    assert figures["dry_run"] is True
    assert len(figures["rows"]) == 3
    for row in figures["rows"].values():
        assert set(row["programs"]) == {"ours"}
        (seconds,) = row["programs"]["ours"]["seconds"]
        assert seconds > 0
    text = document.read_text()
    assert text.startswith(f"Before.\n\n{gpu.BEGIN}\n| | flaxcnn, images a second | memory |\n")
    assert text.endswith(f"\n{gpu.END}\n\nAfter.\n")
    assert str(tmp_path) not in text
