"""The paper's CNN has the paper's shapes, keeps its contract, and computes what SciPy computes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

from flaxcnn.contracts import Contract, assert_contract, check_variables
from flaxcnn.errors import ContractError
from flaxcnn.layers.pooling import MaxPool
from flaxcnn.models import contract_path, create, create_checked, fold, folded
from flaxcnn.models.paper_cnn import PaperCNN
from flaxcnn.training import adam, create_state, train_step
from tests.zoo import each

# By hand, from the paper's description of its network.
CONV1, CONV2, HEAD = 5 * 5 * 1 * 16 + 16, 5 * 5 * 16 * 32 + 32, 7 * 7 * 32 * 10 + 10
SHAPES = {
    "conv1": (28, 28, 16),
    "pool1": (14, 14, 16),
    "conv2": (14, 14, 32),
    "pool2": (7, 7, 32),
    "features": (1568,),
}


@pytest.fixture(scope="module")
def contract():
    return Contract.load(contract_path("paper_cnn"))


@pytest.fixture(scope="module")
def variables():
    """Weights that are neither small nor zero in the biases, so that each layer has an effect."""
    shapes = jax.eval_shape(PaperCNN().init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    random = np.random.default_rng(0)
    scale = {1: 1.0, 2: 0.05, 4: 0.1}
    return jax.tree.map(lambda x: (scale[x.ndim] * random.standard_normal(x.shape)).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((3, 28, 28, 1), np.float32)


def test_the_contract_declares_the_papers_shapes_and_parameters(contract):
    lines = {layer.path: layer for layer in contract.layers}
    for name, shape in SHAPES.items():
        assert [str(axis) for axis in lines[name].outputs[0]] == ["B", *map(str, shape)]
    assert [str(axis) for axis in lines["logits"].outputs[0]] == ["B", "K"]
    assert (CONV1, CONV2, HEAD) == (416, 12_832, 15_690)
    assert contract.parameters(classes=10) == CONV1 + CONV2 + HEAD == 28_938
    assert contract.parameters(classes=3) == CONV1 + CONV2 + 7 * 7 * 32 * 3 + 3


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 3000), classes=st.integers(1, 2000))
def test_any_batch_size_and_class_count_has_these_shapes(batch, classes):
    model = PaperCNN(classes)
    images = jax.ShapeDtypeStruct((batch, 28, 28, 1), jnp.float32)
    (logits, endpoints), variables = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    assert logits.shape == (batch, classes)
    expected = {name: (batch, *shape) for name, shape in SHAPES.items()} | {"logits": (batch, classes)}
    assert {name: array.shape for name, array in endpoints.items()} == expected
    check_variables(variables, Contract.load(contract_path("paper_cnn")), classes)


@settings(max_examples=5, deadline=None)
@given(classes=st.integers(1, 2000))
def test_the_contract_holds_for_any_class_count(classes):
    assert_contract(PaperCNN(classes), contract_path("paper_cnn"))


class Altered(nn.Module):
    """The paper's network, one layer at a time another one."""

    classes: int = 10
    filters: int = 32
    kernel: int = 5
    padding: int = 2
    pool: int = 2

    @nn.compact
    def __call__(self, x):
        endpoints = {}
        x = endpoints["conv1"] = nn.Conv(16, (5, 5), padding=2, name="conv1")(x)
        x = endpoints["pool1"] = MaxPool((self.pool, self.pool), name="pool1")(nn.relu(x))
        kernel = (self.kernel, self.kernel)
        x = endpoints["conv2"] = nn.Conv(self.filters, kernel, padding=self.padding, name="conv2")(x)
        x = endpoints["pool2"] = MaxPool((2, 2), name="pool2")(nn.relu(x))
        x = endpoints["features"] = x.reshape(x.shape[0], -1)
        x = endpoints["logits"] = nn.Dense(self.classes, name="head")(x)
        return x, endpoints


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filters": 33}, r"conv2: output changed; expected \(B, 14, 14, 32\), found \(B, 14, 14, 33\)"),
        ({"padding": 1}, r"conv2: output changed; expected \(B, 14, 14, 32\), found \(B, 12, 12, 32\)"),
        ({"kernel": 3, "padding": 1}, r"conv2: kernel changed; expected \(5, 5, 16, 32\), found \(3, 3, 16, 32\)"),
        ({"pool": 4}, r"pool1: output changed; expected \(B, 14, 14, 16\), found \(B, 7, 7, 16\)"),
    ],
)
def test_a_changed_layer_is_named(change, message, contract):
    assert_contract(Altered(), contract)
    with pytest.raises(ContractError, match=message):
        assert_contract(Altered(**change), contract)


def conv_by_definition(x_BHWC, layer):
    padded = np.pad(x_BHWC.astype(np.float64), ((0, 0), (2, 2), (2, 2), (0, 0)))
    kernel = layer["kernel"].astype(np.float64)
    maps = [
        [correlate(image, kernel[..., f], mode="valid", method="direct")[..., 0] for f in range(kernel.shape[-1])]
        for image in padded
    ]
    return np.moveaxis(np.array(maps), 1, -1) + layer["bias"]


def pool_by_definition(x_BHWC):
    return np.max([x_BHWC[:, i::2, j::2] for i in range(2) for j in range(2)], axis=0)


def network_by_definition(params, images):
    endpoints = {}
    x = images
    for number in (1, 2):
        x = endpoints[f"conv{number}"] = conv_by_definition(x, params[f"conv{number}"])
        x = endpoints[f"pool{number}"] = pool_by_definition(np.maximum(x, 0))
    x = endpoints["features"] = x.reshape(len(x), 1568)
    endpoints["logits"] = x @ params["head"]["kernel"].astype(np.float64) + params["head"]["bias"]
    return endpoints


def loss_by_definition(params, images, labels):
    logits = network_by_definition(params, images)["logits"]
    highest = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    return np.mean(log_sum - logits[np.arange(len(labels)), labels])


def test_each_endpoint_is_what_scipy_computes(variables, images):
    _, endpoints = PaperCNN().apply(variables, images)
    expected = network_by_definition(variables["params"], images)
    assert list(endpoints) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(endpoints[name], value, rtol=1e-5, atol=2e-5, err_msg=name)


def test_the_loss_changes_along_a_direction_as_its_gradient_says(variables, images):
    labels = np.array([3, 0, 9])

    def loss(params):
        logits, _ = PaperCNN().apply({"params": params}, images)
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    params = variables["params"]
    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    np.testing.assert_allclose(value, loss_by_definition(params, images, labels), rtol=1e-5)
    random = np.random.default_rng(2)
    for layer, name in [("conv1", "kernel"), ("conv1", "bias"), ("conv2", "kernel"), ("head", "kernel")]:
        direction = random.standard_normal(params[layer][name].shape)

        def moved(step, layer=layer, name=name, direction=direction):
            weights = params[layer][name].astype(np.float64) + step * direction
            return loss_by_definition({**params, layer: {**params[layer], name: weights}}, images, labels)

        step = 1e-8  # in double precision; longer ones cross kinks of the ReLUs and maxima
        slope = (moved(step) - moved(-step)) / (2 * step)
        np.testing.assert_allclose(
            np.vdot(gradient[layer][name], direction), slope, rtol=1e-5, err_msg=f"{layer}/{name}"
        )


def test_the_dense_layer_and_its_gradient_are_matrix_products():
    random = np.random.default_rng(3)
    x, kernel, bias, weights = (
        random.standard_normal(shape).astype(np.float32) for shape in ((4, 1568), (1568, 10), (10,), (4, 10))
    )

    def total(params, x):
        return jnp.vdot(weights, nn.Dense(10).apply({"params": params}, x))

    params = {"kernel": kernel, "bias": bias}
    np.testing.assert_allclose(nn.Dense(10).apply({"params": params}, x), x @ kernel + bias, rtol=1e-4, atol=1e-4)
    of_params, of_x = jax.grad(total, argnums=(0, 1))(params, x)
    np.testing.assert_allclose(of_params["kernel"], x.T @ weights, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(of_params["bias"], weights.sum(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(of_x, weights @ kernel.T, rtol=1e-5, atol=1e-5)


def test_training_and_evaluation_are_the_same_function(variables, images):
    trained, _ = PaperCNN().apply(variables, images, train=True)
    evaluated, _ = PaperCNN().apply(variables, images)
    np.testing.assert_array_equal(trained, evaluated)


def test_its_layers_start_as_pytorchs_do():
    params = jax.jit(PaperCNN().init)(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
    for layer, fan_in in (("conv1", 25), ("conv2", 400), ("head", 1568)):
        for array in params[layer].values():
            largest = np.abs(array).max() * np.sqrt(fan_in)
            assert 0.7 < largest <= 1 + 1e-6
            assert array.dtype == jnp.float32


def test_it_is_compiled_without_xlas_window_by_window_pooling():
    images = jnp.zeros((2, 28, 28, 1))
    variables = jax.eval_shape(PaperCNN().init, jax.random.key(0), images)
    assert "reduce_window" not in jax.jit(PaperCNN().apply).lower(variables, images).as_text()


def test_batch_normalisation_folds_into_the_papers_network(small_split):
    images, labels = small_split[0][:50], small_split[1][:50]
    state = create_state(create("paper_cnn_bn", 10), adam(0.01), (28, 28, 1))
    for _ in range(10):  # scales, shifts and statistics that are no longer those of the start
        state, _ = train_step(state, images, labels)
    expected, _ = state.model.apply(state.variables, jnp.asarray(images) / 255)
    model, variables = folded(state.model), fold(state.model, state.variables)
    assert model == PaperCNN()
    check_variables(variables, Contract.load(contract_path("paper_cnn")), classes=10)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 28_938
    found, _ = model.apply(variables, jnp.asarray(images) / 255)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_a_model_without_normalisation_folds_into_itself(variables):
    assert folded(PaperCNN()) == PaperCNN()
    assert jax.tree.all(jax.tree.map(lambda a, b: a is b, fold(PaperCNN(), variables), dict(variables)))


@pytest.mark.parametrize("name", ["paper_cnn_bn", "small_cnn"])
def test_the_recipes_models_keep_their_contracts(name):
    assert_contract(create(name, 10), contract_path(name))


@pytest.mark.parametrize("name", each())
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_model_is_checked_and_made_for_either_dtype(name, dtype):
    checked = create_checked(name, 7, dtype, image_shape=(28, 28, 1))
    assert checked.module == create(name, 7, dtype)
