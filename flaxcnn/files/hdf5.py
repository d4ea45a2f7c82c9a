"""A reader of arrays in HDF5, such as Keras' `.weights.h5`, in a process of its own.

An array is named by its path in the file; in those of Keras 3, `layers/conv2d_1/vars/0`.

HDF5's own library parses the file, through h5py, which the extra `keras` installs. A damaged file can make that library
take all memory, crash or never end. So this module runs as a program with little memory and time, and what it finds
comes back as an archive of NumPy's. Nothing outside the file is opened, and nothing is read that is compressed.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from flaxcnn.errors import ConfigError, DataError
from flaxcnn.files.npz import read_npz

BEGINNING = b"\x89HDF\r\n\x1a\n"
_MEMORY = 256 << 20  # bytes that the program may take beside three times the file's
_SECONDS = 30  # and of processor time, beside one for each 16 MiB
_REFUSED = 3  # the program's exit code where it says why on standard output
_DEPTH, _GROUPS, _AXES = 16, 100_000, 8  # of groups in groups, in all, and of a tensor


def read_hdf5(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """Return a file's arrays by their paths.

    Args:
        file: a regular file.
        size: its bytes, which bound what is read.

    Raises:
        ConfigError: h5py is not installed.
        ValueError: it is damaged, or holds something else.
    """
    if importlib.util.find_spec("h5py") is None:
        fix = "install the extra keras: pip install 'flaxcnn[keras]'"
        raise ConfigError("needs h5py", where="files in HDF5", fix=fix)
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.npz"
        words = [sys.executable, "-P", "-m", "flaxcnn.files.hdf5", str(file.fileno()), str(size), str(found)]
        seconds = _SECONDS + (size >> 24)
        environment = {
            **os.environ,
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "HDF5_USE_FILE_LOCKING": "FALSE",
        }
        try:
            done = subprocess.run(
                words,
                pass_fds=(file.fileno(),),
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=20 * seconds,  # of the clock: the machine may have other work
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ValueError("HDF5's library does not end") from error
        if done.returncode == _REFUSED:
            raise ValueError(done.stdout.decode(errors="replace")[:500])
        if done.returncode != 0 or not found.exists():
            raise ValueError("HDF5's library cannot read it")
        return read_npz(found, lambda _: None, most=size, what="tensors", error=DataError)


def _main(descriptor: int, size: int, out: str) -> int:
    import h5py

    _limit(size)
    try:
        with os.fdopen(descriptor, "rb") as file, h5py.File(file, "r") as opened:
            found = _read(h5py, opened, size)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        sys.stdout.write(str(error).strip() or type(error).__name__)
        return _REFUSED
    with open(out, "wb") as archive:
        np.savez(archive, **found)  # type: ignore[arg-type]
    return 0


def _limit(size: int) -> None:
    """Let this process take little more memory than it has, and little time."""
    import resource

    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        held = pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        held = 4 << 30
    limits = {resource.RLIMIT_AS: held + _MEMORY + 3 * size, resource.RLIMIT_CPU: _SECONDS + (size >> 24)}
    limits[resource.RLIMIT_CORE] = 0
    for limit, value in limits.items():
        _, most = resource.getrlimit(limit)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(limit, (value, value))


def _read(h5py: Any, opened: Any, size: int) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    total = 0
    for path, dataset in _datasets(h5py, opened):
        total += dataset.nbytes
        if total > size:
            raise ValueError("more numbers than the file has bytes")
        found["/".join(path)] = np.asarray(dataset[()])
    return found


def _datasets(h5py: Any, root: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each array of numbers that lies in the file: its path and itself."""
    level: list[tuple[tuple[str, ...], Any]] = [((), root)]
    seen = 0
    while level:
        path, group = level.pop()
        for key in group:
            seen, place = seen + 1, "/".join((*path, key))
            if seen > _GROUPS or len(path) > _DEPTH:
                raise ValueError("more groups than weights have")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise ValueError(f"{place}: a link to somewhere else")
            each = group[key]
            if isinstance(each, h5py.Group):
                level.append(((*path, key), each))
                continue
            inside = isinstance(each, h5py.Dataset) and not each.is_virtual and each.external is None
            if not inside or each.dtype.kind not in "biuf" or len(each.shape or ()) > _AXES:
                raise ValueError(f"{place}: not numbers in this file")
            if each.chunks is not None:
                raise ValueError(f"{place}: in pieces, which may be compressed; Keras writes none")
            yield (*path, key), each


if __name__ == "__main__":
    sys.exit(_main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
