"""The library's models by name: the one registry, and where each one's contract stands."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.contracts import Contract, check_contract
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.layers.pixels import CONSTANTS, split_constants
from flaxcnn.models.paper_cnn import PaperCNN
from flaxcnn.models.small_cnn import SmallCNN
from flaxcnn.models.wide_resnet import VARIANTS, WideResNet

MODELS: dict[str, Callable[..., nn.Module]] = {
    "paper_cnn": PaperCNN,
    "paper_cnn_bn": partial(PaperCNN, norm=True),
    "small_cnn": SmallCNN,
    **{name: partial(WideResNet, depth=depth, width=width) for name, (depth, width) in VARIANTS.items()},
}


def create(name: str, classes: int, dtype: DTypeLike = jnp.float32) -> nn.Module:
    """Return a model of the library.

    Its `init(key, images)` gives its variables and its `apply(variables, images, train=...)` the logits and the
    endpoints, its named activations. With `train=True` it takes a rate as `dropout=...`, which may be a traced scalar.

    Args:
        name: a key of `MODELS`.
        classes: number of classes, the last axis of the logits.
        dtype: what its layers compute in; parameters and logits are float32.

    Raises:
        ConfigError: there is no such model, or the number of classes is not positive.
    """
    _known(name)
    if classes < 1:
        raise ConfigError("number of classes out of range", where=name, expected="at least 1", found=classes)
    return MODELS[name](classes=classes, dtype=dtype)


def create_checked(name: str, classes: int, dtype: DTypeLike = jnp.float32) -> nn.Module:
    """Return a model of the library after checking it against its contract; raises as `create` and `check_contract`."""
    # Of the float32 model: a contract is about shapes, and what a cast to another dtype adds is no layer of the model.
    check_contract(create(name, classes), Contract.load(contract_path(name)))
    return create(name, classes, dtype)


def folded(model: nn.Module) -> nn.Module:
    """Return the smaller model that computes the same in evaluation; the model itself where there is none."""
    return model.folded() if isinstance(model, PaperCNN) else model


def fold(model: nn.Module, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trained model's variables as `folded(model)` takes them, with what stands beside them as it is."""
    learned, constants = split_constants(variables)
    if isinstance(model, PaperCNN):
        learned = model.fold(learned)
    return {**learned, CONSTANTS: constants} if constants else learned


def contract_path(name: str) -> Path:
    """Return the file that declares the shapes of a model of the library.

    Raises:
        ConfigError: there is no such model.
    """
    _known(name)
    return Path(__file__).parent / f"{name}.contract"


def _known(name: str) -> None:
    if name not in MODELS:
        raise ConfigError(f"unknown model '{name}'", where="model.name", fix=nearest(name, MODELS))
