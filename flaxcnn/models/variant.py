"""A row of the zoo: one size of an architecture, as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import flax.linen as nn
import numpy as np

from flaxcnn.models.weights.published import Published


@dataclass(frozen=True)
class Layout:
    """How weights from elsewhere name and arrange what a model has; `flaxcnn.models.weights` converts by it.

    Attributes:
        names: returns for each of our layers with variables, by path, what it is called there. A `ConvNorm` is two of
            their layers, in one text: "conv1 bn1". An array that is no usual layer's has its own entry, by the path of
            the variable: "stage1_block1/layer_scale": "features.1.0.layer_scale".
        style: how arrays are arranged and called: as in PyTorch (`conv1.weight`, output channels first) or as in files
            of weights of Keras 3 (`layers/conv2d_1/vars/0`, arranged as ours), whose names count a model's layers of
            each class.
        flattened: (height, width) of activations that are flattened before a dense layer, by our path of that layer:
            PyTorch flattens channels first, we last.
        epsilon: how much more than theirs ours adds to the variance in batch normalisation. Running variances are as
            much smaller here, so that evaluation gives their numbers.
        channels_first: endings of the names of arrays that multiply activations (B, C, H, W) there, so that they have
            the shape (C, 1, 1).
        unused: beginnings of the names of tensors that the model has no use for, such as auxiliary heads.
        beside: returns tensors that are no weights, and that they save beside them all the same, by name.
        fields: of our module, by name, with which it is what these weights were published for.
        new: our layers that they have not, by path, with all that is in them; these keep their initial values.
    """

    names: Callable[[], Mapping[str, str]]
    style: Literal["torch", "keras"] = "torch"
    flattened: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    epsilon: float = 0.0
    channels_first: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    beside: Callable[[], Mapping[str, np.ndarray]] = dict
    fields: Mapping[str, Any] = field(default_factory=dict)
    new: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variant:
    """One size of an architecture.

    Attributes:
        create: makes the module; takes `classes` and `dtype`, and `remat` where `remats`.
        source: the paper, and where the numbers of the row are from.
        size: (H, W, C) of the images that the contract describes: those that the published weights were trained with.
        smallest: the least height and width of images.
        strides: for each stage's endpoint, how many pixels of the image lie between two of its columns.
        parameters: learned parameters with `classes` classes.
        classes: number of classes of the published network.
        layouts: of weights from elsewhere, by the library that names them so.
        weights: pretrained weights that a package carries, by the name of the data: `--model.init imagenet`.
        remats: whether its blocks can be computed again in the backward pass, which saves memory.
    """

    create: Callable[..., nn.Module]
    source: str
    parameters: int
    classes: int = 1000
    size: tuple[int, int, int] = (224, 224, 3)
    smallest: int = 32
    strides: Mapping[str, int] = field(default_factory=dict)
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    weights: Mapping[str, Published] = field(default_factory=dict)
    remats: bool = False
