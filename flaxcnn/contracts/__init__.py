"""Per-layer shape contracts: declare, derive, check, print.

A contract is a text file beside a model with one line per call of a layer. It is derived from the module without
computing anything. It is checked before training, before the weights of a checkpoint are used, and in a user's tests.
"""

from flaxcnn.contracts.check import assert_contract, check_contract, check_shapes, check_variables
from flaxcnn.contracts.contract import Contract, LayerContract, VariableContract, diff
from flaxcnn.contracts.derive import derive_contract
from flaxcnn.contracts.shapes import Dimension, Shape

__all__ = [
    "Contract",
    "Dimension",
    "LayerContract",
    "Shape",
    "VariableContract",
    "assert_contract",
    "check_contract",
    "check_shapes",
    "check_variables",
    "derive_contract",
    "diff",
]
