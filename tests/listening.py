"""Where a process and those that it started listen, as Linux tells it: `ss -ltnp` without ss."""

import contextlib
import ipaddress
import os
from pathlib import Path

_LISTENS = "0A"  # the state TCP_LISTEN of include/net/tcp_states.h


def listening(pid: int) -> set[str]:
    """The addresses at which a process and its descendants take TCP connections, without their ports."""
    sockets = set()
    for process in _family(pid):
        with contextlib.suppress(OSError):
            for entry in os.scandir(f"/proc/{process}/fd"):
                with contextlib.suppress(OSError):
                    sockets.add(os.readlink(entry.path))
    return {str(address) for address, inode in _listeners() if f"socket:[{inode}]" in sockets}


def _family(pid: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def _listeners():
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == _LISTENS:
                words = bytes.fromhex(local.partition(":")[0])  # of 32 bits, each in the machine's order
                packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                address = ipaddress.ip_address(packed)
                yield getattr(address, "ipv4_mapped", None) or address, rest[5]
