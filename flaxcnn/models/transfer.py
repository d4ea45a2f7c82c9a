"""Transfer learning: keep a trained trunk and replace the head, for other classes or another input size."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from flaxcnn.adapters import FlaxModule, module_name
from flaxcnn.errors import ContractError, nearest
from flaxcnn.keys import compiler_options

_Name = tuple[str, ...]  # collection, layer, ..., variable


def replace_head(
    model: FlaxModule,
    variables: Mapping[str, Any],
    input_shape: Sequence[int],
    key: jax.Array,
    *,
    head: str = "head",
) -> dict[str, Any]:
    """Return variables for a model with a new head and trained other layers.

    Args:
        model: the new model; it differs from the trained one in the number of classes or the image size.
        variables: the trained model's variables, {"params": ..., "batch_stats": ...}.
        input_shape: shape of one new image, (H, W, C).
        key: random key of the head's initial parameters.
        head: path of the layer to replace, such as `classifier/out`.

    Returns:
        Variables of the new model; the arrays outside the head are the trained arrays, not copies.

    Raises:
        ContractError: the model has no such head, or a variable outside it is missing, unknown or of another shape.

    >>> from flaxcnn.models.paper_cnn import PaperCNN
    >>> digits = PaperCNN(classes=10).init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    >>> new = replace_head(PaperCNN(classes=3), digits, (32, 32, 1), jax.random.key(1))
    >>> new["params"]["head"]["kernel"].shape
    (2048, 3)
    >>> new["params"]["conv1"]["kernel"] is digits["params"]["conv1"]["kernel"]
    True
    """
    path = tuple(head.split("/"))
    images = jnp.zeros((1, *input_shape))
    declared = _flat(jax.eval_shape(model.init, key, images))
    trained = _flat(variables)

    def in_head(name: _Name) -> bool:
        return name[1 : len(path) + 1] == path

    if not any(map(in_head, declared)):
        layers = {"/".join(name[1:-1]) for name in declared}
        raise ContractError(f"no layer '{head}'", where=module_name(model), fix=nearest(head, layers))
    for name in (*declared, *trained):
        if not in_head(name) and _shape(declared, name) != _shape(trained, name):
            raise _trunk_differs(name, _shape(declared, name), _shape(trained, name))

    def new_head(key: jax.Array, images: jax.Array) -> dict[_Name, jax.Array]:
        return {name: array for name, array in _flat(model.init(key, images)).items() if in_head(name)}

    drawn = jax.jit(new_head, compiler_options=compiler_options())
    trunk = {name: array for name, array in trained.items() if not in_head(name)}
    return unflatten_dict({**trunk, **drawn(key, images)})


def _flat(variables: Mapping[str, Any]) -> dict[_Name, Any]:
    """Return the variables by path, parameters first."""
    flat = flatten_dict(dict(variables))
    return dict(sorted(flat.items(), key=lambda item: item[0][0] != "params"))


def _shape(variables: Mapping[_Name, Any], name: _Name) -> object:
    return variables[name].shape if name in variables else "nothing"


def _trunk_differs(name: _Name, expected: object, found: object) -> ContractError:
    collection, *layer, variable = name
    label = variable if collection == "params" else f"{collection}:{variable}"
    return ContractError(
        f"{label} of the trunk differs",
        where="/".join(layer) or ".",
        expected=f"{expected} in the new model",
        found=f"{found} in the trained variables",
        fix="only the head may differ; name it with head= if it is another layer",
    )
