"""Each optimizer is the algorithm of its paper, and its numbers are values at run time."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from flaxcnn.models import create
from flaxcnn.training.checkpoints import CheckpointStore, Metadata
from flaxcnn.training.optimizer import RuntimeOptimizer, adam, adamw, lion, sgd
from flaxcnn.training.schedules import Schedule

pytestmark = pytest.mark.usefixtures("light_programs")

STEPS = 20
SHAPES = {"kernel": (3, 4), "bias": (4,)}
RISE_AND_FALL = Schedule("linear", total_steps=STEPS, warmup_steps=4, final=0.1)
EVERY_KIND = {
    "adam": adam(0.01),
    "adamw": adamw(0.01, weight_decay=0.1),
    "sgd": sgd(0.01, weight_decay=0.1),
    "nesterov": sgd(0.01, nesterov=True, weight_decay=0.1),
    "lion": lion(0.01, weight_decay=0.1),
    "whole numbers": sgd(1, 0, weight_decay=0, clip_norm=1),
    "clipped and scheduled": adamw(0.01, clip_norm=0.5, schedule=RISE_AND_FALL),
}


def every_kind(test):
    return pytest.mark.parametrize("optimizer", EVERY_KIND.values(), ids=EVERY_KIND)(test)


def random_tree(seed, scale=1.0):
    generator = np.random.default_rng(seed)
    return {name: scale * generator.standard_normal(shape, np.float32) for name, shape in SHAPES.items()}


PARAMS = random_tree(99)
GRADIENTS = [random_tree(step, 0.1 if step % 2 else 1.0) for step in range(STEPS)]  # norms of about 0.4 and 4


def train(optimizer, params=PARAMS, gradients=GRADIENTS):
    """The parameters after one update by each of the gradients, and the optimizer's state."""

    @jax.jit
    def step(params, state, gradient):
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for gradient in gradients:
        params, state = step(params, state, gradient)
    return jax.device_get(params), state


def by_hand(rule, rate, decay=0.0, schedule=lambda step: 1.0):
    """The parameters after all gradients, in float64.

    `rule(number, rate, decay, parameter, gradient, memory)` returns the next parameter; updates are numbered from 1.
    """
    found = {}
    for name in SHAPES:
        parameter, memory = np.float64(PARAMS[name]), {"m": 0.0, "v": 0.0}
        of_this = decay if name == "kernel" else 0.0
        for step, gradient in enumerate(GRADIENTS):
            arguments = (step + 1, rate * schedule(step), of_this, parameter, np.float64(gradient[name]), memory)
            parameter = rule(*arguments)
        found[name] = parameter
    return found


def adam_rule(b1, b2, eps):
    """Kingma and Ba (2015), algorithm 1; with a decay, Loshchilov and Hutter (2019), algorithm 2, line 12."""

    def rule(number, rate, decay, parameter, gradient, memory):
        memory["m"] = b1 * memory["m"] + (1 - b1) * gradient
        memory["v"] = b2 * memory["v"] + (1 - b2) * gradient**2
        mean, square = memory["m"] / (1 - b1**number), memory["v"] / (1 - b2**number)
        return parameter - rate * (mean / (np.sqrt(square) + eps) + decay * parameter)

    return rule


def sgd_rule(momentum, nesterov):
    """The documentation of torch.optim.SGD, with a dampening of 0."""

    def rule(number, rate, decay, parameter, gradient, memory):
        gradient = gradient + decay * parameter
        memory["m"] = momentum * memory["m"] + gradient
        return parameter - rate * (gradient + momentum * memory["m"] if nesterov else memory["m"])

    return rule


def lion_rule(b1, b2):
    """Chen et al. (2023), algorithm 2."""

    def rule(number, rate, decay, parameter, gradient, memory):
        direction = np.sign(b1 * memory["m"] + (1 - b1) * gradient)
        memory["m"] = b2 * memory["m"] + (1 - b2) * gradient
        return parameter - rate * (direction + decay * parameter)

    return rule


def rise_and_fall(step):
    return (step + 1) / 4 if step < 4 else 1 - 0.9 * (step - 4) / 16


# The algorithms


@pytest.mark.parametrize(
    ("make", "rule", "decay"),
    [
        (lambda **more: adam(0.05, 0.8, 0.95, 1e-3, **more), adam_rule(0.8, 0.95, 1e-3), 0.0),
        (lambda **more: adamw(0.05, 0.8, 0.95, 1e-3, weight_decay=0.3, **more), adam_rule(0.8, 0.95, 1e-3), 0.3),
        (lambda **more: sgd(0.05, 0.8, weight_decay=0.3, **more), sgd_rule(0.8, False), 0.3),
        (lambda **more: sgd(0.05, 0.8, True, weight_decay=0.3, **more), sgd_rule(0.8, True), 0.3),
        (lambda **more: lion(0.05, 0.8, 0.95, weight_decay=0.3, **more), lion_rule(0.8, 0.95), 0.3),
    ],
    ids=["adam", "adamw", "sgd", "nesterov", "lion"],
)
def test_twenty_updates_are_the_papers_algorithm_with_and_without_a_schedule(make, rule, decay):
    for optimizer, factor in ((make(), lambda step: 1.0), (make(schedule=RISE_AND_FALL), rise_and_fall)):
        found, _ = train(optimizer)
        expected = by_hand(rule, 0.05, decay, factor)
        for name in SHAPES:
            np.testing.assert_allclose(found[name], expected[name], rtol=2e-5, atol=5e-6)


def test_adam_has_the_bits_of_optax_given_the_same_float32_hyperparameters():
    @jax.jit
    def optaxs(hyperparameters, gradient, state):
        return optax.adam(**hyperparameters).update(gradient, state)

    ours = adam()
    update = jax.jit(ours.update)
    state, optax_state = ours.init(PARAMS), optax.adam(1e-3).init(PARAMS)
    values = {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8}
    values = {name: jnp.float32(value) for name, value in values.items()}
    for gradient in GRADIENTS:
        found, state = update(gradient, state, PARAMS)
        expected, optax_state = optaxs(values, gradient, optax_state)
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_defaults_are_those_of_optax_and_adamws_decay_pytorchs():
    """To float32's resolution of 1 - b2, about 1e-5: optax, given Python's numbers, subtracts in float64."""
    pairs = [
        (adam(), optax.adam(1e-3)),
        (adamw(), optax.adamw(1e-3, weight_decay=1e-2, mask={"kernel": True, "bias": False})),
        (sgd(0.1), optax.sgd(0.1, 0.9)),
        (lion(), optax.lion(1e-4, weight_decay=1e-3, mask={"kernel": True, "bias": False})),
    ]
    for ours, optaxs in pairs:
        found, expected = train(ours)[0], train(optaxs)[0]
        for name in SHAPES:
            np.testing.assert_allclose(found[name] - PARAMS[name], expected[name] - PARAMS[name], rtol=1e-4, atol=5e-7)


# Clipping


def test_gradients_of_a_larger_norm_are_scaled_down_all_alike():
    params = {"kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}
    gradient = {"kernel": jnp.full((1, 1), 3.0), "bias": jnp.full(1, -4.0)}  # of norm 5
    found, _ = train(sgd(0.5, momentum=0.0, clip_norm=1.0), params, [gradient])
    np.testing.assert_allclose(found["kernel"], [[-0.5 * 3 / 5]], rtol=1e-6)
    np.testing.assert_allclose(found["bias"], [0.5 * 4 / 5], rtol=1e-6)


def test_gradients_are_clipped_before_the_decay_is_added():
    params = {"kernel": jnp.full((1, 1), 10.0)}
    optimizer = sgd(0.5, momentum=0.0, weight_decay=0.1, clip_norm=2.0)
    found, _ = train(optimizer, params, [{"kernel": jnp.full((1, 1), 8.0)}])
    np.testing.assert_allclose(found["kernel"], [[10 - 0.5 * (2 + 0.1 * 10)]], rtol=1e-6)


CLIPPED = sgd(1, momentum=0, clip_norm=2.5)
CLIPPED_UPDATE = jax.jit(CLIPPED.update)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3))
@settings(max_examples=100, deadline=None)
def test_the_norm_after_clipping_is_the_smaller_of_the_two(values):
    gradient = np.array(values, np.float32)
    gradient[np.abs(gradient) < 1e-15] = 0  # their squares are denormal, which a CPU may take for 0
    updates, _ = CLIPPED_UPDATE(gradient, CLIPPED.init(gradient), gradient)
    norm = np.linalg.norm(gradient.astype(np.float64))
    np.testing.assert_allclose(np.linalg.norm(np.float64(updates)), min(norm, 2.5), rtol=1e-5)


# Weight decay


@pytest.fixture(scope="module")
def ones():
    """The parameters of a model with batch normalisation, all of them 1."""
    model = create("wide_resnet10_1", 10)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    return jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)


@pytest.mark.parametrize(
    ("optimizer", "left"),
    [(EVERY_KIND[name], 1 - 0.01 * 0.1) for name in ("adamw", "sgd", "lion")]
    + [(EVERY_KIND["nesterov"], 1 - 0.01 * (0.1 + 0.9 * 0.1)), (EVERY_KIND["adam"], 1)],
    ids=["adamw", "sgd", "lion", "nesterov", "adam"],
)
def test_kernels_decay_and_biases_and_normalisations_do_not(optimizer, left, ones):
    found, _ = train(optimizer, ones, [jax.tree.map(np.zeros_like, ones)])
    names = set()
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        name = path[-1].key
        names.add(name)
        np.testing.assert_allclose(leaf, left if name == "kernel" else 1, rtol=0 if name != "kernel" else 1e-6)
    assert names == {"kernel", "bias", "scale"}  # a batch normalisation's is `scale`


# The schedule


def test_the_learning_rate_is_that_of_the_next_update():
    optimizer = sgd(0.2, momentum=0.0, schedule=RISE_AND_FALL)
    params, gradient = {"bias": jnp.zeros(1)}, {"bias": jnp.ones(1)}

    @jax.jit
    def step(state):
        updates, next_state = optimizer.update(gradient, state, params)
        return updates, optimizer.learning_rate(state), next_state

    state = optimizer.init(params)
    for number in range(STEPS + 3):
        updates, logged, state = step(state)
        np.testing.assert_allclose(logged, 0.2 * rise_and_fall(min(number, STEPS)), rtol=1e-5)
        assert (logged.dtype, logged.shape, logged.weak_type) == (jnp.float32, (), False)
        assert float(updates["bias"][0]) == -float(logged)
        np.testing.assert_array_equal(state.hyperparams["learning_rate"], np.float32(0.2))  # the peak stays


def test_a_decoupled_decay_follows_the_schedule():
    params, gradient = {"kernel": jnp.ones((1, 1))}, {"kernel": jnp.zeros((1, 1))}
    for make in (adamw, lion):
        found, _ = train(make(0.4, weight_decay=0.5, schedule=RISE_AND_FALL), params, [gradient] * 2)
        np.testing.assert_allclose(found["kernel"], [[(1 - 0.4 * 0.25 * 0.5) * (1 - 0.4 * 0.5 * 0.5)]], rtol=1e-6)


# Values at run time

CHANGES = {
    "adam": (adam, {"learning_rate": 0.02, "b1": 0.5, "b2": 0.9, "eps": 0.1, "clip_norm": 0.05}),
    "adamw": (adamw, {"learning_rate": 0.02, "weight_decay": 0.5, "b1": 0.5, "b2": 0.9, "eps": 0.1, "clip_norm": 0.05}),
    "sgd": (sgd, {"learning_rate": 0.02, "momentum": 0.5, "weight_decay": 0.5, "clip_norm": 0.05}),
    "lion": (lion, {"learning_rate": 0.02, "weight_decay": 0.5, "b1": 0.2, "b2": 0.5, "clip_norm": 0.05}),
}


@pytest.mark.parametrize(("make", "changes"), CHANGES.values(), ids=CHANGES)
def test_any_other_hyperparameter_compiles_nothing_and_counts(make, changes):
    update = jax.jit(lambda optimizer, gradient, state: optimizer.update(gradient, state, PARAMS), static_argnums=0)

    def updates_of(optimizer, **in_the_state):
        state = optimizer.init(PARAMS)
        values = {name: jnp.float32(value) for name, value in in_the_state.items()}
        state = state._replace(hyperparams={**state.hyperparams, **values})
        found = []
        for gradient in GRADIENTS:
            updates, state = update(optimizer, gradient, state)
            found.append(np.concatenate([updates[name].ravel() for name in SHAPES]))
        return np.stack(found)

    first = {"learning_rate": 0.01, "clip_norm": 1.0}
    before = updates_of(make(**first))
    assert set(make(**first).init(PARAMS).hyperparams) == set(changes)
    for name, value in changes.items():
        constructed = updates_of(make(**{**first, name: value}))
        np.testing.assert_array_equal(updates_of(make(**first), **{name: value}), constructed)
        assert (constructed != before).any()
    assert update._cache_size() == 1


def test_what_is_part_of_the_program_tells_optimizers_apart():
    different = [
        *EVERY_KIND.values(),
        adam(clip_norm=1.0),
        adam(schedule=RISE_AND_FALL),
        adam(schedule=Schedule("cosine", total_steps=STEPS)),
    ]
    assert len(set(different)) == len(different)
    assert adam(schedule=Schedule("cosine", total_steps=STEPS)) in different
    assert adam(0.5, clip_norm=3.0) in different


# The state


def types_of(tree):
    return [(leaf.dtype, leaf.shape, leaf.weak_type) for leaf in jax.tree.leaves(tree)]


@every_kind
def test_the_state_is_of_float32_and_int32_arrays_whose_types_no_update_changes(optimizer):
    state = optimizer.init(PARAMS)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert {dtype for dtype, _, _ in types_of(state)} == {jnp.dtype("float32"), jnp.dtype("int32")}
    assert not any(weak for _, _, weak in types_of(state))
    as_python = state._replace(hyperparams={name: float(value) for name, value in state.hyperparams.items()})
    for before in (state, as_python):
        _, after = jax.jit(optimizer.update)(GRADIENTS[0], before, PARAMS)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        assert types_of(after) == types_of(state)


def test_hyperparameters_are_float32_beside_parameters_of_half_of_it():
    """In bfloat16, 0.999 would be 1."""
    values = adam().init(jnp.ones(3, jnp.bfloat16)).hyperparams
    assert {name: value.dtype for name, value in values.items()} == dict.fromkeys(values, jnp.float32)
    np.testing.assert_array_equal(values["b2"], np.float32(0.999))


@every_kind
def test_a_loop_in_one_program_makes_the_same_updates(optimizer):
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *GRADIENTS)

    def one(carry):
        index, params, state = carry
        updates, state = optimizer.update(jax.tree.map(lambda leaf: leaf[index], stacked), state, params)
        return index + 1, optax.apply_updates(params, updates), state

    @jax.jit
    def loop(params, state):
        return lax.while_loop(lambda carry: carry[0] < STEPS, one, (jnp.int32(0), params, state))[1:]

    params, state = loop(PARAMS, optimizer.init(PARAMS))
    expected, expected_state = train(optimizer)
    assert int(state.count) == STEPS
    for found, wanted in zip(
        jax.tree.leaves((params, state)), jax.tree.leaves((expected, expected_state)), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@every_kind
def test_a_saved_state_goes_on_where_it_was(optimizer: RuntimeOptimizer, tmp_path):
    """The schedule included, for the number of updates is saved too."""
    whole, _ = train(optimizer)
    params, state = train(optimizer, gradients=GRADIENTS[:9])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = CheckpointStore(tmp_path / "checkpoints")
        store.save(state, Metadata(9, 0, {}, "", {}, {}, 0, 0.0, 0.0))
        restored = store.restore(9, jax.eval_shape(lambda: optimizer.init(PARAMS))).state
    assert int(restored.count) == 9
    assert types_of(restored) == types_of(state)

    @jax.jit
    def step(params, state, gradient):
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    for gradient in GRADIENTS[9:]:
        params, restored = step(params, restored, gradient)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(params), whole)
