"""On several CPU devices a program is right, whether XLA divides it or each device computes its own part."""

import os
import subprocess
import sys

import pytest

from flaxcnn.kernels import library
from tests.conftest import CHECKOUT

pytestmark = pytest.mark.skipif(
    not library.available(), reason=f"convolutions run on XLA here: {library.why_not() or 'native kernels'}"
)
PROGRAM = """
import re
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from flaxcnn.kernels.convolution import convolve
from flaxcnn.kernels.xla_convolution import Window
from flaxcnn.kernels.normalization import normalise_batch
from flaxcnn.layers import convolution, max_pool
from tests.kernels import definition

assert len(jax.devices()) == 8
window = Window((1, 1), ((1, 1), (1, 1)), (1, 1), 1, None, None)
random = np.random.default_rng(0)
images, kernel, bias, weights = (
    random.standard_normal(shape).astype(np.float32)
    for shape in ((16, 8, 8, 3), (3, 3, 3, 8), (8,), (16, 8, 8, 8))
)
outputs = definition.convolution(images, kernel, (1, 1), window.padding, (1, 1), 1) + bias
_, of_kernel = definition.gradients(images, kernel, weights, (1, 1), window.padding, (1, 1), 1)
pooled = outputs.reshape(16, 4, 2, 4, 2, 8).max((2, 4))

def loss(kernel, bias, images, weights):
    return jnp.sum(convolve(images, kernel, window, bias) * weights)

def forward(kernel, bias, images):
    return max_pool(convolve(images, kernel, window, bias))

def close(found, expected):
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=1e-5 * np.abs(expected).max())

def calls(function, *arrays):
    return set(re.findall("@(flaxcnn_[a-z_]+)", jax.jit(function).lower(*arrays).as_text()))

mesh = Mesh(np.array(jax.devices()), ("data",))
put = lambda array, *spec: jax.device_put(array, NamedSharding(mesh, P(*spec)))
gradient = jax.grad(loss, argnums=(0, 1))

# XLA divides the batch: it cannot divide a foreign call, so there is none.
divided = put(kernel), put(bias), put(images, "data"), put(weights, "data")
for found, expected in zip(jax.jit(gradient)(*divided), (of_kernel, weights.sum((0, 1, 2)))):
    close(found, expected)
found = jax.jit(forward)(*divided[:3])
close(found, pooled)
assert len(found.sharding.device_set) == 8 and not found.is_fully_replicated
assert calls(gradient, *divided) == calls(forward, *divided[:3]) == set()

# Each device computes its own part, and the gradient is summed over all.
specs = (P(), P(), P("data"), P("data"))
whole = jax.shard_map(lambda *parts: jax.lax.psum(loss(*parts), "data"), mesh=mesh, in_specs=specs, out_specs=P())
mapped = jax.grad(whole, argnums=(0, 1))
for found, expected in zip(jax.jit(mapped)(*divided), (of_kernel, weights.sum((0, 1, 2)))):
    close(found, expected)
assert "flaxcnn_kernel_gradient" in calls(mapped, *divided)
by_hand = jax.shard_map(
    lambda *parts: jax.lax.psum(gradient(*parts), "data"), mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False
)
for found, expected in zip(jax.jit(by_hand)(*divided), (of_kernel, weights.sum((0, 1, 2)))):
    close(found, expected)

# So are the gradients of a batch normalisation, of the statistics of each device's own part.
scale = np.abs(bias) + 1
def normalised(scale, bias, images, weights):
    return jnp.sum(normalise_batch(images, scale, bias, 1e-5)[0] * weights)
parts = weights.reshape(8, 2, 8, 8, 8)
apart = [jax.grad(normalised, (0, 1))(scale, bias, 3 * part, part) for part in parts]
whole = jax.shard_map(lambda *parts: jax.lax.psum(normalised(*parts), "data"), mesh=mesh, in_specs=specs, out_specs=P())
given = put(scale), put(bias), put(weights * 3, "data"), put(weights, "data")
for number, found in enumerate(jax.jit(jax.grad(whole, (0, 1)))(*given)):
    close(found, sum(each[number] for each in apart))

# Images whose type says how they are divided, over axes that are explicit, stay divided.
explicit = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
typed = jax.device_put(images, NamedSharding(explicit, P("data")))
plain = jax.jit(lambda images: convolution(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
with jax.set_mesh(explicit):
    found = plain(typed)
close(found, outputs - bias)
assert found.sharding.spec[0] == "data"

# A program of one device is native, although the process has more.
alone = [jax.device_put(array, jax.devices()[3]) for array in (kernel, bias, images, weights)]
for found, expected in zip(jax.jit(gradient)(*alone), (of_kernel, weights.sum((0, 1, 2)))):
    close(found, expected)
assert "flaxcnn_kernel_gradient" in calls(gradient, *alone)
print("right")
"""


@pytest.mark.devices
def test_programs_of_eight_devices_are_right():
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=CHECKOUT,
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "right\n", done.stderr
