"""The registry of models by name, with their contracts."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.adapters import FlaxModule, adapt
from flaxcnn.config import refuse_given
from flaxcnn.contracts import Contract, check_contract, derive_contract
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.files.user_code import FORM, is_outside
from flaxcnn.layers.pixels import CONSTANTS, split_constants
from flaxcnn.models.own import create_own, own_contract, require_trainable
from flaxcnn.models.paper_cnn import PaperCNN
from flaxcnn.models.small_cnn import SmallCNN
from flaxcnn.models.wide_resnet import VARIANTS, WideResNet

MODELS: dict[str, Callable[..., nn.Module]] = {
    "paper_cnn": PaperCNN,
    "paper_cnn_bn": partial(PaperCNN, norm=True),
    "small_cnn": SmallCNN,
    **{name: partial(WideResNet, depth=depth, width=width) for name, (depth, width) in VARIANTS.items()},
}


class CheckedModel(NamedTuple):
    """A model that passed the check against its contract.

    Attributes:
        module: the model.
        contract: its contract; for a user's model, derived for the given image shape.
        contract_digest: SHA-256 of the contract's file; for a user's model, of the contract's text.
        contract_place: the contract's file; for a user's model without one, the model's file.
    """

    module: FlaxModule
    contract: Contract
    contract_digest: str
    contract_place: Path


def create(name: str, classes: int, dtype: DTypeLike = jnp.float32) -> FlaxModule:
    """Create a model of the library, or a user's own.

    Its `init(key, images)` returns its variables. Its `apply(variables, images, train=...)` returns the logits and the
    endpoints, its named activations. With `train=True` it also takes `dropout=...`, a rate that may be a traced scalar.

    Args:
        name: a key of `MODELS`, or FILE.py:NAME of a Flax module, Linen or NNX, which is imported.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters and logits are float32.

    Raises:
        ConfigError: the model does not exist, or the number of classes is not positive.
    """
    require_model(name)
    if classes < 1:
        raise ConfigError("number of classes out of range", where=name, expected="at least 1", found=classes)
    if is_outside(name):
        return create_own(name, classes, dtype)
    return MODELS[name](classes=classes, dtype=dtype)


def create_checked(
    name: str, classes: int, dtype: DTypeLike = jnp.float32, *, image_shape: tuple[int, int, int]
) -> CheckedModel:
    """Create a model and check it against its contract.

    Args:
        name: as for `create`.
        classes: as for `create`.
        dtype: as for `create`.
        image_shape: shape of one image, (H, W, C), to test a user's model with.

    Raises:
        ConfigError: as `create`, or a user's model cannot be trained.
        ContractError: the model differs from its contract.
    """
    # Of the float32 model: a contract is about shapes, and what a cast to another dtype adds is no layer of the model.
    model = create(name, classes, dtype)
    if is_outside(name):
        contract, place = own_contract(name, classes, image_shape)
        digest = hashlib.sha256(str(contract).encode()).hexdigest()
        return CheckedModel(model, contract, digest, place)
    place = contract_path(name)
    contract = Contract.load(place)
    check_contract(create(name, classes), contract)
    return CheckedModel(model, contract, hashlib.sha256(place.read_bytes()).hexdigest(), place)


def check_given(
    given: Any, classes: int, dtype: DTypeLike = jnp.float32, *, image_shape: tuple[int, int, int]
) -> CheckedModel:
    """Check a user's model that was passed as an object, and derive its contract for the given image shape.

    Args:
        given: a Flax module, its class, or a function that creates it (`flaxcnn.adapt`).
        classes: its number of outputs.
        dtype: dtype of its layers' computations, if it takes one.
        image_shape: shape of one image, (H, W, C), to test it with.

    Raises:
        ConfigError: the model cannot be trained.
    """
    name = given_name(given)
    model = adapt(given, name, classes=classes, dtype=jnp.dtype(dtype).name)
    require_trainable(model, f"the model {name}", image_shape, classes)
    contract = derive_contract(model, image_shape)
    return CheckedModel(model, contract, hashlib.sha256(str(contract).encode()).hexdigest(), Path(name))


def given_name(given: Any) -> str:
    """Return the name of a user's model that was passed as an object: its class's or its function's name."""
    return str(getattr(given, "__name__", type(given).__name__))


def folded(model: FlaxModule) -> FlaxModule:
    """Return the smaller model with the same outputs in evaluation; the model itself if there is none."""
    return model.folded() if isinstance(model, PaperCNN) else model


def fold(model: FlaxModule, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trained model's variables for `folded(model)`; other collections stay unchanged."""
    learned, constants = split_constants(variables)
    if isinstance(model, PaperCNN):
        learned = model.fold(learned)
    return {**learned, CONSTANTS: constants} if constants else learned


def contract_path(name: str) -> Path:
    """Return the contract file of a library model.

    Raises:
        ConfigError: the model does not exist.
    """
    _require_known(name)
    return Path(__file__).parent / f"{name}.contract"


def require_model(name: str) -> None:
    """Raise ConfigError if a name is neither a library model nor FILE.py:NAME."""
    refuse_given(name, "model.name")
    if not is_outside(name):
        _require_known(name)


def _require_known(name: str) -> None:
    if name not in MODELS:
        fix = f"for your own model write {FORM}" if name.endswith(".py") else nearest(name, MODELS)
        raise ConfigError(f"unknown model '{name}'", where="model.name", fix=fix)
