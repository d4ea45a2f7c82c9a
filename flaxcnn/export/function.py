"""A trained model as one pure function: from pixels to the task's predictions."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import jax
import jax.numpy as jnp

from flaxcnn.errors import ConfigError, FlaxcnnError
from flaxcnn.files.user_code import is_outside
from flaxcnn.layers.pixels import normalised, split_constants, to_float
from flaxcnn.prediction.trained import Trained
from flaxcnn.tasks.detection.decoding import OVERLAP
from flaxcnn.tasks.detection.task import Detection

T = TypeVar("T")


def function_of(trained: Trained) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """Return a function of uint8 images (B, H, W, C) that returns the task's predictions, arrays (B, ...) by name.

    Weights and the constants of normalisation and of the task are part of it.
    """
    learned, constants = split_constants(trained.variables)

    def predictions(images_BHWC: jax.Array) -> dict[str, jax.Array]:
        outputs, _ = trained.model.apply(learned, normalised(constants, to_float(images_BHWC)), train=False)
        return trained.task.decode(constants, outputs.astype(jnp.float32))

    return predictions


def at_all_places(trained: Trained) -> Trained:
    """Return a detector that says what each of its places finds, of which nothing is taken away.

    Raises:
        ConfigError: it is no detector of the library.
    """
    if not isinstance(trained.task, Detection):
        raise ConfigError("not for this task", where="--nms outside", expected="detection", found=trained.task.name)
    return trained._replace(task=replace(trained.task, suppression="none", overlap=OVERLAP))


def of_any_batch(trained: Trained, trace: Callable[[], T], suffix: str) -> T:
    """Return what a trace of a model's function returns whose number of images is a symbol.

    Args:
        trained: the model.
        trace: traces `function_of` it.
        suffix: of the file, for errors.

    Raises:
        ConfigError: a model or a task of the user's own asks for the number.
    """
    chosen = trained.experiment
    own = [name for name in (chosen.model.name, chosen.task.name) if is_outside(name)]
    try:
        return trace()
    except FlaxcnnError:
        raise
    except Exception as error:  # whatever the user's own Python raises
        if not own:
            raise
        raise ConfigError(
            f"cannot be traced for any number of images, {', '.join(own)}",
            where=suffix,
            found=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}",
            fix="take sizes from the arrays, such as x.reshape(x.shape[0], -1), and compare no size with a number",
        ) from error
