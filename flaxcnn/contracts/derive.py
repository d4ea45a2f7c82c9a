"""Derive a contract from a module, for any image size, without computing anything or allocating memory.

The module is traced with several batch sizes and, if it has a field `classes`, several numbers of classes. How the
lengths of its axes change with these gives their B and K.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from flaxcnn.adapters import FlaxModule, module_name
from flaxcnn.contracts.contract import Contract, LayerContract, VariableContract, require_input_shape
from flaxcnn.contracts.record import Lengths, Line, record
from flaxcnn.contracts.shapes import Shape, fit
from flaxcnn.errors import ContractError

# (batch size, number of classes): two by two give the multiples of B, K and B*K, the last one verifies them. Batches of
# eights, for modules that split a batch.
PROBES = ((8, 3), (16, 3), (8, 5), (16, 5), (24, 9))


def derive_contract(module: FlaxModule, input_shape: Sequence[int], *, name: str | None = None) -> Contract:
    """Return the contract that a module keeps.

    Args:
        module: takes a batch of float32 images and returns its logits, or its logits and a dictionary of endpoints. It
            is called as in evaluation, `train=False` if its `__call__` has that argument. If it has a field `classes`,
            that is the number of classes. An NNX class is given as `flaxcnn.adapt(MyNet)`.
        input_shape: of one image, (H, W, C), without the batch.
        name: of the contract; the module's class by default.

    Returns:
        A contract with every layer, variable and endpoint.

    Raises:
        ContractError: the image is larger than any, the module needs other arguments, or its layers or the lengths of
            its axes follow neither the batch size nor the number of classes. What the module itself raises goes
            through.

    >>> import flax.linen as nn
    >>> print(derive_contract(nn.Dense(4), (8,)))
    model     Dense  36 parameters
    input     (B, 8)
    .         (B, 8)    -> (B, 4)     kernel (8, 4)  bias (4)
    output              -> (B, 4)
    """
    name = name or module_name(module)
    require_input_shape(input_shape, name)
    classes = number_of_classes(module)
    has_classes = classes is not None
    probes = PROBES if has_classes else tuple((batch, 0) for batch in sorted({batch for batch, _ in PROBES}))
    recordings = {}
    for batch, count in probes:
        counted: FlaxModule = module.clone(classes=count) if has_classes else module
        recordings[batch, count] = record(counted, (batch, *input_shape))
    structures = [[_structure(line) for line in lines] for lines in recordings.values()]
    if any(each != structures[0] for each in structures):
        raise ContractError(
            "layers depend on the batch size or on the number of classes",
            where=name,
            expected="the same layers and numbers of axes for all of them",
            found=f"differences between (batch size, classes) {', '.join(map(str, recordings))}",
        )
    layers = tuple(_fit_line(name, probes, group) for group in zip(*recordings.values(), strict=True))
    return Contract(name, tuple(input_shape), layers, classes)


def number_of_classes(module: FlaxModule) -> int | None:
    """Return a module's field `classes`; None if it has none that is a number."""
    classes = getattr(module, "classes", None)
    return classes if isinstance(classes, int) and not isinstance(classes, bool) else None


def _structure(line: Line) -> Any:
    def ranks(shapes: Iterable[Lengths] | None) -> list[int] | None:
        return None if shapes is None else [len(shape) for shape in shapes]

    variables = [(collection, name, len(shape)) for collection, name, shape in line.variables]
    return line.path, ranks(line.inputs), ranks(line.outputs), variables


def _fit_line(module: str, probes: Sequence[tuple[int, int]], lines: Sequence[Line]) -> LayerContract:
    """Return the line that has these lines at the probes."""

    def shapes(alternatives: Iterable[Sequence[Lengths]]) -> tuple[Shape, ...]:
        return tuple(
            tuple(fit(dict(zip(probes, lengths, strict=True))) for lengths in zip(*shape, strict=True))
            for shape in zip(*alternatives, strict=True)
        )

    first = lines[0]
    try:
        return LayerContract(
            first.path,
            None if first.inputs is None else shapes(line.inputs or () for line in lines),
            shapes(line.outputs for line in lines),
            tuple(
                VariableContract(name, shape, collection)
                for (collection, name, _), shape in zip(
                    first.variables, shapes([each[2] for each in line.variables] for line in lines), strict=True
                )
            ),
        )
    except ValueError as error:
        raise ContractError(
            "an axis that no contract can describe",
            where=f"{module}: {first.path}",
            expected="lengths that grow by whole steps with the batch size and the number of classes",
            found=f"{error} at (batch size, classes) {', '.join(map(str, probes))}",
        ) from error
