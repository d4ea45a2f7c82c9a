"""The gradient of a convolution in control flow on CPU: the smallest program that shows it, for docs/performance.md.

    python benchmarks/convolution_report.py

It needs JAX and nothing else of this library but the last line of its table.
"""

import statistics
import sys
import time

import jax
import jax.numpy as jnp
from jax import lax

STEPS, ROUNDS = 5, 7
LAYOUT = ("NHWC", "HWIO", "NHWC")


def plain(images, kernel):
    """Convolve as every framework's layer does."""
    return lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)


def update(convolve, images, kernel):
    """Make a step of gradient descent on a kernel."""
    return kernel - 1e-6 * jax.grad(lambda kernel: jnp.sum(convolve(images, kernel) ** 2))(kernel)


def programs(convolve):
    """Return the same steps called one by one, and in a scan."""
    step = jax.jit(lambda images, kernel: update(convolve, images, kernel))

    def called(images, kernel):
        for _ in range(STEPS):
            kernel = step(images, kernel)
        return kernel

    @jax.jit
    def scanned(images, kernel):
        return lax.scan(lambda kernel, _: (update(convolve, images, kernel), None), kernel, length=STEPS)[0]

    return {"called one by one": called, "in lax.scan": scanned}


def main() -> None:
    """Print the milliseconds of a step, medians of interleaved rounds."""
    images = jax.random.normal(jax.random.key(0), (50, 14, 14, 16))
    kernel = jax.random.normal(jax.random.key(1), (5, 5, 16, 32))
    timed = {f"plain, {how}": program for how, program in programs(plain).items()}
    try:
        from flaxcnn import convolution
    except ModuleNotFoundError:
        print("flaxcnn is not installed: only the plain convolution is timed", file=sys.stderr)
    else:
        ours = programs(lambda images, kernel: convolution(images, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT))
        timed |= {f"flaxcnn.convolution, {how}": program for how, program in ours.items()}
    seconds = {name: [] for name in timed}
    for round_ in range(ROUNDS + 1):
        for name, program in timed.items():
            started = time.perf_counter()
            program(images, kernel).block_until_ready()
            if round_:  # the first one compiles
                seconds[name].append(time.perf_counter() - started)
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}")
    for name, found in seconds.items():
        print(f"{name:40} {statistics.median(found) / STEPS * 1e3:8.2f} ms a step")


if __name__ == "__main__":
    main()
