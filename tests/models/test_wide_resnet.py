"""Wide residual networks have the sizes of their paper, and compute what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from flaxcnn.contracts import Contract, assert_contract
from flaxcnn.models import contract_path, create
from flaxcnn.models.wide_resnet import VARIANTS, WideResNet

pytestmark = pytest.mark.usefixtures("light_programs")


@pytest.mark.parametrize(
    ("depth", "width", "millions"),
    # Zagoruyko and Komodakis, Table 4: parameters on CIFAR-10.
    [
        (40, 1, 0.6),
        (40, 2, 2.2),
        (40, 4, 8.9),
        (40, 8, 35.7),
        (28, 10, 36.5),
        (28, 12, 52.5),
        (22, 8, 17.2),
        (16, 8, 11.0),
    ],
)
def test_parameters_are_as_many_as_in_the_paper(depth, width, millions):
    model = WideResNet(depth=depth, width=width)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6 == pytest.approx(millions, abs=0.051)


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_keeps_its_contract(name):
    assert_contract(create(name, classes=10), contract_path(name))
    assert str(Contract.load(contract_path(name)).parameters(10)) in {"77850", "10961370", "36479194"}


def batch_norm(x, own, statistics):
    return (x - statistics["mean"]) / np.sqrt(statistics["var"] + 1e-5) * own["scale"] + own["bias"]


def convolve(x, kernel, stride):
    padding = kernel.shape[0] // 2
    padded = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    maps = [correlate(padded, kernel[..., filter_], mode="valid")[..., 0] for filter_ in range(kernel.shape[-1])]
    return np.stack(maps, axis=-1)[::stride, ::stride]


def by_hand(image, params, statistics):
    """WRN-10-1 in evaluation, for one image, in SciPy and float64, from the figures of the paper."""
    x = convolve(image, params["conv1"]["kernel"], 1)
    for stage in (1, 2, 3):
        own, stats = params[f"stage{stage}_block1"], statistics[f"stage{stage}_block1"]
        stride = 1 if stage == 1 else 2
        normed = np.maximum(batch_norm(x, own["norm1"], stats["norm1"]), 0)
        shortcut = convolve(normed, own["shortcut"]["kernel"], stride) if "shortcut" in own else x
        y = convolve(normed, own["conv1"]["kernel"], stride)
        y = np.maximum(batch_norm(y, own["norm2"], stats["norm2"]), 0)
        x = shortcut + convolve(y, own["conv2"]["kernel"], 1)
    features = np.maximum(batch_norm(x, params["norm"], statistics["norm"]), 0).mean(axis=(0, 1))
    return features @ params["head"]["kernel"] + params["head"]["bias"]


@pytest.mark.slow
def test_the_logits_are_those_of_an_independent_network():
    model = WideResNet()
    images = jax.random.uniform(jax.random.key(1), (2, 12, 10, 3))
    variables = model.init(jax.random.key(0), images)
    generator = np.random.default_rng(0)
    # Statistics and scales as training leaves them, not the zeros and ones of the start.
    variables = jax.tree.map(lambda leaf: leaf + 0.3 * generator.uniform(size=leaf.shape).astype(np.float32), variables)
    logits, _ = model.apply(variables, images)
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
    expected = [by_hand(image, exact["params"], exact["batch_stats"]) for image in np.asarray(images, np.float64)]
    np.testing.assert_allclose(logits, expected, rtol=2e-4, atol=2e-4)


def test_dropout_differs_from_key_to_key_in_training_and_is_off_in_evaluation():
    model = WideResNet(dropout=0.5)
    images = jax.random.uniform(jax.random.key(1), (4, 8, 8, 1))
    variables = model.init(jax.random.key(0), images)

    def trained(seed):
        (logits, _), _ = model.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(seed)}
        )
        return np.asarray(logits)

    np.testing.assert_array_equal(trained(0), trained(0))
    assert not np.allclose(trained(0), trained(1))
    np.testing.assert_array_equal(model.apply(variables, images)[0], model.apply(variables, images)[0])
