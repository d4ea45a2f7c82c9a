"""What is compiled is kept for the next process: the same bits, sooner; and what goes wrong with it changes nothing."""

import json
import os
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import jax
import pytest

from flaxcnn.compilation_cache import drop_torn_entries, folder_name, processor, prune, use_compilation_cache

STEPS = ("--training.batch_size", 50, "--logging.every", 15, "--logging.test_examples", 100)
SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
)
DIGESTS = ("state_sha256", "weights_sha256", "metrics_sha256")
WITHOUT_ROOT_RIGHTS = "import ctypes\nfor right in (1, 2):\n    ctypes.CDLL(None).prctl(24, right, 0, 0, 0)"
SMALL_FILES = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))"  # as on a full disk
# A program that compiles something, and says which folder it used and what came out.
SMALL = """
from flaxcnn.compilation_cache import use_compilation_cache
folder = use_compilation_cache()
import jax, jax.numpy as jnp
from flaxcnn.layers.convolution import convolution
images, kernel = jnp.linspace(0, 1, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3), jnp.linspace(-1, 1, 300).reshape(5, 5, 3, 4)
layout = ("NHWC", "HWIO", "NHWC")
loss = lambda kernel: (convolution(images, kernel, (1, 1), "SAME", dimension_numbers=layout) ** 2).sum()
print(folder, [float(each).hex() for each in jax.jit(jax.grad(loss))(kernel).ravel()])
"""


@pytest.fixture
def small(command_environment):
    """Start a process that compiles a convolution's gradient: `small(cache, first=…)`."""

    def start(cache, first=""):
        words = [sys.executable, "-c", SMALL]
        if first:
            words = [sys.executable, "-c", f"{first}\nimport os, sys\nos.execv(sys.executable, {words!r})"]
        environment = {**command_environment, "XDG_CACHE_HOME": str(cache)}
        return subprocess.Popen(
            words,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def printed(process):
    """What a process printed; it must have ended well and without a word on standard error."""
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert errors == ""
    return output


# The command, which leaves behind how many programs it asked the cache for, and how many it was given.
COUNTED = """
import atexit, collections, json, pathlib, sys
import jax
from flaxcnn.__main__ import main
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **more: counts.update([event.rpartition("/")[2]]))
file, *words = sys.argv[1:]
atexit.register(lambda: pathlib.Path(file).write_text(json.dumps(counts)))
sys.exit(main(words))
"""


def entries_below(folder):
    return {path.name: path.stat().st_mtime_ns for path in Path(folder).rglob("*-cache")}


@pytest.fixture(scope="module")
def three_runs(small_mnist, command_environment, tmp_path_factory):
    """Summaries and counts of the same 20 steps: with no entries yet, with those, and with no cache; and the folder."""
    folder = tmp_path_factory.mktemp("cached")
    summaries, counts, entries = {}, {}, {}
    for name, more in (("cold", {}), ("warm", {}), ("none", {"JAX_ENABLE_COMPILATION_CACHE": "false"})):
        cache = folder / ("unused" if name == "none" else "cache")
        words = ("train", "--data.source", f"idx:{small_mnist}", "--out", folder / name, *STEPS)
        done = subprocess.run(
            [sys.executable, "-c", COUNTED, str(folder / f"{name}.json"), *map(str, words)],
            env={**command_environment, "XDG_CACHE_HOME": str(cache), "MPLCONFIGDIR": str(folder), **more},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (done.returncode, done.stderr) == (0, "")
        summaries[name] = json.loads((folder / name / "summary.json").read_text())
        counts[name] = Counter(json.loads((folder / f"{name}.json").read_text()))
        entries[name] = entries_below(cache)
    return summaries, counts, entries, folder


@pytest.mark.slow
def test_a_run_with_kept_programs_has_the_bits_of_one_that_compiled(three_runs):
    summaries = three_runs[0]
    assert summaries["cold"]["steps"] == 20
    for name in DIGESTS:
        assert summaries["cold"][name] == summaries["warm"][name] == summaries["none"][name]


@pytest.mark.slow
def test_a_second_run_compiles_nothing(three_runs):
    _, counts, entries, _ = three_runs
    assert {name.split("-")[0] for name in entries["cold"]} >= {"jit_run_block", "jit_evaluate"}
    assert entries["warm"] == entries["cold"]
    assert counts["cold"]["cache_misses"] == len(entries["cold"])
    assert counts["warm"]["cache_misses"] == 0
    assert counts["warm"]["cache_hits"] == counts["warm"]["compile_requests_use_cache"] > 0


@pytest.mark.slow
def test_a_user_who_wants_no_cache_gets_none(three_runs):
    assert not (three_runs[3] / "unused").exists()


@pytest.mark.slow
def test_entries_stand_in_a_folder_of_these_versions_that_only_the_user_may_write_to(three_runs):
    (folder,) = (three_runs[3] / "cache" / "flaxcnn" / "programs").iterdir()
    assert f"jax-{jax.__version__}-jaxlib-" in folder.name
    assert f"python-{sys.version_info.major}.{sys.version_info.minor}-" in folder.name
    assert folder.stat().st_mode & 0o077 == 0


def test_another_processor_has_another_folder():
    ours = processor()
    assert folder_name(ours) == folder_name(processor())
    assert folder_name(ours) != folder_name(ours + " avx10")


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux says what the processor can do")
def test_the_processor_is_told_by_every_feature_that_linux_knows_of_it():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    features = next(line for line in lines if line.partition(":")[0].strip() in ("flags", "Features"))
    assert set(features.partition(":")[2].split()) <= set(processor().split())


def test_importing_the_library_changes_no_setting(command_environment, tmp_path):
    program = f"""
import jax
before = [getattr(jax.config, name) for name in {SETTINGS}]
import flaxcnn, flaxcnn.cli, flaxcnn.compilation_cache, flaxcnn.runs.train, flaxcnn.runs.evaluate
assert before == [getattr(jax.config, name) for name in {SETTINGS}]
"""
    environment = {**command_environment, "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=100)
    assert not list(tmp_path.iterdir())


def test_every_program_is_kept_however_quickly_it_was_compiled(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = use_compilation_cache()
    assert folder == tmp_path / "flaxcnn" / "programs" / folder_name(processor())
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0


@pytest.mark.parametrize("chosen", ["/a/folder/of/the/users", ""])
def test_a_users_own_folder_stands(monkeypatch, tmp_path, chosen):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", chosen)
    assert use_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir == chosen
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("variable", "value"), [(None, 5.0), ("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", 1.0)])
def test_what_a_user_says_of_short_compilations_stands(monkeypatch, tmp_path, variable, value):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if variable:
        monkeypatch.setenv(variable, str(value))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", value)
    assert use_compilation_cache() is not None
    assert jax.config.jax_persistent_cache_min_compile_time_secs == value


def test_without_xdgs_variable_the_folder_is_below_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("", "relative/folder"):  # which the specification says to ignore
        monkeypatch.setenv("XDG_CACHE_HOME", variable)
        jax.config.update("jax_compilation_cache_dir", None)
        folder = use_compilation_cache()
        assert folder is not None
        assert folder.is_relative_to(tmp_path / ".cache" / "flaxcnn")


@pytest.mark.parametrize("open_to_others", ["flaxcnn", "programs", "folder"])
def test_a_folder_that_others_may_write_to_is_not_used(monkeypatch, tmp_path, open_to_others):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    programs = tmp_path / "flaxcnn" / "programs"
    folder = programs / folder_name(processor())
    folder.mkdir(parents=True)
    for place in (programs.parent, programs, folder):
        place.chmod(0o700)
    {"flaxcnn": programs.parent, "programs": programs, "folder": folder}[open_to_others].chmod(0o777)
    assert use_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir is None


def test_a_link_to_another_folder_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "unpacked").mkdir(0o700)
    (tmp_path / "flaxcnn" / "programs").mkdir(0o700, parents=True)
    (tmp_path / "flaxcnn" / "programs" / folder_name(processor())).symlink_to(tmp_path / "unpacked")
    assert use_compilation_cache() is None


def test_the_folder_is_the_users_own_whatever_the_umask(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = os.umask(0o002)
    try:
        folder = use_compilation_cache()
    finally:
        os.umask(before)
    assert folder is not None
    assert [place.stat().st_mode & 0o777 for place in (folder, *folder.parents[:2])] == [0o700] * 3


def test_a_folder_that_cannot_be_made_means_no_cache(monkeypatch, tmp_path):
    (tmp_path / "flaxcnn").write_text("a file where the folder would be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert use_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir is None


def test_a_folder_that_may_not_be_written_to_means_no_cache(small, tmp_path):
    tmp_path.chmod(0o500)
    assert printed(small(tmp_path, first=WITHOUT_ROOT_RIGHTS)).startswith("None [")


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    for variable in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert use_compilation_cache() is None


@pytest.mark.slow
def test_torn_entries_two_processes_at_once_and_a_full_disk_change_nothing_and_say_nothing(small, tmp_path):
    folder, _, values = printed(small(tmp_path)).partition(" ")
    whole = entries_below(folder)
    torn = sorted(Path(folder).glob("*-cache"))
    torn[0].write_bytes(torn[0].read_bytes()[:-100])
    torn[1].write_bytes(b"garbage" * 100)
    torn[-1].write_bytes(b"")
    both = [small(tmp_path), small(tmp_path)]
    assert [printed(process).partition(" ")[2] for process in both] == [values, values]
    assert set(entries_below(folder)) == set(whole)
    for entry in torn:
        assert zlib.decompress(entry.read_bytes())  # made again: JAX alone would have left them

    full = tmp_path / "full"
    assert printed(small(full, first=SMALL_FILES)).partition(" ")[2] == values
    assert all(path.stat().st_size <= 500 for path in full.rglob("*-cache"))
    assert printed(small(full)).partition(" ")[2] == values
    assert len(entries_below(full)) == len(whole)
    for entry in full.rglob("*-cache"):
        assert zlib.decompress(entry.read_bytes())


def test_torn_entries_are_told_whatever_compressed_them(tmp_path):
    whole = {"zlib-cache": zlib.compress(b"program" * 1000)}
    if sys.version_info >= (3, 14):
        from compression import zstd

        whole["zstd-cache"] = zstd.compress(b"program" * 1000)
    for name, data in whole.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / f"torn-{name}").write_bytes(data[:-4])
    (tmp_path / "empty-cache").touch()
    (tmp_path / "zeros-cache").write_bytes(bytes(5000))  # what some file systems leave after a power cut
    drop_torn_entries(tmp_path)
    assert {path.name for path in tmp_path.glob("*-cache")} == set(whole)


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    for number, folder in enumerate(["old version", "old version", "this one", "this one"]):
        (tmp_path / folder).mkdir(exist_ok=True)
        path = tmp_path / folder / f"{number}-cache"
        path.write_bytes(bytes(100))
        os.utime(path, (1_000_000 + number, 1_000_000))
    os.utime(tmp_path / "old version" / "1-cache", (2_000_000, 1_000_000))  # read again since
    prune(tmp_path, 400)
    assert len(entries_below(tmp_path)) == 4
    prune(tmp_path, 250)
    assert set(entries_below(tmp_path)) == {"1-cache", "3-cache"}
