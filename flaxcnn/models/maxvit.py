"""MaxViT: Z. Tu et al., "MaxViT: Multi-Axis Vision Transformer", ECCV 2022.

Two 3×3 convolutions and four stages, each of which halves the size. A block (Figure 2 of the paper) is an inverted
residual with squeeze and excitation, then attention within windows of 7×7 pixels, then attention in grids of 7×7 over
the image. The head normalises the averaged activations and has a dense layer with tanh before the last one. Kernels
begin with a standard deviation of 0.02, biases with 0, as in the authors' code. The rate of stochastic depth grows with
a block's position from 0 to `drop_path`.

torchvision and TensorFlow's published weights, which timm reads, differ in more than names; `Form` lists it.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from flaxcnn.errors import DataError
from flaxcnn.layers.conv_norm import Activation, ConvNorm
from flaxcnn.layers.convolution import Conv
from flaxcnn.layers.drop_path import DropPath
from flaxcnn.layers.gelu import gelu
from flaxcnn.layers.head import head
from flaxcnn.layers.normalization import BatchNorm
from flaxcnn.layers.partition_attention import HEAD, PartitionAttention
from flaxcnn.layers.pixels import require_images
from flaxcnn.layers.pooling import avg_pool
from flaxcnn.layers.squeeze_excitation import SqueezeExcitation
from flaxcnn.models.variant import Layout, Variant

WINDOW = 7
_INIT = nn.initializers.normal(0.02)
_conv = partial(Conv, kernel_init=_INIT)
_EPSILON = 1e-3  # of batch normalisation, in all of them


class Form(NamedTuple):
    """In what implementations of the same paper differ.

    Attributes:
        padding: of 3×3 convolutions, of one pixel on all sides or "SAME", which at stride 2 pads an even size at its
            end alone.
        pool: window of the pool in a shortcut of stride 2; padding, where it is 3, counts.
        momentum: share of the old statistics that an update keeps.
        activation: GELU, or its approximation.
        scale_by_head: whether products in attention are divided by √32, the root of a head's channels, or by that of
            all channels.
        tables_by_head: as `PartitionAttention.table_by_head`.
        stem_bias: whether the stem's first convolution has a bias, though a normalisation follows.
        head_bias: whether the last dense layer has one.
    """

    padding: int | str
    pool: int
    momentum: float
    activation: Activation
    scale_by_head: bool
    tables_by_head: bool
    stem_bias: bool
    head_bias: bool


TORCHVISION = Form(1, 3, 0.01, gelu, False, False, False, False)  # its momentum of 0.99 is the new batch's share
TENSORFLOW = Form("SAME", 2, 0.9, partial(nn.gelu, approximate=True), True, True, True, True)


class Block(nn.Module):
    """An inverted residual, attention within windows, and attention in grids.

    Attributes:
        channels: that the block returns.
        strides: of the block.
        form: of the implementation.
        drop_path: probability that a branch is left out for an example in training.
        train: whether to leave out any, and to normalise by the batch's statistics.
        dtype: dtype of the computation.
    """

    channels: int
    strides: int
    form: Form
    drop_path: float
    train: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Return activations (B, H / strides, W / strides, channels)."""
        x = self._inverted_residual(x_BHWC)
        for name, grid in (("window", False), ("grid", True)):
            x = PartitionAttention(
                WINDOW,
                grid,
                (HEAD if self.form.scale_by_head else self.channels) ** -0.5,
                self.form.tables_by_head,
                self.form.activation,
                self.drop_path,
                self.train,
                self.dtype,
                name=name,
            )(x)
        return x

    def _inverted_residual(self, x_BHWC: jax.Array) -> jax.Array:
        form, wide = self.form, 4 * self.channels
        shortcut = x_BHWC
        if self.strides == 2:
            shortcut = avg_pool(
                shortcut, (form.pool, form.pool), (2, 2), padding=form.pool // 2 if form.pool == 3 else 0
            )
        if self.strides == 2 or x_BHWC.shape[-1] != self.channels:
            shortcut = _conv(self.channels, (1, 1), dtype=self.dtype, name="shortcut")(shortcut)
        conv = partial(
            ConvNorm,
            wide,
            train=self.train,
            activation=form.activation,
            momentum=form.momentum,
            epsilon=_EPSILON,
            dtype=self.dtype,
            kernel_init=_INIT,
        )
        y = _norm(form, self.train, self.dtype, "pre_norm")(x_BHWC)
        y = conv((1, 1), name="expand")(y)
        y = conv((3, 3), strides=self.strides, padding=form.padding, groups=wide, name="depthwise")(y)
        y = SqueezeExcitation(self.channels // 4, nn.silu, nn.sigmoid, self.dtype, name="se")(y)
        y = _conv(self.channels, (1, 1), dtype=self.dtype, name="project")(y)
        return shortcut + DropPath(self.drop_path, self.train, name="drop_path")(y)


class MaxViT(nn.Module):
    """A MaxViT for images whose height and width are multiples of 224, so that windows divide each stage.

    Attributes:
        stem: channels of the first convolutions.
        blocks: of each stage.
        channels: of each stage.
        form: of the implementation that its weights are from.
        drop_path: the last block's rate of stochastic depth.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters, statistics and logits are float32.
        remat: whether the backward pass computes the blocks again instead of keeping what is inside.
    """

    stem: int = 64
    blocks: tuple[int, ...] = (2, 2, 5, 2)
    channels: tuple[int, ...] = (64, 128, 256, 512)
    form: Form = TORCHVISION
    drop_path: float = 0.2
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
            train: whether to apply stochastic depth and dropout, which need the random stream "dropout", and to
                normalise by the batch's statistics, which needs the collection "batch_stats" mutable.
            dropout: dropout rate of the features in training; None for none.

        Returns:
            Logits (B, classes), and the named activations stem, stage1 to stage4, features and logits.

        Raises:
            DataError: the array is not a batch of images, or their sizes are not multiples of 224.
        """
        _require_windows(images_BHWC, 2 ** (len(self.blocks) + 1) * WINDOW)
        form = self.form
        block = nn.remat(Block) if self.remat else Block
        conv = partial(_conv, self.stem, (3, 3), padding=form.padding, dtype=self.dtype)
        x = conv(strides=2, use_bias=form.stem_bias, name="stem_conv1")(images_BHWC)
        x = form.activation(_norm(form, train, self.dtype, "stem_norm")(x))
        x = conv(name="stem_conv2")(x)
        endpoints, rates = {"stem": x}, iter(np.linspace(0, self.drop_path, sum(self.blocks)).tolist())
        for stage, (count, channels) in enumerate(zip(self.blocks, self.channels, strict=True), 1):
            for number in range(1, count + 1):
                strides = 2 if number == 1 else 1
                name = f"stage{stage}_block{number}"
                x = block(channels, strides, form, next(rates), train, self.dtype, name=name)(x)
            endpoints[f"stage{stage}"] = x
        x = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="norm")(jnp.mean(x, axis=(1, 2)))
        x = nn.tanh(nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=_INIT, name="before_head")(x))
        endpoints["features"] = x
        logits = head(
            x, self.classes, dropout, train=train, dtype=self.dtype, kernel_init=_INIT, use_bias=form.head_bias
        )
        endpoints["logits"] = logits
        return logits, endpoints


def _norm(form: Form, train: bool, dtype: DTypeLike, name: str) -> BatchNorm:
    return BatchNorm(not train, momentum=form.momentum, epsilon=_EPSILON, dtype=dtype, name=name)


def _require_windows(images_BHWC: jax.Array, side: int) -> None:
    require_images(images_BHWC, where="maxvit", smallest=side)
    height, width = images_BHWC.shape[1:3]
    if height % side or width % side:
        raise DataError(
            "windows do not divide the images",
            where="maxvit",
            expected=f"height and width that are multiples of {side}",
            found=f"{height}×{width}",
            fix=f"set --data.size {side}",
        )


def _named(
    blocks: tuple[int, ...], block: str, conv: Mapping[str, str], attention: Mapping[str, Mapping[str, str]]
) -> Mapping[str, str]:
    """Return the names of all blocks, counted from 0.

    Args:
        blocks: of each stage.
        block: what a block is called, of its stage and number.
        conv: what the layers of the inverted residual are called in it.
        attention: what those of each kind of attention are called.
    """
    inside = {**conv, **{f"{kind}/{ours}": theirs for kind, each in attention.items() for ours, theirs in each.items()}}
    names = {}
    for stage, count in enumerate(blocks):
        for number in range(count):
            before = block.format(stage, number)
            for ours, theirs in inside.items():
                if ours != "shortcut" or number == 0:
                    path = f"stage{stage + 1}_block{number + 1}/{ours}"
                    names[path] = " ".join(f"{before}.{each}" for each in theirs.split())
    return names


def _torchvision(blocks: tuple[int, ...]) -> Mapping[str, str]:
    conv = {
        "shortcut": "MBconv.proj.1",
        "pre_norm": "MBconv.layers.pre_norm",
        "expand": "MBconv.layers.conv_a.0 MBconv.layers.conv_a.1",
        "depthwise": "MBconv.layers.conv_b.0 MBconv.layers.conv_b.1",
        "se/reduce": "MBconv.layers.squeeze_excitation.fc1",
        "se/expand": "MBconv.layers.squeeze_excitation.fc2",
        "project": "MBconv.layers.conv_c",
    }
    layers = {
        "norm1": "attn_layer.0",
        "qkv": "attn_layer.1.to_qkv",
        "position_bias": "attn_layer.1.relative_position_bias_table",
        "merge": "attn_layer.1.merge",
        "norm2": "mlp_layer.0",
        "wide": "mlp_layer.1",
        "narrow": "mlp_layer.3",
    }
    attention = {
        kind: {ours: f"{kind}_attention.{theirs}" for ours, theirs in layers.items()} for kind in ("window", "grid")
    }
    ends = {"stem_conv1": "stem.0.0", "stem_norm": "stem.0.1", "stem_conv2": "stem.1.0"}
    ends |= {"norm": "classifier.2", "before_head": "classifier.3", "head": "classifier.5"}
    return {**ends, **_named(blocks, "blocks.{}.layers.{}.layers", conv, attention)}


def _timm(blocks: tuple[int, ...]) -> Mapping[str, str]:
    conv = {
        "shortcut": "conv.shortcut.expand",
        "pre_norm": "conv.pre_norm",
        "expand": "conv.conv1_1x1 conv.norm1",
        "depthwise": "conv.conv2_kxk conv.norm2",
        "se/reduce": "conv.se.fc1",
        "se/expand": "conv.se.fc2",
        "project": "conv.conv3_1x1",
    }
    layers = {
        "norm1": "norm1",
        "qkv": "attn.qkv",
        "position_bias": "attn.rel_pos.relative_position_bias_table",
        "merge": "attn.proj",
        "norm2": "norm2",
        "wide": "mlp.fc1",
        "narrow": "mlp.fc2",
    }
    kinds = {"window": "attn_block", "grid": "attn_grid"}
    attention = {kind: {ours: f"{name}.{each}" for ours, each in layers.items()} for kind, name in kinds.items()}
    ends = {"stem_conv1": "stem.conv1", "stem_norm": "stem.norm1", "stem_conv2": "stem.conv2"}
    ends |= {"norm": "head.norm", "before_head": "head.pre_logits.fc", "head": "head.fc"}
    return {**ends, **_named(blocks, "stages.{}.blocks.{}", conv, attention)}


def _positions(blocks: tuple[int, ...]) -> Mapping[str, np.ndarray]:
    """Return the tables of positions that torchvision saves beside its weights, which are the same in all models."""
    places = np.stack(np.meshgrid(*[np.arange(WINDOW)] * 2, indexing="ij")).reshape(2, -1)
    rows, columns = places[:, :, None] - places[:, None, :] + WINDOW - 1
    index = rows * (2 * WINDOW - 1) + columns
    named = _torchvision(blocks).values()
    tables = [name for name in named if name.endswith("relative_position_bias_table")]
    return {name.replace("bias_table", "index"): index for name in tables}


_STRIDES = {f"stage{stage}": 2 ** (stage + 1) for stage in range(1, 5)}
_T, _B = (2, 2, 5, 2), (2, 6, 14, 2)
_SOURCE = 'Z. Tu et al., "MaxViT: Multi-Axis Vision Transformer", ECCV 2022; '
VARIANTS = {
    "maxvit_t": Variant(
        MaxViT,
        f"{_SOURCE}torchvision",
        30_919_624,
        smallest=224,
        strides=_STRIDES,
        layouts={"torchvision": Layout(partial(_torchvision, _T), beside=partial(_positions, _T))},
        remats=True,
    ),
    "maxvit_base_tf_224": Variant(
        partial(MaxViT, blocks=_B, channels=(96, 192, 384, 768), form=TENSORFLOW, drop_path=0.4),
        f"{_SOURCE}timm",
        119_467_708,
        smallest=224,
        strides=_STRIDES,
        layouts={"timm": Layout(partial(_timm, _B))},
        remats=True,
    ),
}
