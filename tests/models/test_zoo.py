"""Every model of the library: its contract, its parameters, its endpoints, a step of training.

The numbers of parameters are those of the papers' reference implementations: torchvision 0.14, Keras 3, timm.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.contracts import Contract, check_contract
from flaxcnn.errors import FlaxcnnError
from flaxcnn.models import MODELS, contract_path, create
from flaxcnn.models.cost import multiply_adds
from flaxcnn.models.figures import MULTIPLY_ADDS
from flaxcnn.training import adamw
from tests.zoo import each


def shapes(model, size, batch=1):
    return jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((batch, *size), jnp.float32))


def initialised(model, size):
    def init():
        return model.init(jax.random.key(0), jnp.zeros((1, *size)))

    return jax.jit(init, compiler_options={"xla_backend_optimization_level": 1})()  # compiled in a third of the time


@pytest.mark.parametrize("name", each(mark=pytest.mark.slow))
def test_it_keeps_its_contract_and_has_as_many_parameters_as_the_paper_says(name):
    contract, variant = Contract.load(contract_path(name)), MODELS[name]
    assert contract.input_shape == variant.size
    check_contract(create(name, 10), contract)
    params = shapes(create(name, variant.classes), variant.size)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == variant.parameters


@pytest.mark.parametrize("name", each(mark=pytest.mark.slow))
def test_each_stage_has_the_stride_that_is_declared(name):
    variant, model = MODELS[name], create(name, 10)
    height, width, channels = variant.size
    more = 224  # pixels: a multiple of every stride, and of the windows of attention at every stride
    smaller, larger = (
        jax.eval_shape(
            lambda images: model.init_with_output(jax.random.key(0), images)[0][1],
            jax.ShapeDtypeStruct((2, height + grown, width + grown, channels), jnp.float32),
        )
        for grown in (0, more)
    )
    assert {"features", "logits", *variant.strides} <= set(smaller)
    assert smaller["features"].ndim == 2
    for stage, stride in variant.strides.items():
        before, after = smaller[stage].shape, larger[stage].shape
        assert after == (2, before[1] + more // stride, before[2] + more // stride, before[3]), (stage, before, after)


@pytest.mark.parametrize("name", each(mark=pytest.mark.slow))
def test_the_multiply_adds_on_record_are_those_of_its_program(name):
    found = multiply_adds(create(name, MODELS[name].classes), MODELS[name].size)
    assert MULTIPLY_ADDS[name] == found, "write the new figure into flaxcnn/models/figures.py"


def test_multiply_adds_are_those_that_torchvision_says():
    """In units of a thousand million, from the page of its models, of images of 224 pixels."""
    said = {"resnet18": 1.81, "resnet34": 3.66, "resnet50": 4.09, "resnet101": 7.80, "alexnet": 0.71}
    said |= {"vgg16": 15.47, "vgg16_bn": 15.47, "googlenet": 1.50, "inception_v3": 5.71}  # the last of 299 pixels
    for name, expected in said.items():
        assert round(MULTIPLY_ADDS[name] / 1e9, 2) == expected, name


@pytest.mark.parametrize("name", each())
def test_it_takes_a_step_on_the_smallest_images_and_says_where_they_are_too_small(name):
    variant = MODELS[name]
    model = create(name, 3)
    size = (variant.smallest, variant.smallest, variant.size[2])
    variables = initialised(model, size)
    count = 8  # so many that stochastic depth leaves out no block in all of them
    images = jnp.asarray(np.random.default_rng(0).random((count, *size)), jnp.float32)
    labels = jnp.arange(count) % 3

    @jax.jit
    def loss_and_gradient(params):
        def loss(params):
            (logits, _), updated = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(1)},
            )
            return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(count), labels]), updated

        return jax.value_and_grad(loss, has_aux=True)(params)

    (before, updated), gradients = loss_and_gradient(variables["params"])
    assert np.isfinite(before)
    flat = jax.tree_util.tree_leaves_with_path(gradients)
    assert all(np.isfinite(leaf).all() for _, leaf in flat)
    without = [
        jax.tree_util.keystr(path)
        for path, leaf in flat
        if path[-1].key != "conv_bias" and not np.abs(leaf).max() > 0  # a normalisation takes such a bias away
    ]
    assert not without, f"no gradient: {without[:5]}"
    for (_, old), (path, new) in zip(
        jax.tree_util.tree_leaves_with_path(variables.get("batch_stats", {})),
        jax.tree_util.tree_leaves_with_path(updated.get("batch_stats", {})),
        strict=True,
    ):
        assert np.abs(new - old).max() > 0, path


@pytest.mark.parametrize("name", each())
def test_images_that_are_too_small_are_refused_in_words(name):
    variant = MODELS[name]
    if variant.smallest == 1:
        pytest.skip("takes any size")
    model, size = create(name, 3), (variant.smallest - 1, variant.smallest - 1, variant.size[2])
    with pytest.raises(FlaxcnnError, match=str(variant.smallest)):
        shapes(model, size)


@pytest.mark.parametrize("name", each(mark=pytest.mark.slow))
def test_weight_decay_takes_kernels_alone(name):
    """Not what is added or scales a channel, and not the biases of positions in attention, which have two axes."""
    params = shapes(create(name, 3), MODELS[name].size)["params"]
    tiny = jax.tree.map(lambda leaf: jnp.ones((1,) * leaf.ndim), params)  # one number each
    rule = adamw(1.0, weight_decay=0.5)
    updates, _ = rule.update(jax.tree.map(jnp.zeros_like, tiny), rule.init(tiny), tiny)
    decayed = {path[-1].key for path, leaf in jax.tree_util.tree_leaves_with_path(updates) if float(leaf.sum()) != 0}
    assert decayed == {"kernel"}


@pytest.mark.parametrize("name", each(lambda variant: variant.remats))
def test_computing_blocks_again_changes_no_gradient(name):
    variant = MODELS[name]
    size = (variant.smallest, variant.smallest, variant.size[2])
    images = jnp.asarray(np.random.default_rng(0).random((2, *size)), jnp.float32)
    plain, again = (variant.create(classes=3, dtype=jnp.float32, remat=remat) for remat in (False, True))
    variables = initialised(plain, size)
    assert jax.tree.structure(shapes(again, size)) == jax.tree.structure(variables)

    def gradient(model):
        def loss(params):
            rngs = {"dropout": jax.random.key(1)}
            (logits, _), updated = model.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"], rngs=rngs
            )
            return (logits**2).sum(), updated

        return jax.jit(jax.grad(loss, has_aux=True))(variables["params"])

    expected, found = (jax.tree.leaves(gradient(model)) for model in (plain, again))
    largest = max(float(np.abs(leaf).max()) for leaf in expected)  # of a bias that a norm takes away, all is rounding
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * largest)
