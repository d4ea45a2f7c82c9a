"""The largest batch that fits is found by XLA's account, proven by a step, recorded, and kept by a run that goes on."""

import json
import subprocess
import sys

import pytest

from flaxcnn.config import Data, Experiment, Mesh, Training
from flaxcnn.errors import ConfigError
from flaxcnn.runs.setup import set_up
from flaxcnn.runs.tools.batch_size import _of_size, account_of, auto_batch_size, largest_batch, prove
from flaxcnn.runs.tools.host_memory import host_memory

pytestmark = pytest.mark.sweeps


@pytest.fixture(scope="module")
def setup(small_mnist):
    return set_up(Experiment(data=Data(f"idx:{small_mnist}"), training=Training(batch_size=1)))


@pytest.mark.parametrize("mebibytes", [12, 30])
def test_the_size_found_fits_and_twice_it_does_not(setup, mebibytes):
    memory = mebibytes * 2**20
    found = largest_batch(setup, memory)
    assert found.batch_size & (found.batch_size - 1) == 0
    assert 1 < found.batch_size < 512
    assert account_of(_of_size(setup, found.batch_size)).total <= memory
    assert account_of(_of_size(setup, 2 * found.batch_size)).total > memory
    assert found.twice.total > memory
    assert prove(setup, found, memory) == found


def test_with_memory_for_all_the_training_images_bound_it(setup):
    found = largest_batch(setup, 2**40)
    assert found.batch_size == 512  # of 1,000
    assert found.twice is None


def test_the_account_holds_the_images_and_what_every_image_of_a_batch_needs(setup):
    small, large = (account_of(_of_size(setup, size)) for size in (64, 256))
    assert small.kept >= 1000 * 28 * 28
    assert large.temporary - small.temporary > 192 * 28 * 28 * 16 * 4  # the first layer's float32 features


def test_streamed_images_are_accounted_for_by_the_chunk(small_mnist):
    data = Data(f"idx:{small_mnist}", device_memory=0, workers=0)
    streamed = set_up(Experiment(data=data, training=Training(batch_size=1)))
    found = largest_batch(streamed, 60 * 2**20)
    assert prove(streamed, found, 60 * 2**20) == found
    assert account_of(_of_size(streamed, 32)).kept >= 64 * 32 * 28 * 28  # 64 batches at once


def test_not_enough_for_the_smallest_is_said_with_both_numbers(setup):
    with pytest.raises(
        ConfigError, match=r"--batch_size auto: not even the smallest batch fits; expected at most 0.00"
    ):
        largest_batch(setup, 2**20)


@pytest.mark.parametrize(
    ("sections", "where"),
    [
        ({"training": Training(batch_size=6, accumulate=6)}, "training.accumulate"),
        ({"mesh": Mesh(data=3)}, "mesh.data"),
    ],
)
def test_parts_that_divide_no_power_of_two_are_refused(sections, where, small_mnist):
    with pytest.raises(ConfigError, match=f"{where}: does not divide a power of two"):
        auto_batch_size(Experiment(data=Data(f"idx:{small_mnist}"), **sections))


def test_auto_is_recorded_as_a_number_and_a_run_that_goes_on_keeps_it(flaxcnn, small_mnist, tmp_path):
    words = ("train", "--data.source", f"idx:{small_mnist}", "--batch-size", "auto", "--training.accumulate", "4")
    done = flaxcnn(*words, "--training.steps", "1", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert "batch size 512, the largest power of two that fits" in done.stdout
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())
    assert recorded["training"]["batch_size"] == 512
    again = flaxcnn(*words, "--training.steps", "1", "--out", "run")
    assert again.returncode == 0, again.stderr
    assert again.stdout == "batch size 512, as run recorded\nrun is complete: 1 steps; nothing to do\n"


def test_a_run_with_another_size_than_would_be_found_goes_on_with_its_own(flaxcnn, small_mnist, tmp_path):
    words = ("train", "--data.source", f"idx:{small_mnist}", "--out", "run", "--logging.every", "5")
    assert flaxcnn(*words, "--batch-size", "40", "--training.steps", "3").returncode == 0
    done = flaxcnn(*words, "--batch-size", "auto", "--training.steps", "5")
    assert done.returncode == 0, done.stderr
    assert "batch size 40, as run recorded" in done.stdout
    assert "resumes after step 3" in done.stdout


def test_an_experiment_that_does_not_go_with_the_size_that_was_found_is_told_the_size(flaxcnn, small_mnist):
    one_step_an_epoch = ("--schedule.name", "cosine", "--schedule.warmup_epochs", "0.9")
    words = ("--batch-size", "auto", *one_step_an_epoch)
    done = flaxcnn("train", "--data.source", f"idx:{small_mnist}", *words)
    assert done.returncode == 2, done.stderr
    (error,) = done.stderr.splitlines()
    assert "with the 512 images of --batch_size auto: schedule.warmup_epochs: the warm-up takes the whole run" in error


def test_a_number_is_short_for_the_options_own_name(flaxcnn, small_mnist, tmp_path):
    data = ("train", "--data.source", f"idx:{small_mnist}", "--training.steps", "1", "--training.accumulate", "20")
    done = flaxcnn(*data, "--batch-size=100", "--training.batch_size", "100", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["batch_size"] == 100


LESS_THAN_SAID = """
import resource
from flaxcnn.config import Experiment, Training
from flaxcnn.runs.tools.batch_size import largest_batch, prove
from flaxcnn.runs.setup import set_up

setup = set_up(Experiment(training=Training(batch_size=1)))
found = largest_batch(setup, 20 << 30, 16384)
used = 4096 * int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
print(found.batch_size, prove(setup, found, 20 << 30).batch_size)
"""


def test_a_step_that_runs_out_of_memory_is_tried_with_half_of_the_images(command_environment):
    words = [sys.executable, "-c", LESS_THAN_SAID]
    done = subprocess.run(words, env=command_environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "out of memory in a step of 16,384 images: trying half of them"
    first, last = map(int, lines[-1].split())
    assert first == 16384
    assert last == 16384 >> (len(lines) - 1)


def host(root, *, available, group="", limits=None):
    """Write the files of a machine: /proc/meminfo in KiB, and of its cgroups."""
    files = {"proc/meminfo": f"MemTotal: 9000 kB\nMemAvailable:   {available} kB\n", "proc/self/cgroup": group}
    for name, text in {**files, **(limits or {})}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_free_memory_is_what_linux_calls_available(tmp_path):
    assert host_memory(host(tmp_path, available=2000)) == 2000 * 1024


@pytest.mark.parametrize(
    ("limit", "left"),
    [("1000000\n", 1_000_000 - 400_000 + 150_000), ("max\n", 2000 * 1024), ("100000\n", 0)],
)
def test_a_cgroup_leaves_its_limit_less_what_is_in_use_and_not_mere_cache(tmp_path, limit, left):
    folder = "sys/fs/cgroup/jobs/mine"
    limits = {
        f"{folder}/memory.max": limit,
        f"{folder}/memory.current": "400000\n",
        f"{folder}/memory.stat": "anon 250000\ninactive_file 150000\n",
    }
    assert host_memory(host(tmp_path, available=2000, group="0::/jobs/mine\n", limits=limits)) == left


def test_the_limit_of_a_cgroup_above_holds_too_and_those_of_version_1_are_read(tmp_path):
    folder = "sys/fs/cgroup/memory/jobs"
    limits = {
        f"{folder}/memory.limit_in_bytes": "1000000\n",
        f"{folder}/memory.usage_in_bytes": "300000\n",
        f"{folder}/memory.stat": "total_inactive_file 0\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "300000\n",
        "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 0\n",
    }
    group = "5:cpu,memory:/jobs/mine\n1:name=systemd:/\n"
    assert host_memory(host(tmp_path, available=2000, group=group, limits=limits)) == 700_000
