"""What a run ran on: versions, device, data and source, as `environment.json` records them."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

import flaxcnn

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "chex", "numpy")


def device_line() -> str:
    """Return the device that JAX computes on, in words: "cpu (2 cores)", "gpu (NVIDIA H100 80GB HBM3)"."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{device.platform} ({device.device_kind})"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"cpu ({cores} cores)"


def versions() -> dict[str, str]:
    """Return the versions of this library and of the packages that its numbers depend on."""
    return {"flaxcnn": flaxcnn.__version__, **{name: importlib.metadata.version(name) for name in _PACKAGES}}


def environment(data_digests: Mapping[str, str]) -> dict[str, Any]:
    """Return the versions, the machine, the digests of the data and the git commit of the source, as JSON has it."""
    return {
        "python": platform.python_version(),
        "packages": versions(),
        "platform": platform.platform(),
        "device": device_line(),
        "devices": [f"{each.platform}:{each.id}" for each in jax.devices()],
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "data_sha256": dict(data_digests),
        "git_commit": _git_commit(Path(__file__).parents[2]),
    }


def _git_commit(checkout: Path) -> str | None:
    """Return the commit of the checkout that the library runs from; with "+changes" where files differ from it."""
    if not (checkout / ".git").exists():
        return None
    git = ("git", "-C", str(checkout))
    try:
        commit = subprocess.run((*git, "rev-parse", "HEAD"), capture_output=True, text=True, check=True, timeout=10)
        status = subprocess.run(
            (*git, "status", "--porcelain", "--untracked-files=no"),
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):  # no git, or one that refuses this folder: then it is not known
        return None
    return commit.stdout.strip() + ("+changes" if status.stdout.strip() else "")
