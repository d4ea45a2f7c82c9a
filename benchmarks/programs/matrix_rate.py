"""The machine's limit: how fast XLA multiplies two large float32 matrices, with all cores."""

import time

import jax
import jax.numpy as jnp

from benchmarks.jobs import AnyJob, Convolution, Job
from benchmarks.worker import Data, Measure, answer

SIDE = 2048


def prepare(data: Data, job: AnyJob) -> Measure:
    """Return what measures the rate, whatever the job."""
    matrix = jax.random.uniform(jax.random.key(0), (SIDE, SIDE))
    multiply = jax.jit(jnp.matmul)

    def measure() -> dict[str, float]:
        seconds = []
        for _ in range(10):
            started = time.perf_counter()
            multiply(matrix, matrix).block_until_ready()
            seconds.append(time.perf_counter() - started)
        return {"seconds": min(seconds), "flops_per_second": 2 * SIDE**3 / min(seconds)}

    multiply(matrix, matrix).block_until_ready()
    return measure


if __name__ == "__main__":
    answer(f"matrix multiplication on jax {jax.__version__}", {Job: prepare, Convolution: prepare}, run=None)
