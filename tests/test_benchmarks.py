"""The benchmark: the same work by every program, measured for real, and counted and reported as arithmetic says."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import measure, picture, report
from benchmarks.arithmetic import convolution_flops, evaluation_flops, memory_bound, parameters, training_flops
from benchmarks.jobs import CLASSES, MOBILENET_BLOCK, RESNET18, Convolution, Job, Network, as_fields, from_line
from benchmarks.peers import able, pythons
from benchmarks.processes import Launcher
from benchmarks.programs import jax_layers, naive_flax, ours, plain_zoo
from benchmarks.programs.flax_networks import NETWORKS
from benchmarks.worker import Worker
from benchmarks.workloads import FLAX, KERAS, OURS, ROWS, TARGETS, TORCH, Process, with_at_most
from flaxcnn.models import MODELS, densenet, mobilenet_v3

pytestmark = pytest.mark.benchmarks

CHECKOUT = Path(__file__).parents[1]
ROW_BY_NAME = {row.name: row for row in ROWS}
DOCUMENT = f"Before.\n\n{report.BEGIN}\nyesterday's table\n{report.END}\n\nAfter.\n"


def bench(*words):
    nowhere = {"KERAS_PYTHON": "/nowhere/python", "TORCH_PYTHON": "/nowhere/python"}
    command = [sys.executable, "-m", "benchmarks", *map(str, words)]
    return subprocess.run(
        command, cwd=CHECKOUT, env={**os.environ, **nowhere}, capture_output=True, text=True, timeout=300
    )


def test_a_short_benchmark_measures_every_program_and_writes_json_picture_and_table(tmp_path):
    document, drawn = tmp_path / "document.md", tmp_path / "images" / "ratios.png"
    drawn.parent.mkdir()
    document.write_text(DOCUMENT)
    written = ("--json", tmp_path / "b.json", "--picture", drawn, "--document", document)
    done = bench("--workloads", "train", "--steps", 20, "--rounds", 1, *written, "--check")
    assert done.returncode == 0, done.stderr

    figures = json.loads((tmp_path / "b.json").read_text())
    assert "NaN" not in (tmp_path / "b.json").read_text()
    assert set(figures["rows"]) == {"train"}
    rounds = figures["rows"]["train"]["rounds"]
    assert set(rounds) == {OURS, FLAX, "limit"}
    for program in (OURS, FLAX):  # both learn, on the same 1,000 images; a guess is right in 0.1
        (only,) = rounds[program]
        assert only["seconds"] > 0
        assert 0.3 < only["accuracy"] < 0.95
    assert 1e9 < rounds["limit"][0]["flops_per_second"] < 1e14
    assert figures["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert figures["versions"]["jax"] == jax.__version__

    assert [line.split(" is left out")[0] for line in figures["left_out"]] == ["Keras on JAX", "PyTorch"]
    assert done.stderr.count(" is left out: no interpreter with ") == 2
    assert "No target is judged: no training has more than 20 steps" in done.stdout
    assert done.stdout.splitlines()[0] == f"flaxcnn's convolutions: {figures['kernels']}."

    text = document.read_text()
    assert text.startswith(f"Before.\n\n{report.BEGIN}\n| | flaxcnn | plain Flax | limit |\n")
    assert text.endswith(f"\n{report.END}\n\nAfter.\n")
    assert "yesterday" not in text
    assert "| the paper's epoch, its steps, cut to 20 steps | **" in text
    assert "](images/ratios.png)" in text
    assert drawn.read_bytes().startswith(b"\x89PNG")


# Parameters without those of the convolutions' normalisations, two a filter, and of the last layer.
RESNET18_KERNELS = 9 * (3 * 64 + 4 * 64**2) + sum(9 * (c * 2 * c + 3 * (2 * c) ** 2) + 2 * c**2 for c in (64, 128, 256))
RESNET18_NORMALISED = 5 * 64 + 5 * (128 + 256 + 512)
PARAMETERS = {
    RESNET18: RESNET18_KERNELS + 2 * RESNET18_NORMALISED + 513 * CLASSES,
    MOBILENET_BLOCK: 80 * 480 + 25 * 480 + 480 * 112 + 2 * (480 + 480 + 112) + 481 * 120 + 121 * 480,
}


def test_the_networks_have_the_parameters_that_are_counted_by_hand():
    assert PARAMETERS[RESNET18] == 11_173_962  # as everywhere for CIFAR-10
    for network, channels in ((RESNET18, 3), (MOBILENET_BLOCK, 80)):
        shapes = jax.eval_shape(NETWORKS[network]().init, jax.random.key(0), jnp.zeros((1, 8, 8, channels)))
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == PARAMETERS[network]


@pytest.fixture(scope="module")
def data_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "data.npz"
    measure.paper_data().save(file)
    return str(file)


@pytest.mark.parametrize("program", [OURS, FLAX, TORCH])
def test_a_program_computes_the_convolution_and_the_networks_that_it_is_timed_for(program, data_file):
    found, left_out = pythons()
    if program not in found:
        pytest.skip(next(line for line in left_out if line.startswith("PyTorch")))
    worker = Worker(program, "serve", data_file, python=found[program])
    try:
        # One group of 2 × 3 channels: by the definition of a convolution, in float64.
        job = Convolution(2, 5, 6, 3, 9, stride=2, groups=3, gradients=True, calls=1)
        images, kernel, gradient = (array.astype(np.float64) for array in job.arrays())
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
        output, padded_gradient, kernel_gradient = np.zeros_like(gradient), np.zeros_like(padded), np.zeros_like(kernel)
        for row, column, filter_ in np.ndindex(3, 3, 9):
            group = slice(2 * (filter_ // 3), 2 * (filter_ // 3) + 2)
            seen = (slice(None), slice(row, row + 5, 2), slice(column, column + 5, 2), group)
            output[..., filter_] += padded[seen] @ kernel[row, column, :, filter_]
            kernel_gradient[row, column, :, filter_] = np.einsum("bhwc,bhw->c", padded[seen], gradient[..., filter_])
            padded_gradient[seen] += gradient[..., filter_, None] * kernel[row, column, :, filter_]
        expected = [np.abs(array).mean() for array in (output, padded_gradient[:, 1:-1, 1:-1], kernel_gradient)]
        measured = worker.measure(job)
        assert measured["seconds"] > 0
        np.testing.assert_allclose(measured["same"], expected, rtol=1e-5)
        alone = worker.measure(job._replace(gradients=False))
        np.testing.assert_allclose(alone["same"], expected[:1], rtol=1e-5)

        trained = worker.measure(Network(RESNET18, "train", 2, 8, 3, calls=2))
        assert trained["same"] == [PARAMETERS[RESNET18]]
        assert trained["seconds"] > 0
        for task in ("forward", "gradients"):
            block = worker.measure(Network(MOBILENET_BLOCK, task, 2, 4, 80, calls=1))
            assert block["same"] == [PARAMETERS[MOBILENET_BLOCK], 2, 4, 4, 112]
            assert block["seconds"] > 0
    finally:
        worker.close()


@pytest.mark.parametrize("program", [OURS, FLAX, TORCH])
def test_a_program_computes_the_networks_of_the_zoo_that_it_is_timed_for(program, data_file, tmp_path):
    found, left_out = pythons()
    rows, without = able([ROW_BY_NAME["zoo_resnet18_32_train"]], found)
    if program not in found or program not in rows[0].programs:
        pytest.skip(next(line for line in left_out + without if line.startswith("PyTorch")))
    job = Network("mobilenet_v3_small", "train", 2, 32, 3, calls=1, zoo=True)  # the one that compiles soonest
    worker = Worker(program, "serve", data_file, python=found[program])
    try:
        parameters = MODELS[job.network].parameters
        trained, evaluated = worker.measure(job), worker.measure(job._replace(task="forward"))
        assert trained["same"] == [parameters]
        assert evaluated["same"] == [parameters, 2, 1000]
        assert trained["seconds"] > 0
        assert evaluated["seconds"] > 0
    finally:
        worker.close()


def test_a_network_of_the_zoo_in_plain_flax_computes_the_same_without_this_library():
    images = jax.random.normal(jax.random.key(1), (4, 64, 64, 3))
    kept = {"rngs": {"dropout": jax.random.key(2)}}
    several = (  # all of the zoo's layers, in networks that compile soon
        densenet.DenseNet(layers=(2, 1), classes=5),
        mobilenet_v3.MobileNetV3(blocks=mobilenet_v3.MobileNetV3.blocks[2:8:5], classes=5),
    )
    for model in several:
        plain = plain_zoo.PlainNetwork(model)
        job = Network("", "train", 4, 64, 3, zoo=True)
        variables = jax_layers.drawn(model, job)
        assert jax.tree.all(jax.tree.map(np.array_equal, variables, jax_layers.drawn(plain, job)))

        def evaluated(network, variables):
            return network.apply(variables, images, train=False)[0]

        def trained(network, variables):
            (logits, _), updated = network.apply(variables, images, train=True, mutable=["batch_stats"], **kept)
            return logits, updated

        for call in (evaluated, trained):
            programs = [jax.jit(partial(call, network)).lower(variables) for network in (model, plain)]
            assert "flaxcnn" not in programs[1].as_text()
            assert "stablehlo.convolution" in programs[1].as_text()
            ours_, flaxs = (jax.tree.leaves(program.compile()(variables)) for program in programs)
            for one, other in zip(ours_, flaxs, strict=True):
                np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-7 + 2e-4 * np.abs(other).max())


def test_pytorch_is_left_out_of_the_zoo_alone_where_there_is_no_torchvision():
    rows = [ROW_BY_NAME[name] for name in ("resnet18_train", "zoo_resnet18_32_train", "zoo_resnet18_224_first")]
    network, zoo, first = able(rows, {OURS: sys.executable, TORCH: "/nowhere/python"})[0]
    assert TORCH in network.programs
    assert zoo.programs == (OURS, FLAX)
    assert [process.program for process in first.processes] == [OURS]
    assert "no torchvision" in able(rows, {TORCH: "/nowhere/python"})[1][0]
    assert able(rows[:1], {TORCH: "/nowhere/python"}) == (rows[:1], [])
    assert able(rows, {OURS: sys.executable}) == (rows, [])  # PyTorch is left out of all rows already


def test_the_first_steps_of_a_network_are_a_process_of_its_own(tmp_path):
    launcher = Launcher(tmp_path, tmp_path / "data.npz", {OURS: sys.executable}, most_steps=1)
    job = Network(RESNET18, "train", 2, 8, 3, calls=2)  # as those of the zoo, but it compiles sooner
    found = launcher.measure(Process(OURS, "network", "empty", job))
    assert 0 < found["first_row_seconds"] < found["seconds"]
    assert 200e6 < found["peak_bytes"] < 8e9


def test_programs_that_do_not_do_the_same_are_not_compared():
    def said(numbers):
        return [{"seconds": 1.0, "same": numbers}]

    measure.require_same_work("a row", {OURS: said([1.0, 7]), TORCH: said([1.0001, 7]), "limit": [{"seconds": 1.0}]})
    for other in ([1.0, 8], [1.0]):
        with pytest.raises(RuntimeError, match="a row: naive_flax does not do what ours does"):
            measure.require_same_work("a row", {OURS: said([1.0, 7]), FLAX: said(other)})


def test_a_short_benchmark_of_sweeps_counts_the_steps_of_every_program(tmp_path):
    options = ("--one-process", "--rounds", 1, "--trials", 3, "--steps", 9, "--json", tmp_path / "s.json")
    command = [sys.executable, "-m", "benchmarks.sweeps", *map(str, options)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    assert "No target is judged" in done.stdout

    figures = json.loads((tmp_path / "s.json").read_text())
    whole = 3 * 9
    hyperband = figures["trained"].pop("Optuna, one process, Hyperband pruner")
    assert 3 * 1 + 8 <= hyperband <= whole  # each trial to the first rung, and one to its end
    assert figures["trained"] == {
        "Optuna, one process, no pruner": whole,
        "Optuna, one process, median pruner": whole,  # it prunes none of the first five
        "sweep, no early stopping": whole,
        "sweep, ASHA": 3 * 1 + 2 + 6,  # one goes on from the first rung at 1 to 3, and to 9
        "sweep, Hyperband": (2 * 1 + 2 + 6) + 9,  # a bracket of two trials, and one that trains straight
    }
    assert all(seconds[0] > 0 for seconds in figures["seconds"].values())
    for name, best in figures["best"].items():  # 9 steps of the best of 0.0001, 0.003 and 0.1; a guess is right in 0.1
        assert 0.2 < best < 0.9, name


def test_a_text_without_a_place_for_the_tables_is_refused_before_anything_is_measured(tmp_path):
    document = tmp_path / "document.md"
    document.write_text(f"{report.END} the wrong way round {report.BEGIN}")
    done = bench("--document", document)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()  # and none of the peers that are left out: it did not look for them
    assert line.startswith(f"error: no place for the tables in {document}")
    assert done.stdout == ""
    assert bench("--workloads", "train,sleep").stderr.startswith("error: no such workload: sleep; there are train,")


def test_whole_processes_of_both_kinds_say_when_their_first_loss_is_known(tmp_path):
    measure.paper_data().save(tmp_path / "data.npz")
    launcher = Launcher(tmp_path, tmp_path / "data.npz", {OURS: sys.executable, FLAX: sys.executable})
    for program in (OURS, FLAX):
        found = launcher.measure(Process(program, "first_step"))
        assert 0 < found["first_row_seconds"] < found["seconds"]
        assert 100e6 < found["peak_bytes"] < 4e9
    names = launcher.first(Process(FLAX, "first_step"))
    assert {"flax.linen", "optax"} <= set(names.read_text().split())
    assert 50e6 < launcher.import_bytes(Process(FLAX, "first_step"), names) < found["peak_bytes"]


def test_a_process_that_fails_ends_the_benchmark_with_its_own_words(tmp_path):
    launcher = Launcher(tmp_path, tmp_path / "missing.npz", {FLAX: sys.executable})
    with pytest.raises(RuntimeError, match=r"(?s)naive_flax run .*missing\.npz"):
        launcher.measure(Process(FLAX, "first_step"))


def test_the_peak_of_a_process_is_its_own_and_not_that_of_the_one_that_started_it(tmp_path):
    held = np.ones(300_000_000 // 8)  # this process is larger than what it measures
    row = tmp_path / "rows"
    program = (
        f"held = bytearray(b'1' * 100_000_000); open({str(row)!r}, 'w').write('row'); import time; time.sleep(0.3)"
    )
    launch = [sys.executable, "-I", "-S", CHECKOUT / "benchmarks" / "launch.py", row, sys.executable, "-c", program]
    found = json.loads(subprocess.run(launch, capture_output=True, check=True, timeout=60).stdout)
    assert held.nbytes == 300_000_000
    assert 100e6 < found["peak_bytes"] < 250e6
    assert found["first_row_seconds"] < found["seconds"] - 0.25
    assert found["exit_code"] == 0


def test_the_arithmetic_of_a_step_is_counted_by_hand():
    # Multiply-adds of an image: conv1 28*28*16*25 forward and for its kernel; conv2 14*14*32*400 and dense 15,680 also
    # for their input.
    by_hand = 2 * (2 * 313_600 + 3 * 2_508_800 + 3 * 15_680)
    assert training_flops(1) == by_hand == pytest.approx(16.4e6, rel=0.01)
    assert evaluation_flops(1) == 2 * (313_600 + 2_508_800 + 15_680)
    # Twice the filters: twice the first and the last product, four times the one between.
    assert training_flops(1, width=2) == 2 * (2 * 627_200 + 3 * 10_035_200 + 3 * 31_360)
    paper = ROW_BY_NAME["train_evaluate"]
    assert paper.flops() == 60_000 * by_hand + 24 * 2_000 * 2 * (313_600 + 2_508_800 + 15_680)


def test_the_bound_of_memory_is_counted_by_hand():
    assert parameters() == 16 * 26 + 32 * 401 + 10 * 1569 == 28_938
    data = 70_000 * 784 + 70_000 * 4
    # 12,544 + 3,136 + 6,272 + 1,568 + 10 activations of an image, 50 images; weights, two moments and a count.
    assert memory_bound(data) == 66_192_000 + 3 * 4 * (50 * 23_530 + 3 * 28_938 + 1) == 81_351_780


def test_the_wider_network_computes_what_the_plain_flax_one_does():
    width = 2
    images = jax.random.uniform(jax.random.key(1), (3, 28, 28, 1))
    plain = naive_flax.CNN(width)
    params = plain.init(jax.random.key(0), images)["params"]
    logits, _ = ours.WideCNN(width).apply({"params": params}, images)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 26 * 16 * width + (400 * width + 1) * 32 * width + (
        15_680 * width + 10
    )
    np.testing.assert_allclose(logits, plain.apply({"params": params}, images), rtol=1e-4, atol=1e-5)
    assert jnp.all(jnp.isfinite(logits))


MEMORY = ("process_warm", "zoo_resnet50_224_first")


def figures_of(rows, **changes):
    """What `measure` returns for rows of seconds: {row: {program: seconds}}, on the machine of the targets."""
    return {
        "date": "2026-11-25T00:00:00+00:00",
        "machine": {"cores": 2, "processor": "a processor", "architecture": "x86_64", "avx512": True},
        "kernels": "some kernels",
        "versions": {"python": "3.13.0", "jax": "0.12.0.1"},
        "libraries": {},
        "steps_at_most": None,
        "data_bytes": 55_160_000,
        "rows": {
            name: {
                "label": ROW_BY_NAME[name].label,
                "workload": ROW_BY_NAME[name].workload,
                "measure": ROW_BY_NAME[name].measure,
                "flops": 1000,
                "import_bytes": dict.fromkeys(programs, 100_000_000) if name in MEMORY else None,
                "rounds": {
                    program: [
                        {"seconds": each, "flops_per_second": each, "peak_bytes": 262_703_560} for each in seconds
                    ]
                    for program, seconds in programs.items()
                },
            }
            for name, programs in rows.items()
        },
        **changes,
    }


def test_ratios_are_of_medians_and_targets_are_met_missed_or_not_measured():
    # Medians 4, 10 and 5; the limit is 1000 operations at 400 a second, the median of the rates: 2.5 s.
    epoch = {OURS: [4, 9, 3], FLAX: [10, 11, 1], TORCH: [5, 4, 6], "limit": [100, 400, 500]}
    summary = report.summarize(figures_of({"train": epoch, "process_warm": {OURS: [9], TORCH: [10]}}))
    assert summary["rows"]["train"]["programs"][OURS] == {"median": 4, "min": 3, "max": 9, "ours_of_it": 1}
    assert summary["rows"]["train"]["programs"][FLAX]["ours_of_it"] == 0.4
    verdicts = {
        (each["row"] + " memory" * each["memory"], each["against"]): (each["ratio"], each["met"])
        for each in summary["targets"]
    }
    assert verdicts == {
        ("train", FLAX): (0.4, True),
        ("train", KERAS): (None, None),
        ("train", TORCH): (0.8, True),
        ("train", "limit"): (1.6, False),
        ("process_warm", TORCH): (0.9, True),
        ("process_warm memory", "bound"): (162_703_560 / 81_351_780, False),
        ("process_warm memory", TORCH): (1.0, False),  # both take the same beyond their imports
    }
    assert summary["not_judged"] is None
    lines = report.target_lines(figures_of({"train": epoch}), report.summarize(figures_of({"train": epoch})))
    assert [line.split(":")[0] for line in lines] == ["PASS", "NOT MEASURED", "FAIL", "PASS"]
    assert lines[2] == "FAIL: the paper's epoch, its steps: 1.600 of the limit; at most 1.5 is the target."
    assert lines[3].endswith(": 0.800 of PyTorch; at most 0.8 is the target, 0.7 the aim.")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps_at_most": 20}, "no training has more than 20 steps"),
        ({"versions": {"python": "3.11.1", "jax": "0.10.2"}}, "2 and jax 0.10.2"),
        ({"machine": {"cores": 1, "processor": "", "architecture": "", "avx512": True}}, "1 and jax 0.12.0.1"),
        ({"machine": {"cores": 2, "processor": "", "architecture": "", "avx512": False}}, "AVX-512; this one has none"),
    ],
)
def test_targets_are_judged_only_on_the_machine_that_they_are_for(changes, says):
    figures = figures_of({"train": {OURS: [4], FLAX: [10], "limit": [400]}}, **changes)
    (line,) = report.target_lines(figures, report.summarize(figures))
    assert line.startswith("No target is judged: ")
    assert says in line
    assert line in report.as_markdown(figures, report.summarize(figures))


def test_the_table_shows_medians_ratios_and_what_was_not_measured():
    rows = {
        "train": {OURS: [4, 9, 3], TORCH: [5, 4, 6], "limit": [400]},
        "mnist_fast": {OURS: [0.25]},
    }
    lines = report.as_markdown(figures_of(rows), report.summarize(figures_of(rows))).splitlines()
    assert lines[0] == "| | flaxcnn | PyTorch | limit |"
    assert (
        lines[2] == "| the paper's epoch, its steps | **4.00 s** (3.00 s to 9.00 s) | 5.00 s (0.80) | 2.50 s (1.60) |"
    )
    assert lines[3].endswith("| **250 ms** (250 ms to 250 ms) | – | – |")


def test_networks_of_the_zoo_have_a_table_of_their_own_with_memory_and_seconds_for_a_target():
    rows = {
        "zoo_resnet50_224_first": {OURS: [21.5], TORCH: [4]},
        "train": {OURS: [4], TORCH: [5], "limit": [500]},
        "zoo_resnet18_32_train": {OURS: [0.5], FLAX: [1.0], TORCH: [0.4]},
    }
    figures = figures_of(rows)
    figures["rows"]["zoo_resnet50_224_first"]["rounds"] = {
        program: [{"first_row_seconds": seconds, "peak_bytes": 262_703_560} for seconds in each]
        for program, each in rows["zoo_resnet50_224_first"].items()
    }
    summary = report.summarize(figures)
    lines = report.as_markdown(figures, summary).splitlines()
    table = lines.index("| | flaxcnn | plain Flax | PyTorch | limit |")
    step = "`resnet18`, a training step, 32 × 32×32"
    first = "`resnet50`, from the start to the first loss, 8 × 224×224"
    assert lines[table + 2 : table + 5] == [
        f"| {first} | **21.5 s** (21.5 s to 21.5 s) | – | 4.00 s (5.38) | – |",
        f"| {step} | **500 ms** (500 ms to 500 ms) | 1.00 s (0.50) | 400 ms (1.25) | – |",
        f"| memory beyond imports, {first} | **163 MB** (163 MB to 163 MB) | – | 163 MB (1.00) | – |",
    ]
    assert f"| {first} | 20 s | 21.5 s | missed |" in lines
    assert f"FAIL: {first}: 21.5 s; at most 20 s is the target." in report.as_text(figures, summary)
    assert "the bound" not in report.as_text(figures, summary)


def test_layers_and_networks_have_a_table_of_their_own_in_fine_enough_units():
    forward = "convolution_50_28_1_5_16_1_1"
    rows = {
        "train": {OURS: [4], TORCH: [5], KERAS: [8], "limit": [500]},
        forward: {OURS: [0.00032], FLAX: [0.00181], "limit": [1_000_000]},
        "resnet18_train": {OURS: [0.0551], TORCH: [1.5]},
    }
    lines = report.as_markdown(figures_of(rows), report.summarize(figures_of(rows))).splitlines()
    of_the_epoch = "**4.00 s** (4.00 s to 4.00 s) | 8.00 s (0.50) | 5.00 s (0.80) | 2.00 s (2.00)"
    assert lines[:5] == [
        "| | flaxcnn | Keras on JAX | PyTorch | limit |",
        "|---|---|---|---|---|",
        f"| the paper's epoch, its steps | {of_the_epoch} |",
        "",
        "| | flaxcnn | plain Flax | PyTorch | limit |",
    ]
    label = "5×5, 1 → 16 channels, 50 × 28×28, forward"
    assert lines[6] == f"| {label} | **0.32 ms** (0.32 ms to 0.32 ms) | 1.81 ms (0.18) | – | 1.00 ms (0.32) |"
    assert lines[7].endswith(" | **55.1 ms** (55.1 ms to 55.1 ms) | – | 1.50 s (0.04) | – |")
    assert "flaxcnn's convolutions: some kernels." in "\n".join(lines)


def test_the_picture_has_room_for_ratios_of_a_hundred(tmp_path):
    both = {
        "train": {OURS: [4], TORCH: [5], "limit": [400]},
        "mobilenet_forward": {OURS: [0.01], FLAX: [1.0], TORCH: [0.008]},
        "zoo_resnet18_32_train": {OURS: [0.5], FLAX: [1.0], TORCH: [0.4]},
    }
    for number, rows in enumerate((dict(both), dict([both.popitem()]), dict([both.popitem()]), both)):
        picture.draw(figures_of(rows), report.summarize(figures_of(rows)), tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")


def test_a_job_comes_through_a_line_as_it_was_and_is_cut_for_a_quick_look():
    for job in (Job("train", 1200, evaluate_every=50), Convolution(2, 8, 4, 3, 8), Network(RESNET18, "train", 2, 8, 3)):
        assert from_line(json.dumps(as_fields(job))) == job
        assert type(from_line(json.dumps(as_fields(job)))) is type(job)
    cut = with_at_most(ROW_BY_NAME["convolution_16_56_24_1_144_1_1"], 3)
    assert cut.job.calls == 3
    assert cut.label.endswith(", forward, cut to 3 calls")
    assert with_at_most(ROW_BY_NAME["resnet18_train"], 2).label.endswith(", cut to 2 steps")
    first = with_at_most(ROW_BY_NAME["zoo_resnet18_224_first"], 1)
    assert [process.job.calls for process in first.processes] == [1, 1]
    assert first.label.endswith(", cut to 1 steps")
    for unchanged in ("resnet18_train", "evaluate", "startup_first", "zoo_resnet18_224_first"):
        assert with_at_most(ROW_BY_NAME[unchanged], 100) == ROW_BY_NAME[unchanged]


def test_the_products_of_a_convolution_are_counted_by_hand():
    # 8 × 112 × 112 × 32 outputs, each of 3 × 3 × 3 multiplications and as many additions
    job = Convolution(8, 224, 3, 3, 32, stride=2)
    assert convolution_flops(job) == 2 * 8 * 112 * 112 * 32 * 27
    assert convolution_flops(job._replace(gradients=True)) == 3 * convolution_flops(job)
    assert ROW_BY_NAME["convolution_8_224_3_3_32_2_1"].flops() == convolution_flops(job)


def test_every_target_is_of_a_row_and_of_a_program_that_the_row_measures():
    for target in TARGETS:
        row = ROW_BY_NAME[target.row]
        if target.against in (FLAX, KERAS, TORCH):
            assert target.against in (row.programs if row.job else [process.program for process in row.processes])
        elif target.against == "limit":
            assert row.flops() > 0


def test_an_environment_that_the_script_did_not_make_is_left_alone_and_the_peer_left_out(tmp_path):
    for folder in ("scripts", "constraints"):
        shutil.copytree(CHECKOUT / folder, tmp_path / folder)
    (tmp_path / ".venv-bench-keras").mkdir()
    (tmp_path / ".venv-bench-keras" / "thesis.tex").write_text("years of work")
    script = ["sh", str(tmp_path / "scripts" / "bench_environment.sh")]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([*script, "keras"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "Keras is left out of the benchmark" in done.stderr
    assert (tmp_path / ".venv-bench-keras" / "thesis.tex").read_text() == "years of work"
    unknown = subprocess.run([*script, "theano"], env=environment, capture_output=True, text=True, timeout=60)
    assert unknown.returncode == 2


def test_a_service_is_measured_with_batches_and_without():
    words = ("--models", "paper_cnn", "--clients", "1,4", "--rounds", "1", "--seconds", "1")
    command = [sys.executable, "-m", "benchmarks.serving", *words]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line[:1] == "|"]
    assert [row[:2] for row in rows[2:]] == [
        [n, kind] for n in ("1", "4") for kind in ("batches of 32", "one at a time")
    ]
    for _, kind, rate, ratio, *_ in rows[2:]:
        assert float(rate.replace(",", "")) > 0
        assert kind != "one at a time" or ratio == "1.00"
    assert "answers with" not in done.stderr
