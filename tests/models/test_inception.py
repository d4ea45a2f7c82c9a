"""Names of Inception networks in other libraries, and branches of their modules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.errors import DataError
from flaxcnn.layers.inception import Unit, names_of
from flaxcnn.models import MODELS, create
from flaxcnn.models.weights.convert import places, to_ours, to_theirs


def shapes(name):
    return jax.eval_shape(create(name, 10).init, jax.random.key(0), jnp.zeros((1, *MODELS[name].size)))


def test_convolutions_of_a_branch_are_counted_those_side_by_side_too():
    branches = ((Unit(4),), (jnp.square, Unit(4), (Unit(2), Unit(3))), (jnp.square,))
    assert names_of(branches) == [["branch1_conv1"], ["branch2_conv1", "branch2_conv2", "branch2_conv3"], []]


def test_torchvision_has_each_name_once_and_auxiliary_heads_are_left():
    for name, some, auxiliary in (
        ("googlenet", "inception4e.branch4.1.conv.weight", "aux1.fc1.bias"),
        ("inception_v3", "Mixed_7c.branch3x3dbl_3b.bn.running_var", "AuxLogits.fc.weight"),
    ):
        layout, variables = MODELS[name].layouts["torchvision"], shapes(name)
        theirs = {
            place.name: np.broadcast_to(np.float32(0), place.shape) for place in places(layout, variables).values()
        }
        assert some in theirs
        assert len(theirs) == len(jax.tree.leaves(variables))
        ours = to_ours({**theirs, auxiliary: np.zeros(3, np.float32)}, layout, variables, name)
        assert set(to_theirs(ours, layout)) == set(theirs)


def test_keras_counts_layers_of_a_class_in_the_order_of_how_many_follow():
    layout = MODELS["inception_resnet_v2"].layouts["keras"]
    names = layout.names()
    assert len(set(names.values())) == len(names) == 245
    # as Keras 3.15 saves them: in the module `mixed_5b`, in `block35_1`, and at the end
    assert names["stage2_block1/branch3_conv1"] == "conv2d_5 batch_normalization_5"
    assert names["stage2_block1/branch4_conv1"] == "conv2d_11 batch_normalization_11"
    assert names["stage2_block2/branch1_conv1"] == "conv2d_15 batch_normalization_15"
    assert names["stage2_block2/conv"] == "conv2d_18"
    assert names["stage4_block11/conv"] == "conv2d_242"
    assert names["stage4_conv"] == "conv2d_243 batch_normalization_203"
    found = {place.name: place.shape for place in places(layout, shapes("inception_resnet_v2")).values()}
    assert found["layers/conv2d_18/vars/0"] == (1, 1, 128, 320)
    assert found["layers/conv2d_18/vars/1"] == (320,)
    assert [f"layers/batch_normalization/vars/{number}" in found for number in range(4)] == [True, True, True, False]
    assert found["layers/dense/vars/0"] == (1536, 10)


def test_images_without_colours_cannot_be_standardised_again():
    model = MODELS["googlenet"].create(classes=3, dtype=jnp.float32, transform_input=True)
    with pytest.raises(DataError, match="transform_input"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
