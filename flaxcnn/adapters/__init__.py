"""Adapters that give any Flax module, Linen or NNX, the interface of training, evaluation and contracts.

    variables = model.init(key, images)
    outputs, endpoints = model.apply(variables, images, train=False)

The library's own modules have this interface and need no adapter. A user's module is adapted: it may lack the argument
`train`, return only its outputs, or be an NNX class.
"""

from flaxcnn.adapters.adapted import Adapted, FlaxModule, mode_options, module_name, module_place, takes
from flaxcnn.adapters.choose import MODULE_KINDS, adapt, is_flax_module, takes_argument
from flaxcnn.adapters.evaluating import evaluating
from flaxcnn.adapters.intercept import intercepting
from flaxcnn.adapters.linen import LinenModel
from flaxcnn.adapters.norm_momentum import keeping

__all__ = [
    "MODULE_KINDS",
    "Adapted",
    "FlaxModule",
    "LinenModel",
    "adapt",
    "evaluating",
    "intercepting",
    "is_flax_module",
    "keeping",
    "mode_options",
    "module_name",
    "module_place",
    "takes",
    "takes_argument",
]
