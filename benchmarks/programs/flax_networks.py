"""The networks of the benchmark in Flax. The layers that convolve and normalise are arguments: all else is the same.

Sources: K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with the stem for images of 32 × 32
pixels of its section 4.2; A. Howard et al., "Searching for MobileNetV3", ICCV 2019, with torchvision's order of layers.
Both return their output and, as models of this library do, a dictionary.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.jobs import CLASSES, MOBILENET_BLOCK, RESNET18


class ResNet18(nn.Module):
    """ResNet-18 with a 3×3 convolution as its stem and no pool after it.

    Attributes:
        conv: the class of the layers that convolve, with the arguments of Flax's own.
        norm: the class of the layers that normalise a batch, with the arguments of Flax's own.
        fused: whether `norm` takes `relu`, for a ReLU that it applies itself.
    """

    conv: type[nn.Module] = nn.Conv
    norm: type[nn.Module] = nn.BatchNorm
    fused: bool = False

    @nn.compact
    def __call__(self, images_BHWC: jax.Array, *, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the logits of images (B, H, W, 3)."""
        conv = partial(self.conv, use_bias=False)
        norm = partial(self.norm, use_running_average=not train, momentum=0.9, epsilon=1e-5)

        def norm_relu(x: jax.Array) -> jax.Array:
            return norm(relu=True)(x) if self.fused else nn.relu(norm()(x))

        x = norm_relu(conv(64, (3, 3), padding=1)(images_BHWC))
        for stage, channels in enumerate((64, 128, 256, 512)):
            for block in range(2):
                stride = 2 if stage and not block else 1
                y = norm_relu(conv(channels, (3, 3), stride, padding=1)(x))
                y = norm()(conv(channels, (3, 3), padding=1)(y))
                if y.shape != x.shape:
                    x = norm()(conv(channels, (1, 1), stride, padding=0)(x))
                x = nn.relu(x + y)
        return nn.Dense(CLASSES)(jnp.mean(x, axis=(1, 2))), {}


class MobileNetV3Block(nn.Module):
    """The block of MobileNetV3-Large that expands 80 channels to 480 and projects them to 112, with a 5×5 kernel.

    Attributes:
        conv: the class of the layers that convolve, with the arguments of Flax's own.
        norm: the class of the layers that normalise a batch, with the arguments of Flax's own.
        fused: whether `norm` takes `relu`, for a ReLU that it applies itself.
        expanded: channels of the depthwise convolution.
        squeezed: channels between the two layers of squeeze-and-excitation.
        projected: channels of the output.
    """

    conv: type[nn.Module] = nn.Conv
    norm: type[nn.Module] = nn.BatchNorm
    fused: bool = False
    expanded: int = 480
    squeezed: int = 120
    projected: int = 112

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, *, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return activations (B, H, W, projected)."""
        conv = self.conv
        norm = partial(self.norm, use_running_average=not train, momentum=0.99, epsilon=1e-3)
        x = nn.hard_swish(norm()(conv(self.expanded, (1, 1), padding=0, use_bias=False)(x_BHWC)))
        depthwise = conv(self.expanded, (5, 5), padding=2, feature_group_count=self.expanded, use_bias=False)
        x = nn.hard_swish(norm()(depthwise(x)))
        scale = nn.relu(conv(self.squeezed, (1, 1))(jnp.mean(x, axis=(1, 2), keepdims=True)))
        x = x * nn.hard_sigmoid(conv(self.expanded, (1, 1))(scale))
        return norm()(conv(self.projected, (1, 1), padding=0, use_bias=False)(x)), {}


NETWORKS = {RESNET18: ResNet18, MOBILENET_BLOCK: MobileNetV3Block}
