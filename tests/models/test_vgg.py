"""VGG-16's weights in its other forms: the trunk of the one with a Selective Kernel, and timm's shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.errors import DataError
from flaxcnn.models import MODELS, create
from flaxcnn.models.weights.convert import places, to_ours, to_theirs


def shapes(name):
    return jax.eval_shape(create(name, 10).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def weights_of_vgg16(library):
    """Weights as a library has them, of small numbers of their own: no memory for 138 million drawn ones."""
    named = places(MODELS["vgg16"].layouts[library], shapes("vgg16")).values()
    return {
        place.name: np.broadcast_to(np.float32(number), place.shape)
        for number, place in enumerate(named)
        if place.shape
    }


@pytest.mark.slow
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_its_convolutions_begin_with_weights_of_vgg16_and_what_is_new_as_drawn(library):
    layout, theirs = MODELS["vgg16_sk"].layouts[library], weights_of_vgg16(library)
    drawn = create("vgg16_sk", 10).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    ours = to_ours(theirs, layout, drawn, "vgg16.pth")
    assert jax.tree.structure(ours) == jax.tree.structure(drawn)
    for name in ("selective", "head"):
        assert all(jax.tree.leaves(jax.tree.map(np.array_equal, ours["params"][name], drawn["params"][name])))
    first, last = ours["params"]["stage1_conv1"], ours["params"]["stage5_conv3"]
    np.testing.assert_array_equal(
        first["kernel"], np.broadcast_to(theirs["features.0.weight"][0, 0, 0, 0], (3, 3, 3, 64))
    )
    np.testing.assert_array_equal(last["bias"], theirs["features.28.bias"])
    assert set(to_theirs(ours, layout)) == {name for name in theirs if name.startswith("features.")}


def test_what_is_neither_trunk_nor_head_is_named():
    theirs = {**weights_of_vgg16("torchvision"), "features.40.weight": np.zeros(3, np.float32)}
    with pytest.raises(DataError, match=r"left over: features\.40\.weight"):
        to_ours(theirs, MODELS["vgg16_sk"].layouts["torchvision"], shapes("vgg16_sk"), "vgg16.pth")


@pytest.mark.slow
def test_dense_layers_that_are_convolutions_in_timm_are_read_in_the_order_of_flattened_channels():
    layout, variables = MODELS["vgg16"].layouts["timm"], {"params": {"dense1": shapes("vgg16")["params"]["dense1"]}}
    weight = np.broadcast_to(np.arange(512, dtype=np.float32)[:, None, None], (4096, 512, 7, 7))
    theirs = {"pre_logits.fc1.weight": weight, "pre_logits.fc1.bias": np.zeros(4096, np.float32)}
    kernel = to_ours(theirs, layout, variables, "vgg16.pth")["params"]["dense1"]["kernel"]
    np.testing.assert_array_equal(kernel[:, 7], np.tile(np.arange(512), 49))
