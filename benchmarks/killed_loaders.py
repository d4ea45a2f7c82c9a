"""What memory a loader takes, and what becomes of its batches when it is killed: this library's, and Grain's.

Each loader is a program of `benchmarks.programs` that keeps a digest of each batch and the loader's state after it. It
runs whole; then it is killed in the middle of its first epoch, by SIGKILL, and goes on from the state that it kept
last: as it was, with one worker more, and with a file that has become another one.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

OURS = "benchmarks.programs.flaxcnn_epochs"
GRAIN = Path(__file__).parent / "programs" / "grain_epochs.py"

_EPOCHS = 2
_LEFT = 20  # seconds after a kill, in which worker processes may end


def look_at(words: Sequence[str], folder: Path, workers: int, place: Path) -> Iterator[str]:
    """Yield what is found of a loader, a line each.

    Args:
        words: the Python and the program.
        folder: of the images; one of them is another one for a while.
        workers: of the loader.
        place: a new folder, for what the programs keep.
    """
    for name in ("whole", "watched", "killed"):
        (place / name).mkdir(parents=True)
    run = [*words, str(folder), str(workers), str(_EPOCHS)]
    subprocess.run([*run, str(place / "whole")], check=True, capture_output=True)
    own, mapped = peak([*run, str(place / "watched")])
    yield f"memory at the peak of all its processes: {own >> 20:,} MiB of its own, {mapped >> 20:,} MiB of mapped files"
    whole = batches_of(place / "whole")
    left = kill_in_the_middle([*run, str(place / "killed")], place / "killed", len(whole) // _EPOCHS // 2)
    yield f"killed in the middle of an epoch, it leaves {left[0]} processes and {left[1]} blocks of shared memory"
    for what, count, changed in (
        ("goes on", workers, False),
        ("goes on with another number of workers", workers + 1, False),
        ("goes on with a file that is another one", workers, True),
    ):
        again = place / what.replace(" ", "-")
        shutil.copytree(place / "killed", again)
        victim, *_, other = sorted(folder.rglob("*.jpg"))
        before = victim.read_bytes()
        if changed:
            victim.write_bytes(other.read_bytes())
        try:
            command = [*words, str(folder), str(count), str(_EPOCHS), str(again)]
            done = subprocess.run(command, capture_output=True, text=True)
        finally:
            victim.write_bytes(before)
        yield f"{what}: {_told(done, whole, batches_of(again))}"


def _told(done: "subprocess.CompletedProcess[str]", whole: dict[int, str], found: dict[int, str]) -> str:
    if done.returncode:
        return f"refused ({done.stderr.strip().splitlines()[-1]})"
    same = sum(found.get(step) == digest for step, digest in whole.items())
    return f"{same} of {len(whole)} batches are those of the whole run"


def batches_of(kept: Path) -> dict[int, str]:
    """Return the digest of each step's batch; a step that was made twice has the last one."""
    lines = (kept / "batches").read_text().splitlines()
    return {int(step): digest for step, digest in (line.split() for line in lines)}


def kill_in_the_middle(words: Sequence[str], kept: Path, step: int) -> tuple[int, int]:
    """Start a program, kill it once it has made so many batches, and return what it leaves.

    Returns:
        How many of its processes are left after some seconds, which are then ended, and how many blocks in /dev/shm.
    """
    before = _shared()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (kept / "state").exists() or len(batches_of(kept)) < step:
            if process.poll() is not None:
                raise RuntimeError(f"{words} ended too early")
            time.sleep(0.005)
        others = [pid for pid in tree(process.pid) if pid != process.pid]
        process.kill()
    end = time.monotonic() + _LEFT
    while (left := [pid for pid in others if _runs(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    blocks = len(_shared().keys() - before.keys())
    for pid in left:
        if "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_text():  # which removes the blocks at its end
            os.kill(pid, signal.SIGKILL)
    return len(left), blocks


def peak(words: Sequence[str]) -> tuple[int, int]:
    """Run a program; return the most bytes that its processes held together, of their own and of mapped files.

    Shared pages count in parts (Linux's proportional set size), so that none is counted twice. Blocks in /dev/shm are
    memory whether they are mapped or not.
    """
    own = mapped = 0
    before = _shared()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            anonymous, shared, files = map(sum, zip(*(_sizes(pid) for pid in tree(process.pid)), strict=True))
            blocks = sum(size for name, size in _shared().items() if name not in before)
            own = max(own, anonymous + max(shared, blocks))
            mapped = max(mapped, files)
            time.sleep(0.05)
    return own, mapped


def _shared() -> dict[str, int]:
    """Return the blocks of shared memory in /dev/shm, with the bytes that each takes."""
    found = {}
    for entry in os.scandir("/dev/shm"):
        with suppress(FileNotFoundError):
            found[entry.name] = entry.stat().st_blocks * 512
    return found


def tree(pid: int) -> list[int]:
    """Return a process and all that it started, as far as they run."""
    found = [pid]
    for each in found:
        try:
            tasks = list(Path(f"/proc/{each}/task").iterdir())
            found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _sizes(pid: int) -> tuple[int, int, int]:
    """Return a process's bytes of anonymous memory, of shared memory and of mapped files."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0, 0, 0
    sizes = {name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(":") for line in lines)}
    return sizes.get("Pss_Anon", 0), sizes.get("Pss_Shmem", 0), sizes.get("Pss_File", 0)
