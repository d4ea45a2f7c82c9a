"""Any Flax module, Linen or NNX, behind the one interface that training, evaluation and contracts use.

    variables = model.init(key, images)
    outputs, endpoints = model.apply(variables, images, train=False)

The library's own modules have it already and are used as they are. A user's module is adapted: it may take no `train`,
return its outputs alone, or be an NNX class.
"""

from flaxcnn.adapters.adapted import Adapted, FlaxModule, mode_options, module_name, module_place, takes
from flaxcnn.adapters.choose import MODULE_KINDS, adapt, is_flax_module, takes_argument
from flaxcnn.adapters.intercept import intercepting
from flaxcnn.adapters.linen import LinenModel
from flaxcnn.adapters.nnx import NnxModel

__all__ = [
    "MODULE_KINDS",
    "Adapted",
    "FlaxModule",
    "LinenModel",
    "NnxModel",
    "adapt",
    "intercepting",
    "is_flax_module",
    "mode_options",
    "module_name",
    "module_place",
    "takes",
    "takes_argument",
]
