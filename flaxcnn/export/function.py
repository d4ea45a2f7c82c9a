"""A trained model as one pure function: from pixels to the task's predictions."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from flaxcnn.layers.pixels import normalised, split_constants, to_float
from flaxcnn.prediction.trained import Trained


def function_of(trained: Trained) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """Return a function of uint8 images (B, H, W, C) that returns the task's predictions, arrays (B, ...) by name.

    Weights and the constants of normalisation and of the task are part of it.
    """
    learned, constants = split_constants(trained.variables)

    def predictions(images_BHWC: jax.Array) -> dict[str, jax.Array]:
        outputs, _ = trained.model.apply(learned, normalised(constants, to_float(images_BHWC)), train=False)
        return trained.task.decode(constants, outputs.astype(jnp.float32))

    return predictions
