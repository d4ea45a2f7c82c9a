"""The environment of a run: versions, device, data and source, as recorded in `environment.json`."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

import flaxcnn
from flaxcnn.jax_settings import recorded_settings
from flaxcnn.kernels import library

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "chex", "numpy")


def device_line(devices: int) -> str:
    """Return the device that JAX computes on, in words: "cpu (2 cores, oneDNN 3.2.0)", "gpu (NVIDIA H100 80GB HBM3)".

    Args:
        devices: the number of devices that a program is divided among; of several, a CPU's convolutions run on XLA.
    """
    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{device.platform} ({device.device_kind})"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"cpu ({cores} {'core' if cores == 1 else 'cores'}, {kernels(devices).partition(',')[0]})"


def kernels(devices: int) -> str:
    """Return which kernels a program's convolutions use: "XLA", or oneDNN with its version and instruction set."""
    on_cpu_alone = jax.default_backend() == "cpu" and devices == 1
    return library.describe() if on_cpu_alone else library.XLA


def why_xla(devices: int) -> str:
    """Return why a program's convolutions run on XLA where oneDNN is to be expected; empty otherwise."""
    return library.why_missing() if jax.default_backend() == "cpu" and devices == 1 else ""


def versions() -> dict[str, str]:
    """Return the versions of this library and of the packages that its numbers depend on."""
    return {"flaxcnn": flaxcnn.__version__, **{name: importlib.metadata.version(name) for name in _PACKAGES}}


def hardware(devices: int) -> dict[str, str]:
    """Return what the bits of a run depend on besides versions: device, processor, kernels, settings of XLA and JAX."""
    return {
        "device": jax.devices()[0].device_kind,
        "processor": _processor(),
        "kernels": kernels(devices),
        **recorded_settings(),
    }


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return what versions and hardware have another value than a run recorded: the name, the value then and now."""
    before = {"kernels": library.XLA, **before}  # before runs recorded their kernels, all ran on XLA
    return [
        (name, before[name] or "unset", value or "unset")
        for name, value in now.items()
        if before.get(name, value) != value
    ]


def environment(data_digests: Mapping[str, str], devices: int) -> dict[str, Any]:
    """Return the versions, the machine, the digests of the data and the git commit of the source, as JSON has it."""
    return {
        "python": platform.python_version(),
        "packages": versions(),
        "platform": platform.platform(),
        "device": device_line(devices),
        "devices": [f"{each.platform}:{each.id}" for each in jax.devices()],
        "hardware": hardware(devices),
        "data_sha256": dict(data_digests),
        "git_commit": _git_commit(Path(__file__).parents[3]),
    }


def _processor() -> str:
    """Return the processor's name as Linux knows it, or as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _git_commit(checkout: Path) -> str | None:
    """Return the commit of the checkout that the library runs from; with "+changes" where files differ from it."""
    if not (checkout / ".git").exists():
        return None
    try:
        commit = _git(checkout, "rev-parse", "HEAD")
        status = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):  # no git, or one that refuses this folder: then it is not known
        return None
    return commit + ("+changes" if status else "")


def _git(checkout: Path, *words: str) -> str:
    """Return what git says of a checkout, whatever repository the environment names, as a hook's does (`GIT_DIR`)."""
    kept = ("GIT_CONFIG_", "GIT_EXEC_PATH")  # the user's settings, among them that the folder is safe
    environment = {name: value for name, value in os.environ.items() if name.startswith(kept) or name[:4] != "GIT_"}
    said = subprocess.run(
        ("git", "-C", str(checkout), *words),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
        timeout=10,
        env=environment,
    )
    return said.stdout.strip()
