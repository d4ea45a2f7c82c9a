"""Inception v3: C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016.

Table 1 and Figures 5 to 7 of the paper, as in torchvision and without the auxiliary head: five convolutions and two
pools, three stages of Inception modules, in which 5×5 becomes 3×3 twice and 7×7 becomes 1×7 and 7×1, and global average
pooling. Each convolution is followed by batch normalisation with an epsilon of 0.001.

Convolutions and pools that make the activations smaller are not padded, nor is the second and fifth convolution; the
others are padded by (size - 1) / 2 on all sides. Average pools count the zeros around the activations. Kernels begin
normal with a deviation of 0.1.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.layers.conv_norm import ConvNorm
from flaxcnn.layers.head import head
from flaxcnn.layers.inception import REDUCING, REDUCING_POOL, Branch, Inception, Unit, inception_stem, names_of
from flaxcnn.layers.initializers import fan_in_uniform_bias
from flaxcnn.layers.pixels import require_images, restandardised
from flaxcnn.layers.pooling import avg_pool
from flaxcnn.models.variant import Layout, Variant

_average = partial(avg_pool, window=(3, 3), strides=(1, 1), padding=1)


def _module_35(pooled: int) -> tuple[Branch, ...]:
    """Return the branches at stride 8 (Figure 5), 35×35 of images of 299 pixels."""
    return (
        (Unit(64),),
        (Unit(48), Unit(64, (5, 5))),
        (Unit(64), Unit(96, (3, 3)), Unit(96, (3, 3))),
        (_average, Unit(pooled)),
    )


def _module_17(width: int) -> tuple[Branch, ...]:
    """Return the branches at stride 16 (Figure 6), 17×17."""
    across, down = (1, 7), (7, 1)
    return (
        (Unit(192),),
        (Unit(width), Unit(width, across), Unit(192, down)),
        (Unit(width), Unit(width, down), Unit(width, across), Unit(width, down), Unit(192, across)),
        (_average, Unit(192)),
    )


_PAIR = (Unit(384, (1, 3)), Unit(384, (3, 1)))
_MODULE_8: tuple[Branch, ...] = (  # at stride 32 (Figure 7), 8×8
    (Unit(320),),
    (Unit(384), _PAIR),
    (Unit(448), Unit(384, (3, 3)), _PAIR),
    (_average, Unit(192)),
)
_TO_17: tuple[Branch, ...] = ((REDUCING(384),), (Unit(64), Unit(96, (3, 3)), REDUCING(96)), (REDUCING_POOL,))
_TO_8: tuple[Branch, ...] = (
    (Unit(192), REDUCING(320)),
    (Unit(192), Unit(192, (1, 7)), Unit(192, (7, 1)), REDUCING(192)),
    (REDUCING_POOL,),
)
_STAGES: dict[int, tuple[tuple[Branch, ...], ...]] = {
    2: (_module_35(32), _module_35(64), _module_35(64)),
    3: (_TO_17, _module_17(128), _module_17(160), _module_17(160), _module_17(192)),
    4: (_TO_8, _MODULE_8, _MODULE_8),
}


class InceptionV3(nn.Module):
    """Inception v3 for images of any size from 75 pixels.

    Attributes:
        transform_input: whether images that are standardised by ImageNet's mean and deviation are made (pixel - 0.5) /
            0.5 first, which torchvision's published weights need.
        dropout: rate of the features; torchvision's is 0.5, the paper names none.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters, statistics and logits are float32.
        remat: whether the backward pass computes the modules again instead of keeping what is inside.
    """

    transform_input: bool = False
    dropout: float = 0.5
    classes: int = 1000
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, images_BHWC: jax.Array, *, train: bool = False, dropout: jax.Array | float | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the logits and the endpoints of a batch.

        Args:
            images_BHWC: float images, (B, H, W, C).
            train: whether to apply dropout, which needs the random stream "dropout", and to normalise by the batch's
                statistics, which needs the collection "batch_stats" mutable.
            dropout: rate that replaces the model's; None for the model's.

        Returns:
            Logits (B, classes), and the named activations stem, stage1 to stage4, features and logits.

        Raises:
            DataError: the array is not a batch of images, or they are smaller than 75 pixels.
        """
        require_images(images_BHWC, where="inception_v3", smallest=75)
        normal = nn.initializers.normal(0.1)
        conv = partial(ConvNorm, train=train, epsilon=1e-3, dtype=self.dtype, kernel_init=normal)
        block = nn.remat(Inception) if self.remat else Inception
        x = restandardised(images_BHWC) if self.transform_input else images_BHWC
        x, endpoints = inception_stem(x, conv)
        for stage, blocks in _STAGES.items():
            for number, branches in enumerate(blocks, 1):
                x = block(branches, conv, name=f"stage{stage}_block{number}")(x)
            endpoints[f"stage{stage}"] = x
        x = endpoints["features"] = jnp.mean(x, axis=(1, 2))
        rate = self.dropout if dropout is None else dropout
        init: dict[str, Any] = {"kernel_init": normal, "bias_init": fan_in_uniform_bias(x.shape[-1])}
        logits = endpoints["logits"] = head(x, self.classes, rate, train=train, dtype=self.dtype, **init)
        return logits, endpoints


_BRANCHES = {  # torchvision's, at each stage
    2: ("branch1x1", "branch5x5", "branch3x3dbl", "branch_pool"),
    3: ("branch1x1", "branch7x7", "branch7x7dbl", "branch_pool"),
    4: ("branch1x1", "branch3x3", "branch3x3dbl", "branch_pool"),
}
_BRANCHES_OF_FIRST = {3: ("branch3x3", "branch3x3dbl", ""), 4: ("branch3x3", "branch7x7x3", "")}


def _torchvision() -> dict[str, str]:
    """Return torchvision's names, which are timm's too."""
    theirs = {
        "stem_conv1": "Conv2d_1a_3x3",
        "stem_conv2": "Conv2d_2a_3x3",
        "stem_conv3": "Conv2d_2b_3x3",
        "stage1_conv1": "Conv2d_3b_1x1",
        "stage1_conv2": "Conv2d_4a_3x3",
    }
    for stage, blocks in _STAGES.items():
        for number, branches in enumerate(blocks, 1):
            prefixes = _BRANCHES_OF_FIRST.get(stage, _BRANCHES[stage]) if number == 1 else _BRANCHES[stage]
            module = f"Mixed_{stage + 3}{'abcde'[number - 1 if stage > 2 else number]}"  # Mixed_5a would be the pool
            for prefix, branch, names in zip(prefixes, branches, names_of(branches), strict=True):
                for name, suffix in zip(names, _suffixes(branch), strict=True):
                    theirs[f"stage{stage}_block{number}/{name}"] = f"{module}.{prefix}{suffix}"
    return {**{ours: f"{each}.conv {each}.bn" for ours, each in theirs.items()}, "head": "fc"}


def _suffixes(branch: Branch) -> list[str]:
    """Return how torchvision numbers the convolutions of a branch; those side by side have letters."""
    steps = [step for step in branch if not callable(step)]
    if len(steps) == 1:
        return [""]
    found = []
    for number, step in enumerate(steps, 1):
        found += [f"_{number}"] if isinstance(step, Unit) else [f"_{number}{letter}" for letter in "ab"]
    return found


VARIANTS = {
    "inception_v3": Variant(
        InceptionV3,
        'C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016; torchvision',
        23_834_568,
        size=(299, 299, 3),
        smallest=75,
        strides={"stage1": 4, "stage2": 8, "stage3": 16, "stage4": 32},
        layouts={
            "torchvision": Layout(_torchvision, unused=("AuxLogits.",), fields={"transform_input": True}),
        },
        remats=True,
    )
}
