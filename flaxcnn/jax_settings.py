"""JAX settings: those that the commands fix regardless of the user's environment, and those that a run records.

A run's results depend on its config, the versions and the hardware, not on the shell's environment. The commands apply
these settings once, before they compile anything; importing the library changes nothing.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flaxcnn.errors import ConfigError

# What draws other random numbers, computes in other types, or refuses healthy programs: JAX's own default of each.
_PINNED = {
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_enable_custom_prng": False,
    "jax_enable_x64": False,
    "jax_default_dtype_bits": "64",
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_disable_jit": False,
    "jax_debug_nans": False,
    "jax_debug_infs": False,
    "jax_debug_key_reuse": False,
    "jax_transfer_guard": "allow",
    "jax_transfer_guard_host_to_device": "allow",
    "jax_transfer_guard_device_to_device": "allow",
    "jax_transfer_guard_device_to_host": "allow",
}

# What a user may choose, and what may round otherwise.
_RECORDED = (
    "jax_default_matmul_precision",
    "jax_disable_most_optimizations",
    "jax_optimization_level",
    "jax_exec_time_optimization_effort",
    "jax_memory_fitting_level",
    "jax_memory_fitting_effort",
    "jax_compiler_enable_remat_pass",
    "jax_use_shardy_partitioner",
    "jax_use_direct_linearize",
    "jax_allow_f16_reductions",
    "jax_softmax_custom_jvp",
    "jax_accurate_erf_inv",
    "jax_use_hlo_logistic_lowering",
    "jax_cpu_collectives_implementation",
    "jax_enable_pgle",
)
_OF_DEVICES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "JAX_NUM_CPU_DEVICES", "JAX_CUDA_VISIBLE_DEVICES")
_RECORDED_VARIABLES = ("LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")


def import_jax() -> None:
    """Import JAX; raises ConfigError where it cannot read a setting of the environment."""
    try:
        import jax  # noqa: F401
    except ValueError as error:
        raise ConfigError(
            "JAX cannot read a setting", where="environment", found=str(error), fix="correct the variable, or unset it"
        ) from error


def pin_settings() -> list[str]:
    """Set what the commands' numbers depend on, and return the names of what the user had set otherwise."""
    import jax

    changed = []
    for name, value in _PINNED.items():
        before = getattr(jax.config, name, None)  # None: not a setting of this version, or one that is not set
        if before is None or _plain(before) == value:
            continue
        jax.config.update(name, value)
        changed.append(name)
    return changed


@contextmanager
def pinned() -> Iterator[list[str]]:
    """Pin the settings while entered, and give them back their values after: for a program that has others."""
    import jax

    before = {name: getattr(jax.config, name) for name in _PINNED if getattr(jax.config, name, None) is not None}
    changed = pin_settings()
    try:
        yield changed
    finally:
        for name in changed:
            jax.config.update(name, _plain(before[name]))


def recorded_settings() -> dict[str, str]:
    """Return what else numbers may depend on, by its name; what this version of JAX does not know is left out."""
    import jax

    known = {name: getattr(jax.config, name) for name in _RECORDED if hasattr(jax.config, name)}
    variables = {name: os.environ.get(name, "") for name in _RECORDED_VARIABLES}
    return {"XLA_FLAGS": _xla_flags(), **variables, **{name: str(_plain(value)) for name, value in known.items()}}


def require_xla_flags() -> None:
    """Raise ConfigError where XLA cannot read one of the flags: it would end the process, whatever it does.

    Another process reads them first, in a tenth of a second, and only where there are any.
    """
    if not os.environ.get("XLA_FLAGS"):
        return
    words = [sys.executable, "-c", "from jaxlib.xla_client import CompileOptions; CompileOptions()"]
    read = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if read.returncode and "Traceback" not in read.stderr:  # not an error of Python's, such as a missing package
        said = next((line.rpartition("] ")[2] for line in read.stderr.splitlines() if "] " in line), "").rstrip(".")
        found = said or os.environ["XLA_FLAGS"]
        fix = "remove the flag that this version of XLA does not know, or correct its value"
        raise ConfigError("XLA cannot read its flags", where="XLA_FLAGS", found=found, fix=fix)


def require_devices() -> None:
    """Raise ConfigError where JAX finds nothing to compute on, or a platform is named that it does not know."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where a platform that it knows has no device
        chosen = [f"{name}={os.environ[name]}" for name in _OF_DEVICES if os.environ.get(name)]
        raise ConfigError(
            "JAX finds no device to compute on",
            where=" ".join(chosen) or "jax.devices()",
            found=str(error).partition(" (")[0].rstrip(".") or "none of this kind",
            fix="set JAX_PLATFORMS to what this installation is for, as cpu, cuda or tpu, or unset these variables",
        ) from error


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)  # of an enumeration


def _xla_flags() -> str:
    """Return XLA's flags; those in a file where the variable names one."""
    flags = os.environ.get("XLA_FLAGS", "")
    if not flags or flags.startswith("-"):
        return flags
    try:
        with Path(flags).open(encoding="utf-8", errors="replace") as file:
            return file.read(10_000).strip()
    except OSError:
        return flags
