"""The same trunk with another number of classes or other images: only the head is new."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.errors import ContractError
from flaxcnn.models.paper_cnn import PaperCNN
from flaxcnn.models.transfer import replace_head


@pytest.fixture(scope="module")
def trained():
    variables = jax.jit(PaperCNN(classes=10).init)(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    return jax.tree.map(lambda array: np.asarray(array) + 1, variables)  # no initializer gives these


@pytest.mark.parametrize(
    ("classes", "input_shape", "head"),
    [
        (3, (28, 28, 1), (1568, 3)),
        (10, (32, 32, 1), (2048, 10)),
        (3, (32, 32, 1), (2048, 3)),
        (10, (28, 28, 1), (1568, 10)),
    ],
)
def test_only_the_head_moves(trained, classes, input_shape, head):
    model = PaperCNN(classes)
    new = replace_head(model, trained, input_shape, jax.random.key(1))
    for layer in ("conv1", "conv2"):
        for name, array in trained["params"][layer].items():
            assert np.asarray(new["params"][layer][name]).tobytes() == array.tobytes()
    kernel, bias = new["params"]["head"]["kernel"], new["params"]["head"]["bias"]
    assert (kernel.shape, bias.shape) == (head, (classes,))
    # A new draw in ±1/√fan_in; the trained head was moved by 1.
    assert np.abs(kernel).max() <= 1 / np.sqrt(head[0])
    assert np.abs(kernel).max() > 0.9 / np.sqrt(head[0])
    logits, _ = model.apply(new, jnp.ones((2, *input_shape)))
    assert logits.shape == (2, classes)


def test_the_key_decides_the_new_head(trained):
    first, again, other = (
        replace_head(PaperCNN(3), trained, (28, 28, 1), jax.random.key(seed))["params"]["head"]["kernel"]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != np.asarray(other)).mean() > 0.99


class Net(nn.Module):
    classes: int = 10
    width: int = 4
    norm: bool = True

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(self.width, name="dense")(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        return Head(self.classes, name="classifier")(x)


class Head(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.classes, name="out")(nn.Dense(5, name="hidden")(x))


@pytest.fixture(scope="module")
def net():
    variables = Net().init(jax.random.key(0), jnp.zeros((1, 3)))
    return jax.tree.map(lambda array: np.asarray(array) + 1, variables)


def test_batch_statistics_are_of_the_trunk_and_a_nested_head_is_named_by_its_path(net):
    new = replace_head(Net(2), net, (3,), jax.random.key(1), head="classifier/out")
    np.testing.assert_array_equal(new["batch_stats"]["norm"]["mean"], net["batch_stats"]["norm"]["mean"])
    assert new["params"]["classifier"]["hidden"]["kernel"] is net["params"]["classifier"]["hidden"]["kernel"]
    assert new["params"]["classifier"]["out"]["kernel"].shape == (5, 2)
    whole = replace_head(Net(2), net, (3,), jax.random.key(1), head="classifier")
    assert not np.array_equal(
        whole["params"]["classifier"]["hidden"]["kernel"], net["params"]["classifier"]["hidden"]["kernel"]
    )


@pytest.mark.parametrize(
    ("model", "input_shape", "message"),
    [
        (
            Net(width=6),
            (3,),
            r"dense: bias of the trunk differs; expected \(6,\) in the new model, found \(4,\) in the",
        ),
        (Net(), (7,), r"dense: kernel of the trunk differs; expected \(7, 4\) in the new model, found \(3, 4\)"),
        (Net(norm=False), (3,), r"norm: .* of the trunk differs; expected nothing in the new model"),
    ],
)
def test_another_trunk_is_refused_with_its_layer(net, model, input_shape, message):
    with pytest.raises(ContractError, match=message):
        replace_head(model, net, input_shape, jax.random.key(1), head="classifier")


def test_a_trunk_with_a_layer_missing_is_refused(net):
    without = {"params": {name: layer for name, layer in net["params"].items() if name != "norm"}}
    with pytest.raises(ContractError, match=r"norm: .* of the trunk differs; expected \(4,\) .*, found nothing"):
        replace_head(Net(), without, (3,), jax.random.key(1), head="classifier")


def test_an_unknown_head_is_refused_with_the_nearest(net):
    with pytest.raises(
        ContractError, match=r"Net: no layer 'head'. Known: classifier/hidden, classifier/out, dense, norm"
    ):
        replace_head(Net(), net, (3,), jax.random.key(1))
    with pytest.raises(ContractError, match=r"no layer 'clasifier/out'. Did you mean 'classifier/out'\?"):
        replace_head(Net(), net, (3,), jax.random.key(1), head="clasifier/out")
