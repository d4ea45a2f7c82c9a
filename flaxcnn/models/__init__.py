"""The registry of models by name, with their contracts."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.adapters import FlaxModule, adapt
from flaxcnn.config import refuse_given
from flaxcnn.contracts import Contract, check_contract, derive_contract
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.files.user_code import FORM, is_outside
from flaxcnn.layers.pixels import CONSTANTS, split_constants
from flaxcnn.models import (
    alexnet,
    convnext,
    densenet,
    efficientnet,
    googlenet,
    inception_resnet_v2,
    inception_v3,
    lenet,
    maxvit,
    mobilenet_v3,
    paper_cnn,
    resnet,
    shufflenet_v2,
    small_cnn,
    vgg,
    wide_resnet,
)
from flaxcnn.models.detector import detector_on
from flaxcnn.models.own import create_own, own_contract, require_trainable
from flaxcnn.models.paper_cnn import PaperCNN
from flaxcnn.models.variant import Variant

_FAMILIES = (
    paper_cnn,
    small_cnn,
    wide_resnet,
    lenet,
    alexnet,
    vgg,
    googlenet,
    inception_v3,
    inception_resnet_v2,
    resnet,
    convnext,
    maxvit,
    densenet,
    mobilenet_v3,
    shufflenet_v2,
    efficientnet,
)
MODELS: dict[str, Variant] = {name: variant for family in _FAMILIES for name, variant in family.VARIANTS.items()}
"""The models of the library by name."""


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


def create(name: str, classes: int, dtype: DTypeLike = jnp.float32, *, remat: bool = False) -> FlaxModule:
    """Create a model of the library, or a user's own.

    Its `init(key, images)` returns its variables. Its `apply(variables, images, train=...)` returns the logits and the
    endpoints, its named activations. With `train=True` it also takes `dropout=...`, a rate that may be a traced scalar.

    Args:
        name: a key of `MODELS`, or FILE.py:NAME of a Flax module, Linen or NNX, which is imported.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters and logits are float32.
        remat: whether the backward pass computes the model's blocks again instead of keeping what is inside.

    Raises:
        ConfigError: the model does not exist, or the number of classes is not positive; or it has no such blocks.
    """
    require_model(name)
    if classes < 1:
        raise ConfigError("number of classes out of range", where=name, expected="at least 1", found=classes)
    if is_outside(name):
        _refuse_remat(remat, _OWN)
        return create_own(name, classes, dtype)
    if not MODELS[name].remats:
        _refuse_remat(remat, "leave out --model.remat; a smaller --training.batch_size takes less memory, too")
        return MODELS[name].create(classes=classes, dtype=dtype)
    return MODELS[name].create(classes=classes, dtype=dtype, remat=remat)


_OWN = "wrap its blocks in flax.linen.remat or flax.nnx.remat yourself"


def _refuse_remat(remat: bool, fix: str) -> None:
    """Raise ConfigError if blocks of a model that has none are to be computed again."""
    if remat:
        raise ConfigError("this model has no blocks that are known here", where="model.remat", found=True, fix=fix)


def create_checked(
    name: str,
    classes: int,
    dtype: DTypeLike = jnp.float32,
    *,
    image_shape: tuple[int, int, int],
    remat: bool = False,
    detects: bool = False,
) -> CheckedModel:
    """Create a model and check it against its contract.

    Args:
        name: as for `create`.
        classes: as for `create`.
        dtype: as for `create`.
        image_shape: shape of one image, (H, W, C), to test a user's model with.
        remat: as for `create`.
        detects: whether it is to find objects. Of the library it is then a `Detector` on the trunk of the network,
            with its contract for images of this shape; a user's own is one already.

    Raises:
        ConfigError: as `create`, or a user's model cannot be trained; or no detector can be built on the network.
        ContractError: the model differs from its contract.
    """
    # Of the float32 model: a contract is about shapes, and what a cast to another dtype adds is no layer of the model.
    model = create(name, classes, dtype, remat=remat)
    if is_outside(name):
        contract, place = own_contract(name, classes, image_shape, detects=detects)
        digest = hashlib.sha256(str(contract).encode()).hexdigest()
        return CheckedModel(model, contract, digest, place)
    place = contract_path(name)
    contract = Contract.load(place)
    check_contract(create(name, classes), contract)
    if not detects:
        return CheckedModel(model, contract, hashlib.sha256(place.read_bytes()).hexdigest(), place)
    contract = derive_contract(detector_on(name, MODELS[name], classes, remat=False), image_shape)
    detector = detector_on(name, MODELS[name], classes, dtype, remat=remat)
    return CheckedModel(detector, contract, hashlib.sha256(str(contract).encode()).hexdigest(), place)


def check_given(
    given: Any,
    classes: int,
    dtype: DTypeLike = jnp.float32,
    *,
    image_shape: tuple[int, int, int],
    remat: bool = False,
    detects: bool = False,
) -> CheckedModel:
    """Check a user's model that was passed as an object, and derive its contract for the given image shape.

    Args:
        given: a Flax module, its class, or a function that creates it (`flaxcnn.adapt`).
        classes: its number of outputs.
        dtype: dtype of its layers' computations, if it takes one.
        image_shape: shape of one image, (H, W, C), to test it with.
        remat: must be False: its blocks are not known here.
        detects: whether it is a detector.

    Raises:
        ConfigError: the model cannot be trained.
    """
    _refuse_remat(remat, _OWN)
    name = given_name(given)
    model = adapt(given, name, classes=classes, dtype=jnp.dtype(dtype).name)
    require_trainable(model, f"the model {name}", image_shape, classes, detects=detects)
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
    require_library_model(name)
    return Path(__file__).parent / "contracts" / f"{name}.contract"


def require_model(name: str) -> None:
    """Raise ConfigError if a name is neither a library model nor FILE.py:NAME."""
    refuse_given(name, "model.name")
    if not is_outside(name):
        require_library_model(name)


def require_library_model(name: str) -> None:
    """Raise ConfigError if a name is no library model's."""
    if name not in MODELS:
        fix = f"for your own model write {FORM}" if name.endswith(".py") else nearest(name, MODELS)
        raise ConfigError(f"unknown model '{name}'", where="model.name", fix=fix)
