"""Per-layer shape contracts: declare, derive, check, print.

A contract is a text file beside a model, one line for each call of a layer. It is derived from the module without
arithmetic, compared before training, before a checkpoint's weights are accepted and in a user's own tests.
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
