"""A user's own models, as files: Linen and NNX, as Flax's documentation writes them."""

LINEN = '''
import flax.linen as nn
from own_parts import pooled

class Net(nn.Module):
    """Takes `train`, and returns its logits alone."""
    classes: int = 10
    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Conv(4, (3, 3), name="conv")(x)
        x = pooled(nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x))
        x = nn.Dropout(0.5, deterministic=not train, name="drop")(x.reshape(len(x), -1))
        return nn.Dense(self.classes, name="head")(x)

class Plain(nn.Module):
    """Takes no `train`, and returns its logits alone."""
    classes: int = 10
    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.classes, name="head")(x.reshape(len(x), -1))
'''

NNX = """
from flax import nnx
from own_parts import pooled

class Block(nnx.Module):
    def __init__(self, channels, features, *, rngs):
        self.conv = nnx.Conv(channels, features, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(features, momentum=0.9, rngs=rngs)
    def __call__(self, x):
        return pooled(self.norm(self.conv(x)))

class Net(nnx.Module):
    def __init__(self, classes=10, *, rngs):
        self.blocks = nnx.List([Block(1, 4, rngs=rngs), Block(4, 4, rngs=rngs)])
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(7 * 7 * 4, classes, rngs=rngs)
    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(self.drop(x.reshape(len(x), -1)))
"""

PARTS = """
import flax.linen as nn

def pooled(x):
    return nn.max_pool(nn.relu(x), (2, 2), (2, 2))
"""


def write_own_models(folder):
    """Write `own_linen.py`, `own_nnx.py` and the module that both import, and return the folder."""
    for name, source in (("own_linen", LINEN), ("own_nnx", NNX), ("own_parts", PARTS)):
        (folder / f"{name}.py").write_text(source)
    return folder
