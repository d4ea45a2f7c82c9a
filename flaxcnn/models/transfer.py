"""The same trunk with another number of classes or another input size: only the head is new."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from flaxcnn.errors import ContractError, nearest


def replace_head(
    model: nn.Module,
    variables: Mapping[str, Any],
    input_shape: Sequence[int],
    key: jax.Array,
    *,
    head: str = "head",
) -> dict[str, Any]:
    """Return variables for a model whose head is new and whose other layers are those of trained variables.

    Args:
        model: the new one; differs from the trained one in its number of classes, or is used with other images.
        variables: of the trained model, {"params": ..., "batch_stats": ...}.
        input_shape: of one of the new images, (H, W, C).
        key: random key of the head's initial parameters.
        head: path of the layer to replace, `classifier/out`.

    Returns:
        Variables of the new model; every array outside the head is the trained one itself.

    Raises:
        ContractError: the model has no such head, or a variable outside of it is missing, unknown or of another shape.

    >>> from flaxcnn.models.paper_cnn import PaperCNN
    >>> digits = PaperCNN(classes=10).init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    >>> new = replace_head(PaperCNN(classes=3), digits, (32, 32, 1), jax.random.key(1))
    >>> new["params"]["head"]["kernel"].shape
    (2048, 3)
    >>> new["params"]["conv1"]["kernel"] is digits["params"]["conv1"]["kernel"]
    True
    """
    fresh = flatten_dict(dict(jax.jit(model.init)(key, jnp.zeros((1, *input_shape)))))
    trained = flatten_dict(dict(variables))
    path = tuple(head.split("/"))

    def in_head(name: tuple[str, ...]) -> bool:
        return name[1 : len(path) + 1] == path

    if not any(map(in_head, fresh)):
        layers = {"/".join(name[1:-1]) for name in fresh}
        raise ContractError(f"no layer '{head}'", where=type(model).__name__, fix=nearest(head, layers))
    merged = {}
    for name, array in fresh.items():
        if not in_head(name):
            if name not in trained:
                raise _trunk_differs(name, array.shape, "nothing")
            if trained[name].shape != array.shape:
                raise _trunk_differs(name, array.shape, trained[name].shape)
        merged[name] = array if in_head(name) else trained[name]
    for name, array in trained.items():
        if not in_head(name) and name not in fresh:
            raise _trunk_differs(name, "nothing", array.shape)
    return unflatten_dict(merged)


def _trunk_differs(name: tuple[str, ...], expected: object, found: object) -> ContractError:
    collection, *layer, variable = name
    label = variable if collection == "params" else f"{collection}:{variable}"
    return ContractError(
        f"{label} of the trunk differs",
        where="/".join(layer) or ".",
        expected=f"{expected} in the new model",
        found=f"{found} in the trained variables",
        fix="only the head may differ; name it with head= if it is another layer",
    )
