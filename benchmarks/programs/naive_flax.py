"""The program that Flax's own MNIST example teaches: plain layers, and one batch a step handed over from the host.

Source: https://github.com/google/flax, examples/mnist/train.py; with the paper's model, loss and optimizer.
"""

import sys
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState

from benchmarks.worker import Epoch, serve


def drawn(fan_in: int) -> dict[str, nn.initializers.Initializer]:
    """Return the initializers of a layer: uniform in ±1/√fan_in, as every program here draws its parameters."""

    def uniform(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -(fan_in**-0.5), fan_in**-0.5)

    return {"kernel_init": uniform, "bias_init": uniform}


class CNN(nn.Module):
    """The paper's CNN in Flax's plain layers."""

    @nn.compact
    def __call__(self, x):
        """Return the logits of images (B, 28, 28, 1)."""
        for filters in (16, 32):
            x = nn.Conv(filters, (5, 5), **drawn(5 * 5 * x.shape[-1]))(x)
            x = nn.relu(x)
            x = nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape((x.shape[0], -1))
        return nn.Dense(10, **drawn(x.shape[-1]))(x)


@jax.jit
def train_step(state, images, labels):
    def loss_fn(params):
        logits = state.apply_fn({"params": params}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss, gradients = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=gradients), loss


def main() -> None:
    epoch = Epoch.load(sys.argv[1])
    images, labels = epoch.images.astype(np.float32) / 255, epoch.labels
    model, optimizer, batches = CNN(), optax.adam(1e-3), epoch.batches

    def fresh():
        params = model.init(jax.random.key(0), jnp.zeros((1, *images.shape[1:])))["params"]
        return TrainState.create(apply_fn=model.apply, params=params, tx=optimizer)

    def measure(batches: list[np.ndarray] = batches) -> dict[str, float]:
        state, losses = jax.block_until_ready(fresh()), []
        started = time.perf_counter()
        for batch in batches:
            state, loss = train_step(state, images[batch], labels[batch])
            losses.append(loss)
        jax.block_until_ready(state)
        return {"seconds": time.perf_counter() - started, "last_loss": float(np.mean(losses[-100:]))}

    measure(batches[:20])
    serve({"library": f"plain Flax on jax {jax.__version__}"}, measure)


if __name__ == "__main__":
    main()
