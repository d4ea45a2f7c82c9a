"""Weights by another library's names: the right names, there and back, and the same numbers where epsilon differs."""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.models import MODELS, create
from flaxcnn.models.weights.convert import places, to_ours, to_theirs

pytestmark = pytest.mark.slow

# Of the sorted names and shapes (without axes of length 1) of timm 1.0.31's models: of the same name, or as written.
TIMM = {
    "efficientnet_lite0": "4facf9494b327016",  # tf_efficientnet_lite0
    "efficientnet_b0": "3a942e775438b90c",
    "efficientnet_b1": "63987ad8f4bc5a57",
    "efficientnet_b2": "cb8ed3c87634c232",
    "efficientnet_b3": "1ec72eb1b7218509",
    "efficientnet_b4": "06fec31e59e1a3a6",
    "efficientnet_b5": "905346ba3ffa4114",
    "efficientnet_b6": "70012836342c7acd",
    "efficientnet_b7": "2b26b4ed3f1f1476",
    "mobilenet_v3_large": "3efaf4d988691208",  # mobilenetv3_large_100
    "mobilenet_v3_small": "6dcd50b0e2dbf6e1",  # mobilenetv3_small_100
}


def shapes_of(model, size=64):
    return jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))


@pytest.mark.parametrize("name", TIMM)
def test_names_and_shapes_are_timms(name):
    found = places(MODELS[name].layouts["timm"], shapes_of(create(name, 1000))).values()
    listed = sorted((place.name, [length for length in place.shape if length != 1]) for place in found)
    assert hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16] == TIMM[name]


def test_weights_come_back_as_they_were():
    layout, model = MODELS["mobilenet_v3_small"].layouts["torchvision"], create("mobilenet_v3_small", 3)
    draw = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape).astype(np.float32), shapes_of(model))
    theirs = to_theirs(variables, layout)
    assert theirs["features.1.block.1.fc1.weight"].shape == (8, 16, 1, 1)  # as torchvision loads it
    again = to_ours(theirs, layout, variables, "there and back")
    jax.tree.map(np.testing.assert_array_equal, again, dict(variables))


def test_variances_make_up_for_another_epsilon():
    variables = {"batch_stats": {"stem": {"var": np.array([0.0, 2e-5, 1.0], np.float32)}}}
    layout = MODELS["mobilenet_v3_small"].layouts["timm"]
    theirs = {"bn1.running_var": variables["batch_stats"]["stem"]["var"]}
    ours = to_ours(theirs, layout, variables, "weights")["batch_stats"]["stem"]["var"]
    np.testing.assert_allclose(1 / np.sqrt(ours + 1e-3), 1 / np.sqrt(theirs["bn1.running_var"] + 1e-5), rtol=1e-5)
    np.testing.assert_allclose(
        to_theirs({"batch_stats": {"stem": {"var": ours}}}, layout)["bn1.running_var"],
        theirs["bn1.running_var"],
        atol=1e-9,
    )
