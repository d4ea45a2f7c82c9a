"""A persistent cache of compiled programs in the user's cache folder, by JAX's own cache.

The commands enable it before they compile anything; importing the library changes nothing. A cached program reproduces
a fresh compilation's results bit for bit. If the cache fails, the program is compiled without a message.
"""

import hashlib
import os
import platform
import stat
import sys
import warnings
import zlib
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import jax

_MOST_BYTES = 512 << 20  # of all that is kept; a program of this library has 2 kB to some MB
_MIN_SECONDS = "jax_persistent_cache_min_compile_time_secs"
_JAXS_MIN_SECONDS = 1.0  # JAX's default: most of this library's programs take less, and all of them together more
_CHECKED = "checked"  # a file that is touched before the entries are checked: older ones are known to be whole
_ZSTANDARD = b"\x28\xb5\x2f\xfd"  # the first bytes of what it compressed; anything else is zlib's
_OF_PROCESSOR = (  # the lines of /proc/cpuinfo that decide about machine code: x86, then ARM
    *("vendor_id", "cpu family", "model", "model name", "flags"),
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features"),
)


def use_compilation_cache() -> Path | None:
    """Keep what this process compiles for later ones, and take from earlier ones; call it before anything is compiled.

    A user's own choice stands: a folder (`JAX_COMPILATION_CACHE_DIR`, even an empty one), no cache
    (`JAX_ENABLE_COMPILATION_CACHE=false`), or another shortest compilation that is worth keeping.

    Returns:
        The folder, of this user, these versions and this kind of processor; None where the user chose otherwise, or
        where there is no folder that the user alone may write to.
    """
    if jax.config.jax_compilation_cache_dir is not None or not jax.config.jax_enable_compilation_cache:
        return None
    root = _root()
    if root is None:
        return None
    folder = root / folder_name(processor())
    try:
        root.parents[1].mkdir(parents=True, exist_ok=True)
        for place in (root.parent, root, folder):
            place.mkdir(mode=0o700, exist_ok=True)
        if not all(map(_is_private, (root.parent.resolve(), root, folder))):
            return None  # who writes to one of these makes this process run their code
        drop_torn_entries(folder)
        prune(root, _MOST_BYTES)
    except OSError:
        return None
    # What cannot be read or written is compiled; JAX would say so once for each program, with its key.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")
    if getattr(jax.config, _MIN_SECONDS) == _JAXS_MIN_SECONDS and _MIN_SECONDS.upper() not in os.environ:
        jax.config.update(_MIN_SECONDS, 0.0)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder


def folder_name(kind: str) -> str:
    """Return the name of the folder for these versions and a kind of processor.

    JAX's key tells versions and flags of XLA apart but not how an entry was compressed, which follows Python's version;
    and XLA loads machine code for another processor, which may end in an illegal instruction (jax#38445).

    Args:
        kind: of processor, as `processor` tells it.
    """
    digest = hashlib.sha256(kind.encode()).hexdigest()[:12]
    python = f"python-{sys.version_info.major}.{sys.version_info.minor}"
    return f"jax-{version('jax')}-jaxlib-{version('jaxlib')}-{python}-{digest}"


def processor() -> str:
    """Return what the machine code that XLA makes depends on; where Linux does not say, this machine's own name."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return "\n".join((platform.machine(), platform.processor(), platform.node()))
    lines = (line.partition(":") for line in first.splitlines())
    known = {name.strip(): " ".join(sorted(value.split())) for name, _, value in lines}
    return "\n".join((platform.machine(), *(known.get(name, "") for name in _OF_PROCESSOR)))


def drop_torn_entries(folder: Path) -> None:
    """Delete the entries that a process did not write to their end, since JAX would never replace them.

    Only those are read that changed since the last time.

    Raises:
        OSError: the folder cannot be written to.
    """
    stamp = folder / _CHECKED
    last = stamp.stat().st_mtime_ns if stamp.exists() else 0
    stamp.touch()
    for entry in folder.glob("*-cache"):
        try:
            if entry.stat().st_mtime_ns >= last and not _is_whole(entry.read_bytes()):
                entry.unlink()
        except FileNotFoundError:  # another process was faster
            continue


def prune(root: Path, most_bytes: int) -> None:
    """Delete the files below a folder that were not used for longest, until all have at most so many bytes.

    Raises:
        OSError: one of them cannot be deleted.
    """
    files = []
    for path in root.rglob("*"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode) and path.name != _CHECKED:
            files.append((max(status.st_atime_ns, status.st_mtime_ns), status.st_size, path))
    total = 0
    for _, size, path in sorted(files, reverse=True):
        total += size
        if total > most_bytes:
            path.unlink(missing_ok=True)


def _root() -> Path | None:
    """Return the folder of all that is kept, as the XDG Base Directory Specification has it; None without a home."""
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not chosen.is_absolute():
        try:
            chosen = Path.home() / ".cache"
        except RuntimeError:
            return None
    return chosen / "flaxcnn" / "programs" if chosen.is_absolute() else None


def _is_private(folder: Path) -> bool:
    status = folder.lstat()  # a link could lead to a folder of this user's that holds the files of another
    return not hasattr(os, "getuid") or (
        stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
    )


def _is_whole(entry: bytes) -> bool:
    """Return whether the bytes of an entry can be decompressed; True where that cannot be told."""
    try:
        if entry.startswith(_ZSTANDARD):
            return _unzstandard(entry)
        zlib.decompress(entry)
    except Exception:  # of zlib, zstandard and compression.zstd, each its own
        return False
    return True


def _unzstandard(entry: bytes) -> bool:
    for name in ("compression.zstd", "zstandard"):
        try:
            module = import_module(name)
        except ImportError:
            continue
        module.decompress(entry)
        return True
    return True  # then JAX cannot read it either, nor takes it for its own
