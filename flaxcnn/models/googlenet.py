"""GoogLeNet: C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, Table 1, without auxiliary heads.

As in torchvision, each convolution is followed by batch normalisation with an epsilon of 0.001, the convolution that is
5×5 in the paper is 3×3, there is no local response normalisation, and kernels begin normal with a deviation of 0.01.
Convolutions are padded by (size - 1) / 2 on all sides. Pools between stages have no padding but what makes the last
window whole (PyTorch's `ceil_mode`).

The form for images of 32 pixels begins with a 3×3 convolution of stride 1 and no pool after it.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.layers.conv_norm import ConvNorm
from flaxcnn.layers.head import head
from flaxcnn.layers.inception import Branch, Inception, Unit, names_of
from flaxcnn.layers.initializers import fan_in_uniform_bias
from flaxcnn.layers.pixels import require_images, restandardised
from flaxcnn.layers.pooling import MaxPool, max_pool
from flaxcnn.models.variant import Layout, Variant


def _branches(one: int, three: tuple[int, int], five: tuple[int, int], pooled: int) -> tuple[Branch, ...]:
    """Return the branches of a module; the columns of Table 1, #1×1 to pool proj."""
    pool = partial(max_pool, window=(3, 3), strides=(1, 1), padding=((1, 1), (1, 1)))
    return (
        (Unit(one),),
        (Unit(three[0]), Unit(three[1], (3, 3))),
        (Unit(five[0]), Unit(five[1], (3, 3))),
        (pool, Unit(pooled)),
    )


_STAGES = {  # inception 3a to 5b
    2: (_branches(64, (96, 128), (16, 32), 32), _branches(128, (128, 192), (32, 96), 64)),
    3: (
        _branches(192, (96, 208), (16, 48), 64),
        _branches(160, (112, 224), (24, 64), 64),
        _branches(128, (128, 256), (24, 64), 64),
        _branches(112, (144, 288), (32, 64), 64),
        _branches(256, (160, 320), (32, 128), 128),
    ),
    4: (_branches(256, (160, 320), (32, 128), 128), _branches(384, (192, 384), (48, 128), 128)),
}


class GoogLeNet(nn.Module):
    """GoogLeNet for images of any size from 15 pixels.

    Attributes:
        small: whether it begins for images of about 32 pixels.
        transform_input: whether images that are standardised by ImageNet's mean and deviation are made (pixel - 0.5) /
            0.5 first, which torchvision's published weights need.
        dropout: rate of the features; the paper's is 0.4, torchvision's 0.2.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters, statistics and logits are float32.
        remat: whether the backward pass computes the modules again instead of keeping what is inside.
    """

    small: bool = False
    transform_input: bool = False
    dropout: float = 0.4
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
            DataError: the array is not a batch of images, or they are smaller than 15 pixels (8 if `small`).
        """
        require_images(images_BHWC, where="googlenet", smallest=8 if self.small else 15)
        normal = nn.initializers.normal(0.01)
        conv = partial(ConvNorm, train=train, epsilon=1e-3, dtype=self.dtype, kernel_init=normal)
        block = nn.remat(Inception) if self.remat else Inception
        x = restandardised(images_BHWC) if self.transform_input else images_BHWC
        size, strides = ((3, 3), 1) if self.small else ((7, 7), 2)
        x = conv(64, size, strides=strides, name="stem")(x)
        endpoints = {"stem": x}
        if not self.small:
            x = MaxPool((3, 3), (2, 2), "CEIL", name="pool")(x)
        x = conv(64, (1, 1), name="stage1_conv1")(x)
        x = endpoints["stage1"] = conv(192, (3, 3), name="stage1_conv2")(x)
        for stage, blocks in _STAGES.items():
            window = (2, 2) if stage == 4 else (3, 3)
            x = MaxPool(window, (2, 2), "CEIL", name=f"pool{stage - 1}")(x)
            for number, branches in enumerate(blocks, 1):
                x = block(branches, conv, name=f"stage{stage}_block{number}")(x)
            endpoints[f"stage{stage}"] = x
        x = endpoints["features"] = jnp.mean(x, axis=(1, 2))
        rate = self.dropout if dropout is None else dropout
        init: dict[str, Any] = {"kernel_init": normal, "bias_init": fan_in_uniform_bias(x.shape[-1])}
        logits = endpoints["logits"] = head(x, self.classes, rate, train=train, dtype=self.dtype, **init)
        return logits, endpoints


def _torchvision() -> dict[str, str]:
    """Return torchvision's names."""
    theirs = {"stem": "conv1", "stage1_conv1": "conv2", "stage1_conv2": "conv3"}
    for stage, blocks in _STAGES.items():
        for number, branches in enumerate(blocks, 1):
            for branch, names in enumerate(names_of(branches), 1):
                for place, name in enumerate(names):
                    index = f".{1 if branch == 4 else place}" if branch > 1 else ""  # the fourth begins with its pool
                    module = f"inception{stage + 1}{'abcde'[number - 1]}.branch{branch}{index}"
                    theirs[f"stage{stage}_block{number}/{name}"] = module
    return {**{ours: f"{each}.conv {each}.bn" for ours, each in theirs.items()}, "head": "fc"}


def _variant(parameters: int, *, small: bool, **changes: Any) -> Variant:
    return Variant(
        partial(GoogLeNet, small=small),
        'C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015; torchvision',
        parameters,
        strides={f"stage{stage}": (1 if small else 4) * 2 ** (stage - 1) for stage in range(1, 5)},
        remats=True,
        **changes,
    )


VARIANTS = {
    "googlenet": _variant(
        6_624_904,
        small=False,
        smallest=15,
        layouts={"torchvision": Layout(_torchvision, unused=("aux1.", "aux2."), fields={"transform_input": True})},
    ),
    "googlenet_32px": _variant(5_602_474, small=True, size=(32, 32, 3), smallest=8, classes=10),
}
