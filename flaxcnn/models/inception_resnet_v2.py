"""Inception-ResNet-v2, as in Keras' applications.

Source: C. Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", AAAI
2017.

As in the authors' code, it begins as Inception v3 does instead of the paper's Figure 3. 10, 20 and 10 residual blocks
follow at strides 8, 16 and 32 (Figures 16, 17 and 19): an Inception module and a 1×1 convolution give what is scaled by
0.17, 0.1 and 0.2 and added. What the last block adds is not scaled, and no ReLU follows.

Each convolution but those has batch normalisation without a scale after it, with an epsilon of 0.001 and a momentum of
0.99. Convolutions and pools that make the activations smaller are not padded (Keras' "valid"); the others are padded by
(size - 1) / 2 on all sides, which at stride 1 is Keras' "same". The average pool does not count the zeros around the
activations. Kernels begin as Keras' do, by Glorot and Bengio (2010), uniform. Published weights take pixels from -1 to
1.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.layers.conv_norm import ConvNorm
from flaxcnn.layers.convolution import Conv
from flaxcnn.layers.head import head
from flaxcnn.layers.inception import (
    REDUCING,
    REDUCING_POOL,
    Branch,
    Inception,
    Unit,
    inception_stem,
    names_of,
    side_by_side,
)
from flaxcnn.layers.pixels import require_images
from flaxcnn.layers.pooling import avg_pool
from flaxcnn.models.variant import Layout, Variant

_Branches = tuple[Branch, ...]
_average = partial(avg_pool, window=(3, 3), strides=(1, 1), padding=1, count_include_pad=False)
_FIRST: dict[int, _Branches] = {  # the module at the beginning of each stage; those of stages 3 and 4 halve the size
    2: (
        (Unit(96),),
        (Unit(48), Unit(64, (5, 5))),
        (Unit(64), Unit(96, (3, 3)), Unit(96, (3, 3))),
        (_average, Unit(64)),
    ),
    3: ((REDUCING(384),), (Unit(256), Unit(256, (3, 3)), REDUCING(384)), (REDUCING_POOL,)),
    4: (
        (Unit(256), REDUCING(384)),
        (Unit(256), REDUCING(288)),
        (Unit(256), Unit(288, (3, 3)), REDUCING(320)),
        (REDUCING_POOL,),
    ),
}
_RESIDUAL: dict[int, tuple[int, float, _Branches]] = {  # how many blocks follow, their scale, and what is in them
    2: (10, 0.17, ((Unit(32),), (Unit(32), Unit(32, (3, 3))), (Unit(32), Unit(48, (3, 3)), Unit(64, (3, 3))))),
    3: (20, 0.1, ((Unit(192),), (Unit(128), Unit(160, (1, 7)), Unit(192, (7, 1))))),
    4: (10, 0.2, ((Unit(192),), (Unit(192), Unit(224, (1, 3)), Unit(256, (3, 1))))),
}


class Residual(nn.Module):
    """An Inception module and a 1×1 convolution, scaled and added to what goes in.

    Attributes:
        branches: of the module.
        scale: of what is added.
        relu: whether a ReLU follows.
        conv: makes the branches' convolutions.
        dtype: dtype of the computation.
    """

    branches: _Branches
    scale: float
    relu: bool
    conv: Callable[..., ConvNorm]
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Return activations of the same shape."""
        y = side_by_side(x_BHWC, self.branches, self.conv)
        glorot = nn.initializers.glorot_uniform()
        y = Conv(x_BHWC.shape[-1], (1, 1), kernel_init=glorot, dtype=self.dtype, name="conv")(y)
        y = x_BHWC + self.scale * y
        return nn.relu(y) if self.relu else y


class InceptionResNetV2(nn.Module):
    """Inception-ResNet-v2 for images of any size from 75 pixels.

    Attributes:
        dropout: rate of the features; the paper's is 0.2 (Figure 15), Keras has none.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters, statistics and logits are float32.
        remat: whether the backward pass computes the blocks again instead of keeping what is inside.
    """

    dropout: float = 0.2
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
        require_images(images_BHWC, where="inception_resnet_v2", smallest=75)
        glorot = nn.initializers.glorot_uniform()
        conv = partial(
            ConvNorm, train=train, scaled=False, momentum=0.99, epsilon=1e-3, dtype=self.dtype, kernel_init=glorot
        )
        module = nn.remat(Inception) if self.remat else Inception
        residual = nn.remat(Residual) if self.remat else Residual
        x, endpoints = inception_stem(images_BHWC, conv)
        for stage, (blocks, scale, branches) in _RESIDUAL.items():
            x = module(_FIRST[stage], conv, name=f"stage{stage}_block1")(x)
            for number in range(2, blocks + 2):
                last = stage == 4 and number == blocks + 1
                block = residual(
                    branches, 1.0 if last else scale, not last, conv, self.dtype, name=f"stage{stage}_block{number}"
                )
                x = block(x)
            if stage == 4:
                x = conv(1536, (1, 1), name="stage4_conv")(x)
            endpoints[f"stage{stage}"] = x
        x = endpoints["features"] = jnp.mean(x, axis=(1, 2))
        rate = self.dropout if dropout is None else dropout
        logits = endpoints["logits"] = head(x, self.classes, rate, train=train, dtype=self.dtype, kernel_init=glorot)
        return logits, endpoints


def _keras() -> dict[str, str]:
    """Return the names in Keras' files of weights, which count the layers of a class, those that end branches last."""
    convolutions, normalisations = count(), count()

    def following(*, normalised: bool) -> str:
        names = [_counted("conv2d", next(convolutions))]
        return " ".join([*names, *([_counted("batch_normalization", next(normalisations))] if normalised else [])])

    stem = ("stem_conv1", "stem_conv2", "stem_conv3", "stage1_conv1", "stage1_conv2")
    names = {each: following(normalised=True) for each in stem}
    for stage, (blocks, _, branches) in _RESIDUAL.items():
        for number in range(1, blocks + 2):
            block = f"stage{stage}_block{number}"
            for name in _by_depth(_FIRST[stage] if number == 1 else branches):
                names[f"{block}/{name}"] = following(normalised=True)
            if number > 1:
                names[f"{block}/conv"] = following(normalised=False)
    return {**names, "stage4_conv": following(normalised=True), "head": "dense"}


def _by_depth(branches: _Branches) -> Iterator[str]:
    """Yield the convolutions of a module as Keras' models order layers: by how many follow, then by branch."""
    names = names_of(branches)
    for following in range(max(map(len, names)), 0, -1):
        yield from (branch[-following] for branch in names if len(branch) >= following)


def _counted(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


VARIANTS = {
    "inception_resnet_v2": Variant(
        InceptionResNetV2,
        'C. Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", AAAI '
        "2017; Keras",
        55_813_192,
        size=(299, 299, 3),
        smallest=75,
        strides={"stage1": 4, "stage2": 8, "stage3": 16, "stage4": 32},
        layouts={"keras": Layout(_keras, style="keras")},
        remats=True,
    )
}
