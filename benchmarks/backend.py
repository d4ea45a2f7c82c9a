"""Whether there is an accelerator to measure and to test on: `python -m benchmarks.backend` exits with 2 if not.

DRY_RUN=1 in the environment runs `make test-gpu` and `make bench-gpu` on the CPU instead, shortened.
"""

import os
import sys


def dry_run() -> bool:
    """Return whether the suites for a GPU are to run shortened, on the CPU."""
    return os.environ.get("DRY_RUN", "") == "1"


def environment() -> dict[str, str]:
    """Return the environment of a process that computes on the default device, or on the CPU in a dry run."""
    return {**os.environ, **({"JAX_PLATFORMS": "cpu"} if dry_run() else {})}


def main() -> int:
    """Return 0 where the suites can run; else say in one line why not, and return 2."""
    if dry_run():
        print("a dry run: on the CPU, shortened; its numbers say nothing of a GPU", file=sys.stderr)
        return 0
    import jax

    backend = jax.default_backend()
    if backend != "cpu":
        return 0
    print(
        f"error: no GPU: JAX computes on {backend} here; with a GPU, install its part of JAX (EXTRAS=cuda), or set "
        "DRY_RUN=1 to run this shortened on the CPU",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
