"""A user's own model, named as `FILE.py:NAME`: made, checked and described as the library's are."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.adapters import MODULE_KINDS, Adapted, adapt, is_flax_module, module_name, takes_argument
from flaxcnn.contracts import Contract, check_contract, derive_contract
from flaxcnn.errors import ConfigError, FlaxcnnError
from flaxcnn.files.user_code import Outside, error_in, load_outside

WHERE = "model.name"
_COLLECTIONS = ("params", "batch_stats")
_BATCH = 8  # of the images with which a model is tried; nothing is computed


def load_own(name: str) -> Outside:
    """Import the file that a user named and return the model's class in it; raises ConfigError."""
    return load_outside(name, WHERE, fits=is_flax_module, expected=MODULE_KINDS)


def create_own(name: str, classes: int, dtype: DTypeLike = jnp.float32) -> Adapted:
    """Return a user's model, made with `classes=` and `dtype=` where it takes them.

    Raises:
        ConfigError: as `load_own`; or it takes no `dtype` and shall compute in another than float32.
    """
    code = load_own(name)
    if jnp.dtype(dtype) != jnp.float32 and not takes_argument(code.object, "dtype"):
        fix = f"add `dtype` to the arguments of {code.name}"
        raise ConfigError("this model takes none", where="model.dtype", found=jnp.dtype(dtype).name, fix=fix)
    return adapt(code.object, name, classes=classes, dtype=jnp.dtype(dtype).name)


def own_contract(name: str, classes: int, image_shape: tuple[int, int, int]) -> tuple[Contract, Path]:
    """Return the contract that a user's model keeps, and the file that declares it or, without one, the model's.

    The model is tried first: whether it can be trained, and whether it keeps the contract in `FILE.contract`, beside
    `FILE.py`, if there is one and it is of this model.

    Raises:
        ConfigError: the model cannot be trained.
        ContractError: the model drifted from its contract.
    """
    code, model = load_own(name), create_own(name, classes)
    require_trainable(model, f"{code.path}: {code.name}", image_shape, classes, code)
    place, file = code.path, code.path.with_suffix(".contract")
    if file.exists():
        declared = Contract.load(file)
        if declared.name == module_name(model):
            check_contract(model, declared)
            place = file
    return derive_contract(model, image_shape), place


def require_trainable(
    model: Adapted, where: str, image_shape: tuple[int, int, int], classes: int, code: Outside | None = None
) -> None:
    """Raise ConfigError where a model's variables or outputs are not what a training takes; nothing is computed.

    Args:
        model: the model.
        where: what to call it, for the error.
        image_shape: of one image, (H, W, C).
        classes: how many outputs it is to have.
        code: the file that it is from, whose line an error names; None for one that is in memory.
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
            "a model whose variables no training takes",
            where=where,
            expected="parameters, the collection params, and perhaps batch_stats",
            found=found,
        )
    for outputs, _ in (evaluated, trained):
        shape = getattr(outputs, "shape", None)
        if shape != (_BATCH, classes):
            raise ConfigError(
                "outputs of another shape",
                where=where,
                expected=f"one array (B, {classes})",
                found=type(outputs).__name__ if shape is None else f"({', '.join(['B', *map(str, shape[1:])])})",
                fix=""
                if code is None or takes_argument(code.object, "classes")
                else f"add `classes` to the arguments of {code.name}",
            )
    before, after = (jax.tree.map(jnp.shape, tree.get("batch_stats", {})) for tree in (variables, updated))
    if before != after:
        raise ConfigError(
            "statistics that come or go while it trains",
            where=where,
            expected="the batch_stats that the model begins with",
            found=after,
        )
