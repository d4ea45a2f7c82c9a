"""The model that an experiment names, checked, and the pretrained weights and the pixels that go with it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn import config
from flaxcnn.adapters import FlaxModule, keeping, module_name, takes
from flaxcnn.config import WEIGHTS, Experiment
from flaxcnn.data import Split, channel_moments
from flaxcnn.errors import ConfigError
from flaxcnn.layers.pixels import IMAGENET
from flaxcnn.models import MODELS, CheckedModel, check_given, create_checked
from flaxcnn.models.weights.published import Published
from flaxcnn.runs.given import NOTHING_GIVEN, Given


def checked_model(
    experiment: Experiment,
    outputs: int,
    image_shape: tuple[int, int, int],
    given: Given = NOTHING_GIVEN,
    *,
    detects: bool = False,
) -> CheckedModel:
    """Return the model after checking it against its contract; raises as `set_up`.

    With `detects` it is a detector on a model of the library; a user's own is one already.
    """
    chosen = experiment.model
    if chosen.dtype == "bfloat16" and jax.default_backend() == "cpu" and chosen.name.startswith("wide"):
        # On jax 0.12, XLA:CPU evaluates them to NaN, others from call to call, inside any loop; not the other models.
        raise ConfigError(
            "a wide residual network cannot be trained in bfloat16 on a CPU",
            where="model.dtype",
            expected="float32",
            found="bfloat16",
        )
    options: dict[str, Any] = {"image_shape": image_shape, "remat": chosen.remat, "detects": detects}
    if given.model is None:
        checked = create_checked(chosen.name, outputs, chosen.dtype, **options)
    else:
        checked = check_given(given.model, outputs, chosen.dtype, **options)
    if chosen.dropout is not None and not takes(checked.module, "dropout"):
        fix = f"add `dropout=None` to the arguments of {module_name(checked.module)}.__call__"
        raise ConfigError("this model takes none", where="model.dropout", found=chosen.dropout, fix=fix)
    kept = experiment.training.norm_momentum
    if kept is not None and not _normalising_layers(checked.module, image_shape):
        what = "this model has no batch normalisation whose momentum can be set"
        fix = "leave out --training.norm_momentum"
        raise ConfigError(what, where="training.norm_momentum", expected="None", found=kept, fix=fix)
    return checked


def _normalising_layers(model: FlaxModule, image_shape: tuple[int, int, int]) -> list[str]:
    """Return the layers whose momentum `keeping` sets, by path, without computing anything."""

    def train(images: jax.Array) -> Any:
        key = jax.random.key(0)
        return model.apply(model.init(key, images), images, train=True, mutable=["batch_stats"], rngs={"dropout": key})

    with keeping(0.0) as reached:
        jax.eval_shape(train, jax.ShapeDtypeStruct((2, *image_shape), jnp.float32))
    return reached


def published_weights(chosen: config.Model) -> Published | None:
    """Return the pretrained weights that a model is to begin with; None where it begins otherwise.

    Raises:
        ConfigError: no package carries such weights for the model.
    """
    if chosen.init not in WEIGHTS:
        return None
    known = {name for name, variant in MODELS.items() if chosen.init in variant.weights}
    if chosen.name not in known:
        fix = "name a file of weights, or train from drawn ones"
        expected = f"a model with weights: {', '.join(sorted(known))}"
        raise ConfigError(
            f"no {chosen.init} weights", where="model.init", expected=expected, found=chosen.name, fix=fix
        )
    return MODELS[chosen.name].weights[chosen.init]


def pixel_constants(chosen: config.Model, train: Split) -> dict[str, np.ndarray]:
    """Return the mean and standard deviation of each channel, for pixels in [0, 1], float32 (C,); {} for "unit".

    Raises:
        ConfigError: "imagenet", or weights of colour images, for images without three channels.
    """
    channels, published = train.images.shape[-1], published_weights(chosen)
    if not pixel_constants_of(chosen, channels):
        return {}
    if chosen.normalization == "dataset":
        mean, deviation = channel_moments(train.images)
    else:
        mean, deviation = map(
            np.asarray, IMAGENET if published is None else (published.pixel_mean, published.pixel_deviation)
        )
        if channels != len(mean):
            where = "model.normalization imagenet" if published is None else "model.init imagenet"
            expected, found = "images of 3 channels", f"{channels}"
            fix = "decode to colours with --data.channels rgb"
            raise ConfigError("of colours", where=where, expected=expected, found=found, fix=fix)
    return {"pixel_mean": np.asarray(mean, np.float32), "pixel_deviation": np.asarray(deviation, np.float32)}


def pixel_constants_of(chosen: config.Model, channels: int) -> dict[str, np.ndarray]:
    """Return the constants by which a model's pixels are normalised, for their shapes, all zeros; {} for none."""
    if chosen.normalization == "unit" and published_weights(chosen) is None:
        return {}
    return {name: np.zeros(channels, np.float32) for name in ("pixel_mean", "pixel_deviation")}
