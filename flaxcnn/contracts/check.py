"""Check a module, or loaded variables, against a contract. The error names the layer and both shapes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn.adapters import FlaxModule, module_place
from flaxcnn.contracts.contract import Contract, LayerContract, VariableContract, diff, missing_file, read_contract
from flaxcnn.contracts.derive import PROBES, derive_contract, number_of_classes
from flaxcnn.contracts.record import Lengths, Line, flat, record
from flaxcnn.contracts.shapes import Shape, at, shape_text, shapes_text
from flaxcnn.errors import ContractError

# (batch size, number of classes): a module that has the declared lengths at both keeps its contract. A length is
# c + b*B + k*K + d*B*K, and two that agree at both pairs differ by 17 or more in some factor. Deriving a
# contract takes five pairs, and each is a trace of the whole module, at every start of a training.
CHECKED = ((88, 13), (136, 30))


def assert_contract(module: FlaxModule, contract: Contract | str | Path) -> None:
    """Assert in a test that a module keeps its contract.

    Args:
        module: as `derive_contract` takes it.
        contract: the contract, or the file that declares it.

    Raises:
        ContractError: an `AssertionError` that names the layer, what was declared and what was found; or the file is
            missing, and the message has the command that writes it.
    """
    if not isinstance(contract, Contract):
        try:
            text = read_contract(contract)
        except FileNotFoundError as error:
            raise missing_file(contract, module_place(module)) from error
        contract = Contract.parse(text, str(contract))
    check_contract(module, contract)


def check_contract(module: FlaxModule, contract: Contract) -> None:
    """Check a module against its contract, with several batch sizes and numbers of classes.

    Raises:
        ContractError: the first layer, in the order of execution, that is missing, not declared, out of order or of
            other shapes than declared.
    """
    if _keeps(module, contract):
        return
    derived = derive_contract(module, contract.input_shape, name=contract.name)
    drift = _order_drift(contract.layers, derived.layers)
    for declared, found in zip(contract.layers, derived.layers, strict=False):
        drift = drift or _layer_drift(declared, found)
    if drift is None:
        return
    fix = ""
    if contract.where:
        moved = sum(line.startswith("+") for line in diff(contract, derived))
        fix = f"if that is meant, run `flaxcnn contract {module_place(module)} --update {contract.where}`"
        fix = f"{moved} lines moved; {fix}" if moved > 1 else fix
    raise ContractError(
        drift.what, where=contract.place(drift.layer), expected=drift.declared, found=drift.found, fix=fix
    ) from drift.cause


def _keeps(module: FlaxModule, contract: Contract) -> bool:
    """Return whether a module has exactly the declared lines at each of `CHECKED`."""
    if number_of_classes(module) is None or contract.classes is None:
        return False  # `derive_contract` says what such a module's contract may depend on
    return all(
        record(module.clone(classes=classes), (batch, *contract.input_shape))
        == [_line_at(layer, batch, classes) for layer in contract.layers]
        for batch, classes in CHECKED
    )


def _line_at(layer: LayerContract, batch: int, classes: int) -> Line:
    """Return what a declared layer is at a batch size and a number of classes."""

    def lengths(shapes: Iterable[Shape]) -> tuple[Lengths, ...]:
        return tuple(at(shape, batch, classes) for shape in shapes)

    return Line(
        layer.path,
        None if layer.inputs is None else lengths(layer.inputs),
        lengths(layer.outputs),
        tuple((each.collection, each.name, at(each.shape, batch, classes)) for each in layer.variables),
    )


def check_variables(variables: Mapping[str, Any], contract: Contract, classes: int) -> None:
    """Check arrays, for instance those of a checkpoint, against the variables that a contract declares.

    Args:
        variables: the module's collections, {"params": ..., "batch_stats": ...}, of arrays or of their shapes.
        contract: of the module that they are for.
        classes: the module's number of classes.

    Raises:
        ContractError: a variable is missing, not declared or of another shape.
    """
    check_shapes({path: np.shape(leaf) for path, leaf in flat(nn.unbox(variables))}, contract, classes)


def check_shapes(arrays: Mapping[tuple[str, ...], tuple[int, ...]], contract: Contract, classes: int) -> None:
    """Check the shapes of arrays by their names, for instance ("params", "head", "kernel"), as `check_variables`."""
    declared = {
        (variable.collection, *_names(layer), *variable.name.split("/")): (layer, variable)
        for layer in contract.layers
        for variable in layer.variables
    }
    for path, (layer, variable) in declared.items():
        expected = at(variable.shape, 0, classes)
        where = contract.place(layer.path)
        if path not in arrays:
            raise ContractError(f"{variable.label} missing", where=where, expected=expected, found="nothing")
        try:
            _assert_shape(arrays[path], expected)
        except AssertionError as error:
            what = f"{variable.label} has another shape"
            raise ContractError(what, where=where, expected=expected, found=arrays[path]) from error
    layers = {_names(layer) for layer in contract.layers}
    for path, shape in arrays.items():
        if path not in declared:
            length = max((size for size in range(len(path)) if path[1 : size + 1] in layers), default=0)
            owner, name = "/".join(path[1 : length + 1]), "/".join(path[length + 1 :])
            raise ContractError(
                f"{VariableContract(name, (), path[0]).label} not declared",
                where=contract.place(owner or "."),
                expected="nothing",
                found=shape,
            )


@dataclass(frozen=True)
class _Drift:
    """The first thing that is not as declared."""

    what: str
    layer: str
    declared: str
    found: str
    cause: AssertionError | None = None


def _order_drift(declared: Sequence[LayerContract], found: Sequence[LayerContract]) -> _Drift | None:
    """Return the first layer that is missing, not declared or out of order."""
    declared_lines = {_key(layer): layer for layer in declared}
    found_lines = {_key(layer): layer for layer in found}
    for key, layer in declared_lines.items():
        if key not in found_lines:
            return _Drift("layer missing" if key[1] else "endpoint missing", layer.path, _line(layer), "nothing")
    for key, layer in found_lines.items():
        if key not in declared_lines:
            return _Drift(
                "layer not declared" if key[1] else "endpoint not declared", layer.path, "nothing", _line(layer)
            )
    for before, after in zip(declared, found, strict=True):
        if _key(before) != _key(after):
            return _Drift("layers in another order", before.path, f"{before.path} here", after.path)
    return None


def _layer_drift(declared: LayerContract, found: LayerContract) -> _Drift | None:
    """Return the first part of a layer, of its inputs, outputs and variables, whose shapes are not as declared."""
    parts = [("input", declared.inputs or (), found.inputs or ()), ("output", declared.outputs, found.outputs)]
    for what, shapes, other_shapes in parts:
        cause = _compare(shapes, other_shapes)
        if cause is not None:
            return _Drift(f"{what} changed", found.path, shapes_text(shapes), shapes_text(other_shapes), cause)
    variables = {variable.label: variable for variable in declared.variables}
    others = {variable.label: variable for variable in found.variables}
    for label in [*variables, *(each for each in others if each not in variables)]:
        if label not in others:
            return _Drift(f"{label} missing", found.path, shape_text(variables[label].shape), "nothing")
        if label not in variables:
            return _Drift(f"{label} not declared", found.path, "nothing", shape_text(others[label].shape))
        shape, other = variables[label].shape, others[label].shape
        cause = _compare([shape], [other])
        if cause is not None:
            return _Drift(f"{label} changed", found.path, shape_text(shape), shape_text(other), cause)
    return None


def _compare(declared: Sequence[Shape], found: Sequence[Shape]) -> AssertionError | None:
    """Return what chex says of these shapes at all probes; None where they agree."""
    try:
        chex.assert_equal(len(found), len(declared))
        for batch, classes in PROBES:
            for shape, expected in zip(found, declared, strict=True):
                _assert_shape(at(shape, batch, classes), at(expected, batch, classes))
    except AssertionError as error:
        return error
    return None


def _assert_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    chex.assert_shape(jax.ShapeDtypeStruct(shape, jnp.float32), expected)


def _key(layer: LayerContract) -> tuple[str, bool]:
    return layer.path, layer.inputs is not None


def _line(layer: LayerContract) -> str:
    return "  ".join(filter(None, layer.columns[1:]))


def _names(layer: LayerContract) -> tuple[str, ...]:
    """Return the path of a layer's variables in their collection: without the number of its call and its method."""
    return () if layer.path == "." else tuple(layer.path.partition("#")[0].partition(":")[0].split("/"))
