"""Small networks whose explanations can be computed by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn.explanations.programs import Subject
from flaxcnn.tasks import Classification

CLASSES = ("ant", "bee", "cat")


class Linear(nn.Module):
    """One weight for each pixel and class; names no activation."""

    classes: int = 3

    @nn.compact
    def __call__(self, images, *, train=False):
        return nn.Dense(self.classes, name="head")(images.reshape(images.shape[0], -1)), {}


class Tiny(nn.Module):
    """A convolution, ReLU, and a head on every cell: the gradient at `active` is the head's weights."""

    classes: int = 3

    @nn.compact
    def __call__(self, images, *, train=False):
        active = nn.relu(nn.Conv(4, (3, 3), padding="VALID", strides=2, name="conv")(images))
        features = active.reshape(images.shape[0], -1)
        logits = nn.Dense(self.classes, name="head")(features)
        return logits, {"logits": logits, "active": active, "features": features}


class Nested(nn.Module):
    """`Tiny` with its activations in a tree."""

    classes: int = 3

    @nn.compact
    def __call__(self, images, *, train=False):
        outputs, endpoints = Tiny.__call__(self, images, train=train)
        return outputs, {"first": {"active": endpoints["active"]}, "logits": outputs}


class Curved(nn.Module):
    """Two convolutions and a hidden layer, so that gradients change along a line."""

    classes: int = 3

    @nn.compact
    def __call__(self, images, *, train=False):
        first = nn.relu(nn.Conv(6, (3, 3), name="first")(images))
        second = nn.relu(nn.Conv(6, (3, 3), strides=2, name="second")(first))
        hidden = nn.relu(nn.Dense(16, name="hidden")(second.reshape(images.shape[0], -1)))
        return nn.Dense(self.classes, name="head")(hidden), {"first": first, "second": second}


class Around(nn.Module):
    """A shortcut around the endpoint `inside`, and an activation that nothing is computed from."""

    classes: int = 1

    @nn.compact
    def __call__(self, images, *, train=False):
        inside = 2 * images
        return jnp.sum(inside * images, axis=(1, 2, 3))[:, None], {"inside": inside, "beside": images + 1}


def subject_of(model, shape=(9, 8, 2), *, task=None, names=CLASSES, constants=None, seed=0):
    """A model with random weights, and biases that are not 0; drawn here, since `init` of a large one takes long."""
    rng = np.random.default_rng(seed)

    def drawn(path, leaf):
        if path[0].key == "batch_stats":
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)
        scale = 0.3 if len(leaf.shape) < 2 else np.prod(leaf.shape[:-1]) ** -0.5
        return jnp.asarray(rng.normal(0, scale, leaf.shape), jnp.float32)

    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    variables = jax.tree_util.tree_map_with_path(drawn, shapes)
    constants = {name: jnp.asarray(value, jnp.float32) for name, value in (constants or {}).items()}
    return Subject(model, {**variables, "constants": constants}, task or Classification(), names, shape)


def images_of(count, shape=(9, 8, 2), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)
