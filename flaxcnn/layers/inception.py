"""Inception modules: branches of convolutions and pools of the same input, side by side in the channels.

Source: C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from flaxcnn.layers.conv_norm import ConvNorm
from flaxcnn.layers.pooling import MaxPool, max_pool


@dataclass(frozen=True)
class Unit:
    """A convolution of a branch.

    Attributes:
        features: number of filters.
        size: height and width of the kernel.
        strides: in height and width.
        padding: as of `ConvNorm`; None for what keeps the size at stride 1.
    """

    features: int
    size: tuple[int, int] = (1, 1)
    strides: int = 1
    padding: str | None = None


Pool = Callable[[jax.Array], jax.Array]
Branch = Sequence[Unit | Pool | tuple[Unit, ...]]  # in order; a tuple's convolutions lie side by side

# Reductions end with these: 3×3 at stride 2, not padded.
REDUCING = partial(Unit, size=(3, 3), strides=2, padding="VALID")
REDUCING_POOL: Pool = partial(max_pool, window=(3, 3), strides=(2, 2))


class Inception(nn.Module):
    """Branches side by side.

    Attributes:
        branches: what each branch computes.
        conv: makes a `ConvNorm` from features and size, with `strides`, `padding` and `name`.
    """

    branches: Sequence[Branch]
    conv: Callable[..., ConvNorm]

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Return activations (B, H', W', features of all branches)."""
        return side_by_side(x_BHWC, self.branches, self.conv)


def side_by_side(x_BHWC: jax.Array, branches: Sequence[Branch], conv: Callable[..., ConvNorm]) -> jax.Array:
    """Return what branches compute, side by side in the channels.

    The layers belong to the module that calls this in its compact method: the second convolution of the first branch is
    `branch1_conv2`.

    Args:
        x_BHWC: activations.
        branches: as of `Inception`.
        conv: as of `Inception`.
    """
    outputs = []
    for number, branch in enumerate(branches, 1):
        y, count = x_BHWC, 0
        for step in branch:
            if callable(step):
                y = step(y)
                continue
            units = (step,) if isinstance(step, Unit) else step
            made = []
            for unit in units:
                count += 1
                name = f"branch{number}_conv{count}"
                layer = conv(unit.features, unit.size, strides=unit.strides, padding=unit.padding, name=name)
                made.append(layer(y))
            y = _joined(made)
        outputs.append(y)
    return _joined(outputs)


def inception_stem(x_BHWC: jax.Array, conv: Callable[..., ConvNorm]) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Return what comes before the modules of Inception v3 and Inception-ResNet-v2, at stride 8, and its endpoints.

    Five convolutions and two pools, all but the third convolution without padding. The layers belong to the module that
    calls this in its compact method.

    Args:
        x_BHWC: images, of at least 75 pixels.
        conv: as of `Inception`.

    Returns:
        Activations (B, about H / 8, about W / 8, 192), and the endpoints stem, at stride 2, and stage1, at stride 4.
    """
    x = conv(32, (3, 3), strides=2, padding="VALID", name="stem_conv1")(x_BHWC)
    x = conv(32, (3, 3), padding="VALID", name="stem_conv2")(x)
    stem = conv(64, (3, 3), name="stem_conv3")(x)
    x = MaxPool((3, 3), (2, 2), name="pool1")(stem)
    x = conv(80, (1, 1), name="stage1_conv1")(x)
    stage1 = conv(192, (3, 3), padding="VALID", name="stage1_conv2")(x)
    return MaxPool((3, 3), (2, 2), name="pool2")(stage1), {"stem": stem, "stage1": stage1}


def names_of(branches: Sequence[Branch]) -> list[list[str]]:
    """Return the names of each branch's convolutions, in order."""
    names = []
    for number, branch in enumerate(branches, 1):
        counts = [0 if callable(step) else 1 if isinstance(step, Unit) else len(step) for step in branch]
        names.append([f"branch{number}_conv{count}" for count in range(1, sum(counts) + 1)])
    return names


def _joined(arrays: list[jax.Array]) -> jax.Array:
    return arrays[0] if len(arrays) == 1 else jnp.concatenate(arrays, axis=-1)
