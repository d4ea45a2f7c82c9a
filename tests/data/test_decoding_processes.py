"""Many image files are scanned and decoded in processes: their pixels, each fault with its reason, a prompt end."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from flaxcnn.data import Options, load
from flaxcnn.data.photographs import decode_all, parallel, scanning
from flaxcnn.data.photographs.cache import Cache
from flaxcnn.data.workers import workers
from flaxcnn.errors import DataError
from tests.children import children, gone
from tests.error_fields import fields

COUNT, SIDE = 700, 16  # several parts for each of two processes


def pixels(number):
    return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A lossless image for each number, in two classes."""
    root = tmp_path_factory.mktemp("many")
    for number in range(COUNT):
        path = root / ("ant", "bee")[number % 2] / f"{number:03}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(pixels(number)).save(path)
    return root


@pytest.fixture
def damaged(folder, tmp_path):
    """The same folder with a truncated file and one that is no image."""
    root = tmp_path / "damaged"
    shutil.copytree(folder, root)
    whole = (root / "ant" / "100.png").read_bytes()
    (root / "ant" / "100.png").write_bytes(whole[: len(whole) // 2])
    (root / "bee" / "301.png").write_bytes(b"no image")
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAXCNN_CACHE", str(tmp_path / "cache"))
    return Cache.of_user()


@pytest.fixture
def own_children():
    """Returns the processes that are started within the test; other tests may have started some that stay."""
    others = set(children(os.getpid()))
    return lambda: set(children(os.getpid())) - others


@pytest.fixture
def processes(monkeypatch):
    """Two processes, however little there is to do. Returns the roles that are started."""
    started = []

    class Noted(workers.Workers):
        def __init__(self, reader, count, buffers, rows, role, saving):
            started.append((role, count))
            super().__init__(reader, count, buffers, rows, role, saving)

    for module in (scanning, decode_all):
        monkeypatch.setattr(module, "PAYS", 1e-9)
        monkeypatch.setattr(module, "cores", lambda: 2)
    monkeypatch.setattr(parallel, "Workers", Noted)
    return started


BOTH = [("scanning process", 2), ("decoding process", 2)]


def assert_holds_all(dataset):
    for split in (dataset.train, dataset.test):
        for name, found in zip(split.names, split.images[:], strict=True):
            np.testing.assert_array_equal(found, pixels(int(name[4:7])))
    assert len(dataset.train) + len(dataset.test) == COUNT


@pytest.mark.parametrize("in_memory", [0, 1 << 30])
@pytest.mark.parametrize("kept", [True, False])
def test_the_pixels_are_those_of_the_files(folder, processes, own_children, in_memory, kept):
    told = []
    dataset = load(f"folder:{folder}", Options(cache=kept), in_memory, lambda *done: told.append(done))
    assert processes == (BOTH if kept or in_memory else BOTH[:1])
    assert_holds_all(dataset)
    assert told == sorted(told)
    if told:
        assert told[-1] == (COUNT, COUNT)
    assert not own_children()


def test_few_small_files_start_no_process(folder, monkeypatch):
    monkeypatch.setattr(parallel, "Workers", None)  # would fail
    assert_holds_all(load(f"folder:{folder}"))


def test_each_fault_is_told_with_its_file_and_its_reason(damaged, processes):
    with pytest.raises(DataError) as refused:
        load(f"folder:{damaged}")
    assert refused.value.what == "1 of 700 files cannot be used"
    assert refused.value.found.startswith("bee/301.png: no image")
    dataset = load(f"folder:{damaged}", Options(on_bad="skip"))
    assert len(dataset.train) + len(dataset.test) == COUNT - 2
    (line,) = [note for note in dataset.notes if "skipped" in note]
    assert "2 of 700 files skipped: ant/100.png: damaged image (" in line
    assert "; bee/301.png: no image" in line
    assert processes == [BOTH[0], *BOTH]


def test_a_file_that_changes_after_the_scan_is_told(folder, damaged, processes, monkeypatch):
    (damaged / "bee" / "301.png").write_bytes((folder / "bee" / "301.png").read_bytes())
    (damaged / "ant" / "100.png").write_bytes((folder / "ant" / "100.png").read_bytes())
    read_all = scanning._read_all

    def changing(*arguments):
        found = read_all(*arguments)
        PIL.Image.new("RGB", (SIDE, SIDE)).save(damaged / "ant" / "222.png")
        return found

    monkeypatch.setattr(scanning, "_read_all", changing)
    dataset = load(f"folder:{damaged}", Options(on_bad="skip"))
    (line,) = [note for note in dataset.notes if "skipped" in note]
    assert "1 of 700 files skipped: ant/222.png: the file changed since the data set was loaded" in line


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_is_killed_is_one_line_and_leaves_nothing(folder, processes, own_children, cache, number):
    def kill(done, count):
        for victim in own_children():
            os.kill(victim, number)

    with pytest.raises(DataError) as refused:
        load(f"folder:{folder}", in_memory=0, progress=kill)
    assert fields(refused.value)[0].startswith("decoding process ")
    assert fields(refused.value)[2] == f"killed by {number.name}"
    assert "make memory free, or give this program fewer cores" in refused.value.fix
    assert not own_children()
    assert cache.entries() == []
    assert list(cache.folder.glob("*.new")) == []
    assert_holds_all(load(f"folder:{folder}", in_memory=0))


def test_an_interruption_ends_all_processes(folder, processes, own_children, cache):
    def interrupt(done, count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(f"folder:{folder}", in_memory=0, progress=interrupt)
    assert not own_children()
    assert list(cache.folder.glob("*.new")) == []


# Has no guard: a process that ran it again would print again, and start processes of its own.
SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
print("begun", flush=True)
from flaxcnn.data import load
from flaxcnn.data.photographs import decode_all, scanning

for module in (scanning, decode_all):
    module.PAYS, module.cores = 1e-9, lambda: 2

def progress(done, count):
    print("decoding", flush=True)
    sys.stdin.readline()

load(f"folder:{sys.argv[1]}", in_memory=0, progress=progress)
"""


@pytest.fixture
def script(folder, command_environment):
    words = [sys.executable, "-c", SCRIPT, str(folder)]
    environment = {**command_environment, "FLAXCNN_CACHE": os.environ["FLAXCNN_CACHE"]}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(words, env=environment, text=True, **pipes) as process:
        yield process
        process.kill()


def test_a_script_is_not_run_again(script):
    out, err = script.communicate("\n" * COUNT, timeout=100)
    assert (script.returncode, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "begun"
    assert set(lines[1:]) == {"decoding"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_the_one_that_builds_the_cache(script, cache, number):
    assert [script.stdout.readline() for _ in range(2)] == ["begun\n", "decoding\n"]
    started = children(script.pid)
    assert len(started) == 2
    script.send_signal(number)
    script.communicate(timeout=30)
    assert gone(started, seconds=30) == []
    assert cache.entries() == []
    assert (list(cache.folder.glob("*.new")) == []) == (number == signal.SIGINT)
