"""Single convolutions and networks called in JAX, for this library and for plain Flax: the same but for what is given.

A convolution is given as a function like `jax.lax.conv_general_dilated`, a network as a Flax module. A call is one
compiled program, and ends when its result is there.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.jobs import Convolution, Network
from benchmarks.worker import Data, Measure, timed_calls

LAYOUT = ("NHWC", "HWIO", "NHWC")


def prepare_convolution(convolve: Callable[..., jax.Array], data: Data, job: Convolution) -> Measure:
    """Compile and return what calls a convolution, alone or with both gradients."""
    images, kernel, gradient = map(jnp.asarray, job.arrays())

    def forward(images: jax.Array, kernel: jax.Array) -> jax.Array:
        padding = [(job.padding, job.padding)] * 2
        strides = (job.stride, job.stride)
        return convolve(images, kernel, strides, padding, dimension_numbers=LAYOUT, feature_group_count=job.groups)

    def with_gradients(images: jax.Array, kernel: jax.Array, gradient: jax.Array) -> tuple[jax.Array, ...]:
        output, transposed = jax.vjp(forward, images, kernel)
        return output, *transposed(gradient)  # the output too, without which XLA would compute the gradients alone

    if job.gradients:
        call = partial(jax.jit(with_gradients), images, kernel, gradient)
    else:
        call = partial(jax.jit(lambda *arrays: (forward(*arrays),)), images, kernel)
    same = [float(np.abs(array).mean()) for array in call()]
    return timed_calls(lambda: jax.block_until_ready(call()), job.calls, same)


def prepare_network(model: Any, data: Data, job: Network) -> Measure:
    """Compile and return what computes a network's output, as in evaluation, or in training with all gradients."""
    images = jnp.asarray(job.images())
    variables = drawn(model, job) if job.zoo else _initialised(model, images)
    params, statistics = variables["params"], variables["batch_stats"]

    def forward(params: Any, images: jax.Array) -> jax.Array:
        return model.apply({"params": params, "batch_stats": statistics}, images, train=False)[0]

    def in_training(params: Any, images: jax.Array) -> tuple[jax.Array, Any]:
        variables = {"params": params, "batch_stats": statistics}
        (output, _), updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return output, updated

    def with_gradients(params: Any, images: jax.Array, gradient: jax.Array) -> tuple[Any, ...]:
        output, transposed, updated = jax.vjp(in_training, params, images, has_aux=True)
        return output, updated, *transposed(gradient)

    output = jax.block_until_ready(jax.jit(forward)(params, images))
    if job.task == "gradients":
        gradient = jnp.ones_like(output)
        call = partial(jax.jit(with_gradients), params, images, gradient)
    else:
        call = partial(jax.jit(forward), params, images)
    return timed_calls(lambda: jax.block_until_ready(call()), job.calls, [count(params), *output.shape])


def _initialised(model: Any, images: jax.Array) -> Any:
    return jax.jit(partial(model.init, train=False))(jax.random.key(0), images[:1])


def drawn(model: Any, job: Network) -> Any:
    """Return the variables of a network for a job, drawn by NumPy with He's deviation, the same for every program.

    To compile the initialisers of a whole network takes longer than all else that is done with it here.
    """
    images = jax.ShapeDtypeStruct((1, job.size, job.size, job.channels), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    random = np.random.default_rng(0)

    def leaf(path: Any, shape: Any) -> jax.Array:
        name = path[-1].key
        if name == "kernel":
            deviation = (2 / np.prod(shape.shape[:-1])) ** 0.5
            return jnp.asarray(random.standard_normal(shape.shape, np.float32) * np.float32(deviation))
        return jnp.full(shape.shape, float(name in ("scale", "var")), jnp.float32)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def count(params: Any) -> int:
    """Return the number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
