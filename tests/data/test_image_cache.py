"""Decoded images are kept on disk, whole or not at all: two builders, a kill, a full disk, a limit, damage."""

import json
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from flaxcnn.data import Options, load
from flaxcnn.data.photographs import file_images, scanning
from flaxcnn.data.photographs.cache import Cache
from flaxcnn.data.photographs.encoded import Files
from flaxcnn.errors import ConfigError, DataError

COUNT, SIDE = 24, 16
BYTES = COUNT * SIDE * SIDE * 3


@pytest.fixture
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for n in range(COUNT):
        path = root / ("ant", "bee")[n % 2] / f"{n:02}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(np.random.default_rng(n).integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path)
    return root


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAXCNN_CACHE", str(tmp_path / "cache"))
    return Cache.of_user()


def stored(folder, **options):
    return load(f"folder:{folder}", Options(**options), in_memory=0)


def test_what_is_kept_is_not_decoded_again_and_is_the_same(folder, kept, monkeypatch):
    first = stored(folder)
    monkeypatch.setattr(file_images, "decode_file", None)  # would fail
    again = stored(folder)
    np.testing.assert_array_equal(first.train.images[:], again.train.images[:])
    assert first.digests == again.digests
    (entry,) = kept.entries()
    assert (entry.images, entry.shape, entry.bytes) == (COUNT, (SIDE, SIDE, 3), BYTES)


def test_another_setting_and_another_content_are_other_entries(folder, kept):
    stored(folder)
    stored(folder, size=(8,))
    stored(folder, size=(8,), fit="stretch")
    stored(folder, size=(8,), channels="gray")
    PIL.Image.new("RGB", (SIDE, SIDE)).save(folder / "ant" / "00.png")
    stored(folder)
    assert len(kept.entries()) == 5


def test_a_pickle_of_images_holds_where_they_are(folder, kept):
    images = stored(folder).train.images
    copied = pickle.dumps(images)
    assert len(copied) < 2000
    np.testing.assert_array_equal(pickle.loads(copied)[[3, 0]], images[[3, 0]])


# Says when it begins to decode, and goes on once it is told so.
BUILDER = """
import sys
from flaxcnn.data import load

def progress(done, count):
    if done == 1:
        print("decoding", flush=True)
        sys.stdin.readline()

dataset = load(sys.argv[1], in_memory=0, progress=progress)
print(int(dataset.train.images[:].sum()), flush=True)
"""


@pytest.fixture
def build(folder, kept, command_environment):
    processes = []

    def start():
        words = [sys.executable, "-c", BUILDER, f"folder:{folder}"]
        environment = {**command_environment, "FLAXCNN_CACHE": os.environ["FLAXCNN_CACHE"]}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(words, env=environment, text=True, **pipes))
        return processes[-1]

    yield start
    for each in processes:
        each.kill()
        each.communicate()


def test_of_two_builders_one_waits_for_the_other(build, kept):
    first = build()
    assert first.stdout.readline() == "decoding\n"
    second = build()
    (lock,) = kept.folder.glob("*.building")
    while f" {lock.stat().st_ino} " not in waiting(second.pid):  # it waits for the lock
        assert second.poll() is None
    first.stdin.write("\n")
    first.stdin.flush()
    said = [each.communicate(timeout=100)[0] for each in (first, second)]
    assert said[0] == said[1].removeprefix("decoding\n")
    assert "decoding" not in said[1]
    assert len(kept.entries()) == 1


def waiting(pid):
    """The inodes of locks that a process waits for, as the system lists them."""
    with open("/proc/locks") as file:
        rows = [line.split() for line in file if "->" in line]
    return " ".join(f" {row[6].rpartition(':')[2]} " for row in rows if row[5] == str(pid))


def test_a_killed_builder_leaves_nothing_that_counts(build, folder, kept):
    first = build()
    assert first.stdout.readline() == "decoding\n"
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert kept.entries() == []
    whole = load(f"folder:{folder}", Options(cache=False))
    np.testing.assert_array_equal(stored(folder).train.images[:], whole.train.images)
    assert [path.name for path in kept.folder.glob("*.new")] == []


def test_a_full_disk_is_one_line(folder, command_environment, tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
    program = f"{limit}import sys\nfrom flaxcnn.cli import main\nsys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, "train", "--data", f"folder:{folder}", "--out", "run"],
        env={**command_environment, "FLAXCNN_CACHE": str(tmp_path / "cache")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "cannot write: File too large" in line
    assert "--data.no_cache" in line
    assert not list((tmp_path / "cache" / "images").glob("*.new"))
    assert not (tmp_path / "run").exists()


def test_what_was_not_used_for_longest_makes_room(folder, kept, monkeypatch):
    small = BYTES // 4
    monkeypatch.setenv("FLAXCNN_CACHE_GIB", str((BYTES + small) / 2**30))
    load(f"folder:{folder}")
    load(f"folder:{folder}", Options(size=(8,)))
    sizes = {entry.shape[0]: entry.key for entry in kept.entries()}
    os.utime(kept.folder / sizes[SIDE] / "entry.json", (1e9, 1e9))
    load(f"folder:{folder}", Options(size=(8,), fit="stretch"))
    assert sorted(entry.shape[0] for entry in kept.entries()) == [8, 8]
    used = stored(folder, size=(8,))  # which this process reads from now on
    with pytest.raises(
        DataError, match=r"take more than the cache's limit, FLAXCNN_CACHE_GIB; expected at most 0.0 MiB"
    ):
        load(f"folder:{folder}", Options(size=(60,)))
    assert sizes[8] in [entry.key for entry in kept.entries()]
    assert used.train.images[0].shape == (8, 8, 3)


def test_a_limit_that_is_none_is_refused(folder, kept, monkeypatch):
    monkeypatch.setenv("FLAXCNN_CACHE_GIB", "much")
    with pytest.raises(ConfigError, match="FLAXCNN_CACHE_GIB: no size; expected a number of GiB"):
        load(f"folder:{folder}")


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "images").write_bytes(b"\0" * 100),
        lambda entry: (entry / "images").unlink(),
        lambda entry: (entry / "entry.json").write_text("{"),
        lambda entry: (entry / "entry.json").write_text(json.dumps({"source": 1, "shape": "x", "bad": []})),
        lambda entry: (entry / "entry.json").write_text(
            json.dumps({"source": "", "shape": [10**9, 1, 1, 3], "bad": {}})
        ),
    ],
)
def test_a_damaged_entry_is_built_again(folder, kept, damage):
    first = stored(folder).train.images[:]
    (entry,) = kept.entries()
    damage(kept.folder / entry.key)
    np.testing.assert_array_equal(stored(folder).train.images[:], first)
    assert [each.key for each in kept.entries()] == [entry.key]


def test_files_that_are_as_they_were_are_not_read_again(folder, kept, monkeypatch):
    monkeypatch.setattr(scanning, "_TICK", 0)  # files changed just now are read again, whatever their times
    first = stored(folder)
    monkeypatch.setattr(Files, "read", None)  # would fail
    assert stored(folder).digests == first.digests


def test_a_damaged_scan_is_made_again(folder, kept, monkeypatch):
    monkeypatch.setattr(scanning, "_TICK", 0)
    first = stored(folder)
    (scan,) = (kept.folder / "scans").iterdir()
    whole = scan.read_bytes()
    for damaged in (b"{", whole[:-50], whole[100:], b""):
        scan.write_bytes(damaged)
        assert stored(folder).digests == first.digests


def test_the_command_lists_and_clears(folder, kept, commands, command_environment, tmp_path):
    in_use = stored(folder)
    stored(folder, size=(8,))
    kept_key = max(kept.entries(), key=lambda entry: entry.bytes).key
    environment = {**command_environment, "FLAXCNN_CACHE": os.environ["FLAXCNN_CACHE"]}

    def command(*words):
        done = subprocess.run(
            [sys.executable, "-m", "flaxcnn", "cache", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    code, listed = command()
    assert code == 0
    assert f"{COUNT} images 16×16×3" in listed
    assert listed.splitlines()[-1].startswith("2 entries, 0.000 GiB of at most 50 GiB in ")
    code, said = command("--clear")
    assert code == 0
    assert said.splitlines() == ["removed 1 entries, 0.00 GiB", f"kept 1 that a process uses: {kept_key}"]
    assert [entry.key for entry in kept.entries()] == [kept_key]
    code, said = command("--clear", "nothing")
    assert (code, "no such entry of the cache" in said) == (2, True)
    in_use.train.images[0]
