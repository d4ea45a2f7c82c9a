"""The main memory that a process can still use, limited by its machine and its container."""

import os
from pathlib import Path

_CGROUPS = {  # by controller: folder, file of the limit, file of what is in use, name of the cache among that
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),  # version 2
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def host_memory(root: Path = Path("/")) -> int:
    """Return the bytes of main memory that this process may still take: by Linux's estimate, or what its cgroup leaves.

    Source: proc(5), MemAvailable; the kernel's admin guides to cgroups, "Memory" of version 2 and of version 1. What a
    cgroup has in use counts without the files that were not read for a while, which it gives back.

    Args:
        root: where `proc` and `sys` lie.
    """
    try:
        available = 1024 * _numbers(root / "proc/meminfo")["MemAvailable:"]
    except (OSError, KeyError):  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([available, *_left_in_cgroups(root)])


def _left_in_cgroups(root: Path) -> list[int]:
    """Return what each cgroup leaves that holds this process and has a limit, those above its own included."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    left = []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        for controller in set(controllers.split(",")) & set(_CGROUPS):
            base, limit, usage, cache = _CGROUPS[controller]
            own = Path(path.lstrip("/"))
            for folder in (root / base / each for each in (own, *own.parents)):
                try:
                    most = (folder / limit).read_text(encoding="utf-8").strip()
                    used = int((folder / usage).read_text(encoding="utf-8"))
                    cached = _numbers(folder / "memory.stat").get(cache, 0)
                except (OSError, ValueError):  # the root has none; and a container may see its path, but not its folder
                    continue
                if most != "max":
                    left.append(max(0, int(most) - used + cached))
    return left


def _numbers(path: Path) -> dict[str, int]:
    """Return the first number of each line by the line's first word."""
    words = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {each[0]: int(each[1]) for each in words if len(each) > 1}
