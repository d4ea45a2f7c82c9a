"""A state follows from its seed alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.errors import ContractError
from flaxcnn.models import create
from flaxcnn.models.paper_cnn import PaperCNN
from flaxcnn.training import Hyperparameters, adam, create_state, train_step


def flat_params(seed):
    state = create_state(PaperCNN(), adam(), (28, 28, 1), seed=seed)
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(state.params)])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    np.testing.assert_array_equal(flat_params(3), flat_params(3))
    assert (flat_params(3) != flat_params(4)).mean() > 0.99


def test_a_state_starts_at_step_0_with_28938_parameters():
    state = create_state(PaperCNN(), adam(), (28, 28, 1))
    assert int(state.step) == 0
    # 5*5*1*16 + 16, 5*5*16*32 + 32, 1568*10 + 10
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == 416 + 12_832 + 15_690 == 28_938


def test_the_optimizers_settings_stand_in_the_state():
    state = create_state(PaperCNN(), adam(0.1, 0.2, 0.3, 0.4), (28, 28, 1))
    found = {name: float(value) for name, value in state.opt_state.hyperparams.items()}
    for name, value in {"learning_rate": 0.1, "b1": 0.2, "b2": 0.3, "eps": 0.4}.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6)


def drawn(model, seed):
    """A model's variables, its statistics too, of numbers that no initialisation draws."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: generator.uniform(0.1, 0.2, leaf.shape).astype(np.float32), dict(shapes))


def test_a_state_starts_from_the_variables_that_it_is_given():
    model = create("paper_cnn_bn", 10)
    variables = drawn(model, 1)
    average = Hyperparameters.of(ema_decay=0.9)
    state = create_state(model, adam(), (28, 28, 1), seed=5, hyperparameters=average, variables=variables)
    for found in (state.params, state.average["params"]):
        jax.tree.map(np.testing.assert_array_equal, found, variables["params"])
    for found in (state.batch_stats, state.average["batch_stats"]):
        jax.tree.map(np.testing.assert_array_equal, found, variables["batch_stats"])
    assert (int(state.step), int(state.seed)) == (0, 5)


def test_the_variables_that_a_state_started_from_are_not_used_up_by_its_steps():
    variables = jax.tree.map(jnp.asarray, drawn(PaperCNN(), 1))
    before = jax.device_get(variables)
    state = create_state(PaperCNN(), adam(), (28, 28, 1), variables=variables)
    train_step(state, np.zeros((2, 28, 28, 1), np.uint8), np.zeros(2, np.int32))
    jax.tree.map(np.testing.assert_array_equal, variables, before)


def other_shape(variables):
    variables["params"]["head"]["bias"] = np.zeros(7, np.float32)


def other_type(variables):
    variables["params"]["head"]["bias"] = np.zeros(10, np.float16)


def one_missing(variables):
    del variables["params"]["head"]["bias"]


def one_more(variables):
    variables["params"]["head"]["scale"] = np.zeros(10, np.float32)


def no_statistics(variables):
    del variables["batch_stats"]


@pytest.mark.parametrize(
    ("change", "where", "expected", "found"),
    [
        (other_shape, "params/head/bias", "((10,), 'float32')", "((7,), 'float32')"),
        (other_type, "params/head/bias", "((10,), 'float32')", "((10,), 'float16')"),
        (one_missing, "params/head/bias", "((10,), 'float32')", "none"),
        (one_more, "params/head/scale", "no such variable", "((10,), 'float32')"),
        (no_statistics, "batch_stats/norm1/mean", "((16,), 'float32')", "none"),
    ],
)
def test_variables_that_are_not_the_models_are_refused(change, where, expected, found):
    model = create("paper_cnn_bn", 10)
    variables = drawn(model, 1)
    change(variables)
    with pytest.raises(ContractError) as refused:
        create_state(model, adam(), (28, 28, 1), variables=variables)
    told = refused.value
    assert (told.where, told.expected, told.found) == (where, expected, found)


def test_constants_are_kept_as_they_are_and_pixels_lose_their_mean_before_the_model_sees_them():
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), np.uint8)
    labels = np.asarray([1, 2, 3, 4], np.int32)
    constants = {"pixel_mean": np.float32([0.25]), "pixel_deviation": np.float32([0.5])}
    state = create_state(PaperCNN(), adam(), (28, 28, 1), constants=constants)
    by_hand = create_state(PaperCNN(), adam(), (28, 28, 1))
    for _ in range(2):
        state, metrics = train_step(state, images, labels)
        by_hand, expected = train_step(by_hand, (images / np.float32(255) - 0.25) / 0.5, labels)
        assert float(metrics["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-5)
    assert set(state.variables) == {"params", "constants"}
    for name, value in constants.items():
        np.testing.assert_array_equal(state.variables["constants"][name], value)
