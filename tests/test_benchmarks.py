"""The benchmark: the same work by every program, measured for real, and counted and reported as arithmetic says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import measure, report
from benchmarks.arithmetic import evaluation_flops, memory_bound, parameters, training_flops
from benchmarks.processes import Launcher
from benchmarks.programs import naive_flax, ours
from benchmarks.workloads import FLAX, KERAS, OURS, ROWS, TARGETS, TORCH, Process

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
    document, picture = tmp_path / "document.md", tmp_path / "images" / "ratios.png"
    picture.parent.mkdir()
    document.write_text(DOCUMENT)
    written = ("--json", tmp_path / "b.json", "--picture", picture, "--document", document)
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

    text = document.read_text()
    assert text.startswith(f"Before.\n\n{report.BEGIN}\n| | flaxcnn | plain Flax | limit |\n")
    assert text.endswith(f"\n{report.END}\n\nAfter.\n")
    assert "yesterday" not in text
    assert "| the paper's epoch, its steps, cut to 20 steps | **" in text
    assert "](images/ratios.png)" in text
    assert picture.read_bytes().startswith(b"\x89PNG")


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


def figures_of(rows, **changes):
    """What `measure` returns for rows of seconds: {row: {program: seconds}}, on the machine of the targets."""
    return {
        "date": "2026-11-25T00:00:00+00:00",
        "machine": {"cores": 2, "processor": "a processor", "architecture": "x86_64"},
        "versions": {"python": "3.13.0", "jax": "0.12.0.1"},
        "libraries": {},
        "steps_at_most": None,
        "data_bytes": 55_160_000,
        "rows": {
            name: {
                "label": ROW_BY_NAME[name].label,
                "measure": "seconds",
                "flops": 1000,
                "import_bytes": dict.fromkeys(programs, 100_000_000) if name == "process_warm" else None,
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
    verdicts = {(each["row"], each["against"]): (each["ratio"], each["met"]) for each in summary["targets"]}
    assert verdicts == {
        ("train", FLAX): (0.4, True),
        ("train", KERAS): (None, None),
        ("train", TORCH): (0.8, True),
        ("train", "limit"): (1.6, False),
        ("process_warm", TORCH): (0.9, False),
        ("process_warm", "bound"): (162_703_560 / 81_351_780, False),
    }
    assert summary["not_judged"] is None
    lines = report.target_lines(figures_of({"train": epoch}), report.summarize(figures_of({"train": epoch})))
    assert [line.split(":")[0] for line in lines] == ["PASS", "NOT MEASURED", "PASS", "FAIL"]
    assert lines[3] == "FAIL: the paper's epoch, its steps: 1.600 of the limit; at most 1.5 is the target."


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps_at_most": 20}, "no training has more than 20 steps"),
        ({"versions": {"python": "3.11.1", "jax": "0.10.2"}}, "2 and jax 0.10.2"),
        ({"machine": {"cores": 1, "processor": "", "architecture": ""}}, "1 and jax 0.12.0.1"),
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


def test_every_target_is_of_a_row_and_of_a_program_that_the_row_measures():
    for target in TARGETS:
        row = ROW_BY_NAME[target.row]
        if target.against in (FLAX, KERAS, TORCH):
            assert row.job or target.against in [process.program for process in row.processes]
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
