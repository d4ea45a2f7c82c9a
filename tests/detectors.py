"""A detector that is trained in seconds."""

import flax.linen as nn

from flaxcnn.layers import DetectionHead


class Small(nn.Module):
    """Three convolutions, and a head on the last two strides."""

    classes: int = 2

    @nn.compact
    def __call__(self, x, *, train=False):
        levels = {}
        for stride, features in ((2, 8), (4, 16), (8, 24), (16, 24)):
            x = levels[stride] = nn.relu(nn.Conv(features, (3, 3), strides=2)(x))
        return DetectionHead(self.classes, width=16, depth=1, name="head")({8: levels[8], 16: levels[16]})
