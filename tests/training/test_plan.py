"""What a plan freezes does not move, has no gradient and no optimizer state; what begins later begins as in a first
step; and each part learns at its own rate.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from flaxcnn.layers.conv_norm import ConvNorm
from flaxcnn.training import Plan, adam, adamw, create_state, planned, sgd, train_step
from flaxcnn.training.hyperparameters import Hyperparameters

pytestmark = pytest.mark.usefixtures("light_programs")

RATE = 0.01


class Net(nn.Module):
    """Two convolutions with batch normalisation, dropout, a head."""

    @nn.compact
    def __call__(self, images, *, train=False):
        x = ConvNorm(4, (3, 3), train=train, strides=2, name="conv1")(images)
        x = nn.Conv(6, (3, 3), name="conv2")(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm2")(x)
        x = jnp.mean(nn.relu(x), axis=(1, 2))
        return nn.Dense(10, name="head")(x), {}


HEAD = ("head/kernel", "head/bias")
CONV1 = ("conv1/kernel", "conv1/scale", "conv1/bias")
CONV2 = ("conv2/kernel", "conv2/bias", "norm2/scale", "norm2/bias")
EVERY = (*CONV1, *CONV2, *HEAD)


def flat(tree):
    return {name: np.asarray(leaf) for name, leaf in flatten_dict(tree, sep="/").items()}


def start(optimizer, **options):
    return create_state(Net(), optimizer, (28, 28, 1), seed=3, **options)


def after(small_split, optimizer, steps=3, **options):
    """Return the parameters and statistics before, and the state after some steps."""
    state = start(optimizer, **options)
    before = flat(state.params), flat(state.batch_stats)
    for step in range(steps):
        part = slice(40 * step, 40 * step + 40)
        state, metrics = train_step(state, small_split[0][part], small_split[1][part])
        assert bool(metrics["finite"])
    return *before, state


@pytest.mark.parametrize("make", [sgd, adamw])
def test_frozen_layers_keep_every_bit_of_their_parameters_and_statistics(small_split, make):
    plan = Plan(((*CONV2, *HEAD),))
    params, stats, state = after(small_split, planned(make(RATE), plan))
    for name, array in flat(state.params).items():
        assert np.array_equal(array, params[name]) == name.startswith("conv1"), name
    for name, array in flat(state.batch_stats).items():
        assert np.array_equal(array, stats[name]) == name.startswith("conv1"), name


def test_frozen_parameters_have_no_optimizer_state():
    plan = Plan((HEAD,))
    state, whole = start(planned(adam(RATE), plan)), start(adam(RATE))
    size = sum(leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim)
    assert size == 2 * (6 * 10 + 10)  # two moments of the head
    assert sum(leaf.size for leaf in jax.tree.leaves(whole.opt_state) if leaf.ndim) == 2 * sum(
        leaf.size for leaf in jax.tree.leaves(whole.params)
    )


def flops(optimizer, images, labels):
    state = start(optimizer)
    return train_step.lower(state, images, labels).compile().cost_analysis()["flops"]


def test_frozen_parameters_have_no_gradient(small_split):
    images, labels = jnp.asarray(small_split[0][:40]), jnp.asarray(small_split[1][:40])
    whole = flops(adam(RATE), images, labels)
    head = flops(planned(adam(RATE), Plan((HEAD,))), images, labels)
    forward = (
        jax.jit(lambda variables, images: Net().apply(variables, images))
        .lower(start(adam(RATE)).variables, images / 255)
        .compile()
        .cost_analysis()["flops"]
    )
    assert forward <= head < 1.3 * forward < whole


def test_a_head_on_a_frozen_trunk_learns_as_a_linear_layer_on_its_features(small_split):
    """The same steps with optax and nothing of this library but the layers: features as in evaluation."""
    _, _, state = after(small_split, planned(adam(RATE), Plan((HEAD,))))
    variables = start(adam(RATE)).variables
    features = []

    def keep(method, arguments, options, context):
        if context.module.name == "head":
            features.append(arguments[0])
        return method(*arguments, **options)

    head, rule = variables["params"]["head"], optax.adam(RATE)
    kept = rule.init(head)
    for step in range(3):
        part = slice(40 * step, 40 * step + 40)
        with nn.intercept_methods(keep):
            Net().apply(variables, jnp.asarray(small_split[0][part]) / 255)

        def loss(head, x, labels):
            logits = x @ head["kernel"] + head["bias"]
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        gradients = jax.grad(loss)(head, features[-1], jnp.asarray(small_split[1][part]))
        updates, kept = rule.update(gradients, kept)
        head = optax.apply_updates(head, updates)
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(state.params["head"][name], head[name], rtol=1e-4, atol=1e-6)


def test_a_group_begins_with_its_step_and_as_a_first_step_of_adam(small_split):
    plan = Plan((HEAD, (*CONV1, *CONV2)), begins=(0, 2))
    params, stats, state = after(small_split, planned(adam(RATE), plan), steps=2)
    for name, array in flat(state.params).items():
        assert np.array_equal(array, params[name]) == (name not in HEAD), name
    assert all(np.array_equal(array, stats[name]) for name, array in flat(state.batch_stats).items())
    before = flat(state.params)
    state, _ = train_step(state, small_split[0][80:120], small_split[1][80:120])
    # Adam's first step is ±the learning rate, where the gradient is far above epsilon; a count that ran on since the
    # head began would make it up to three times as long.
    moved = np.abs(flat(state.params)["conv1/kernel"] - before["conv1/kernel"])
    assert moved.max() == pytest.approx(RATE, rel=1e-3)
    assert np.median(moved) == pytest.approx(RATE, rel=0.05)
    assert [int(group[0].count) for group in state.opt_state.groups] == [3, 1]
    assert int(state.opt_state.count) == 3


@pytest.mark.slow
def test_a_plan_that_trains_all_from_the_start_makes_the_updates_of_none(small_split):
    _, _, whole = after(small_split, adamw(RATE, weight_decay=0.1, clip_norm=0.5))
    _, _, state = after(small_split, planned(adamw(RATE, weight_decay=0.1, clip_norm=0.5), Plan((EVERY,))))
    expected = flat(whole.params)
    for name, array in flat(state.params).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-7, err_msg=name)


def moves(small_split, optimizer):
    params, _, state = after(small_split, optimizer, steps=1)
    return {name: array - params[name] for name, array in flat(state.params).items()}


def test_the_rate_decays_from_stage_to_stage_and_a_part_has_its_own(small_split):
    depths = (*((name, 2) for name in CONV1), *((name, 1) for name in CONV2), *((name, 0) for name in HEAD))
    plan = Plan((EVERY,), depths=depths, rated=(HEAD, ("conv2/kernel",)))
    found = moves(small_split, planned(sgd(1.0, 0.0), plan, layer_decay=0.5, rates=(10.0, 3.0)))
    plain = moves(small_split, sgd(1.0, 0.0))
    factors = {**dict.fromkeys(CONV1, 0.25), **dict.fromkeys(CONV2, 0.5), **dict.fromkeys(HEAD, 10.0)}
    factors["conv2/kernel"] = 1.5
    for name, factor in factors.items():
        rounding = 1e-6 * max(1, factor)  # of parameters of about 1
        np.testing.assert_allclose(found[name], factor * plain[name], atol=rounding, err_msg=name)
        if name != "conv2/bias":  # which the normalisation takes away again
            assert np.abs(found[name]).max() > 100 * rounding, name


def test_rates_are_values_of_the_state_that_compile_nothing(small_split):
    depths = tuple((name, 1) for name in CONV1)
    optimizers = [
        planned(sgd(rate, 0.9), Plan((EVERY,), depths=depths), layer_decay=decay)
        for rate, decay in ((0.1, 0.5), (0.2, 0.9))
    ]
    assert optimizers[0] == optimizers[1]
    assert jax.tree.structure(start(optimizers[0])) == jax.tree.structure(start(optimizers[1]))
    changed = optimizers[1].with_own_values(start(optimizers[0]).opt_state)
    assert float(changed.hyperparams["layer_decay"]) == np.float32(0.9)


def test_gradients_are_clipped_by_their_norm_over_all_groups_that_are_trained(small_split):
    optimizer = planned(sgd(1.0, 0.0, clip_norm=1e-3), Plan((HEAD, CONV2), begins=(0, 0)))
    found = moves(small_split, optimizer)
    norm = np.sqrt(sum(float(np.sum(np.square(array, dtype=np.float64))) for array in found.values()))
    assert norm == pytest.approx(1e-3, rel=1e-2)


def test_an_average_of_what_is_frozen_is_what_is_frozen(small_split):
    plan = Plan((HEAD,))
    params, stats, state = after(
        small_split, planned(adam(RATE), plan), hyperparameters=Hyperparameters.of(ema_decay=0.9)
    )
    average = flat(state.average["params"])
    for name, array in average.items():
        assert np.array_equal(array, params[name]) == (name not in HEAD), name
    assert not np.array_equal(average["head/kernel"], np.asarray(state.params["head"]["kernel"]))
    assert all(np.array_equal(array, stats[name]) for name, array in flat(state.average["batch_stats"]).items())


@pytest.mark.slow
def test_a_batch_in_parts_makes_the_update_of_the_whole_batch_of_what_is_trained(small_split):
    plan = Plan((HEAD,))  # the batch normalisation of what is trained would see one part at a time
    whole, cut = (moves_of(small_split, plan, parts) for parts in (1, 4))
    for name in HEAD:
        np.testing.assert_allclose(cut[name], whole[name], rtol=1e-4, atol=1e-7)


def moves_of(small_split, plan, parts):
    return flat(after(small_split, planned(sgd(RATE), plan), accumulate=parts)[2].params)
