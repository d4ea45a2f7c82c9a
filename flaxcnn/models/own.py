"""A user's own model, `FILE.py:NAME`: created, checked and described like the library's models."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.adapters import MODULE_KINDS, Adapted, adapt, is_flax_module, module_name, takes_argument
from flaxcnn.contracts import Contract, check_contract, derive_contract
from flaxcnn.errors import ConfigError, FlaxcnnError
from flaxcnn.files.user_code import Outside, error_in, load_outside
from flaxcnn.layers.detection_head import CLASSES

WHERE = "model.name"
_COLLECTIONS = ("params", "batch_stats")
_BATCH = 8  # batch size of the abstract images that test a model; nothing is computed


def load_own(name: str) -> Outside:
    """Import the user's file and return the model's class; raises ConfigError."""
    return load_outside(name, WHERE, fits=is_flax_module, expected=MODULE_KINDS)


def create_own(name: str, classes: int, dtype: DTypeLike = jnp.float32) -> Adapted:
    """Create a user's model with `classes=` and `dtype=`, if it takes them.

    Raises:
        ConfigError: as `load_own`, or `dtype` is not float32 and the model takes none.
    """
    code = load_own(name)
    if jnp.dtype(dtype) != jnp.float32 and not takes_argument(code.object, "dtype"):
        fix = f"add `dtype` to the arguments of {code.name}"
        raise ConfigError("this model takes none", where="model.dtype", found=jnp.dtype(dtype).name, fix=fix)
    return adapt(code.object, name, classes=classes, dtype=jnp.dtype(dtype).name)


def own_contract(
    name: str, classes: int, image_shape: tuple[int, int, int], *, detects: bool = False
) -> tuple[Contract, Path]:
    """Return a user's model's contract, and the contract's file or, without one, the model's file.

    This first checks that the model can be trained and that it matches the contract in `FILE.contract` beside
    `FILE.py`, if that exists and is for this model.

    Raises:
        ConfigError: the model cannot be trained.
        ContractError: the model differs from its contract.
    """
    code, model = load_own(name), create_own(name, classes)
    require_trainable(model, f"{code.path}: {code.name}", image_shape, classes, code, detects=detects)
    place, file = code.path, code.path.with_suffix(".contract")
    if file.exists():
        declared = Contract.load(file)
        if declared.name == module_name(model):
            check_contract(model, declared)
            place = file
    return derive_contract(model, image_shape), place


def require_trainable(
    model: Adapted,
    where: str,
    image_shape: tuple[int, int, int],
    classes: int,
    code: Outside | None = None,
    *,
    detects: bool = False,
) -> None:
    """Raise ConfigError if a model's variables or outputs cannot be trained; computes nothing.

    Args:
        model: the model.
        where: the model's name in errors.
        image_shape: shape of one image, (H, W, C).
        classes: the required number of outputs.
        detects: whether it is a detector, whose outputs are those of `flaxcnn.layers.DetectionHead`.
        code: the model's file, whose line an error names; None for a model passed as an object.
    """
    images = jax.ShapeDtypeStruct((_BATCH, *image_shape), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))

    def train(variables: Any, images: jax.Array, key: jax.Array) -> Any:
        return model.apply(variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key})

    try:
        variables = jax.eval_shape(model.init, key, images)
        evaluated = jax.eval_shape(model.apply, variables, images)
        trained, updated = jax.eval_shape(train, variables, images, key)
    except FlaxcnnError:
        raise
    except Exception as error:  # whatever the user's own Python raises
        if code is None:
            raise ConfigError(f"{type(error).__name__}: {error}", where=where, fix="correct the model") from error
        raise error_in(error, code.path, frozenset(), "the model") from error
    unknown = sorted(set(variables) - set(_COLLECTIONS))
    if unknown or "params" not in variables:
        found = ", ".join(sorted(variables)) or "nothing"
        raise ConfigError(
            "a model with variables that cannot be trained",
            where=where,
            expected="parameters, the collection params, and optionally batch_stats",
            found=found,
        )
    for outputs, _ in (evaluated, trained):
        shape = getattr(outputs, "shape", None)
        fits = shape == (_BATCH, classes)
        if detects:
            fits = shape is not None and len(shape) == 3 and (shape[0], shape[2]) == (_BATCH, CLASSES + classes)
        if not fits:
            raise ConfigError(
                "outputs of another shape",
                where=where,
                expected=f"one array (B, places, {CLASSES + classes})" if detects else f"one array (B, {classes})",
                found=type(outputs).__name__ if shape is None else f"({', '.join(['B', *map(str, shape[1:])])})",
                fix=""
                if code is None or takes_argument(code.object, "classes")
                else f"add `classes` to the arguments of {code.name}",
            )
    before, after = (jax.tree.map(jnp.shape, tree.get("batch_stats", {})) for tree in (variables, updated))
    if before != after:
        raise ConfigError(
            "batch statistics are added or removed in training",
            where=where,
            expected="the model's initial batch_stats",
            found=after,
        )
