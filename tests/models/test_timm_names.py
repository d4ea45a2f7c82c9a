"""Names and shapes of tensors are those of timm 1.0.31; MaxViT-Base's logits, too.

A digest is of the lines "NAME SHAPE", sorted, of a model's state dictionary without `num_batches_tracked`.
"""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.models import MODELS
from flaxcnn.models.weights.convert import places, to_ours
from tests.parity.drawn import drawn, images
from tests.parity.test_torchvision import KEPT, same

pytestmark = pytest.mark.slow

DIGESTS = {
    "densenet121": "0413a20a11d892ffdcc0ebd3e760331e7027e3fc831184d29087f4a4c92ce170",
    "convnext_tiny": "1905c34d75f71ab6d62d571cea29ebf0c92838574a474da3643388c11f8896a0",
    "maxvit_base_tf_224": "8a8120f074949090f8cfaf0af248e0d6338b13bf56b6c85ddfa0bddc3e86a6f2",
}


def named(name):
    variant = MODELS[name]
    model = variant.create(classes=variant.classes, dtype=jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *variant.size)))
    return model, shapes, places(variant.layouts["timm"], shapes)


@pytest.mark.parametrize("name", DIGESTS)
def test_names_and_shapes_are_timms(name):
    lines = sorted(f"{place.name} {place.shape}\n" for place in named(name)[2].values())
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == DIGESTS[name]


@pytest.mark.zoo
def test_the_logits_of_the_largest_are_those_that_timm_gave():
    model, shapes, found = named("maxvit_base_tf_224")
    tensors = {place.name: drawn(place.name, place.shape, 0.6) for place in found.values()}
    variables = to_ours(tensors, MODELS["maxvit_base_tf_224"].layouts["timm"], shapes, "drawn")
    logits, _ = jax.jit(model.apply)(variables, jnp.asarray(images(2, 224, 224)))
    same(logits, np.load(KEPT)["timm/maxvit_base_tf_224"], 1e-5, "logits")
