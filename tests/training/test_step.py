"""One step is the arithmetic of the papers; a block of steps is the same steps, bit for bit."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.keys import Purpose, key_for
from flaxcnn.layers.augmentation import RandomCrop, augment
from flaxcnn.models.paper_cnn import PaperCNN
from flaxcnn.training import adam, create_state, train_block, train_step
from flaxcnn.training.batches import ResidentBatches
from flaxcnn.training.loop import MOST_STEPS

pytestmark = pytest.mark.usefixtures("light_programs")


class Linear(nn.Module):
    """One dense layer over the pixels: its gradient is written by hand below."""

    classes: int = 3

    @nn.compact
    def __call__(self, images, *, train=False):
        logits = nn.Dense(self.classes, name="head")(images.reshape(images.shape[0], -1))
        return logits, {"logits": logits}


def leaves_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def adam_by_hand(kernel, bias, batches, rate, b1, b2, eps):
    """Softmax regression by Adam in float64, as Kingma and Ba's Algorithm 1 says; returns parameters and losses."""
    parameters = [np.float64(kernel), np.float64(bias)]
    means, squares, losses = [0.0, 0.0], [0.0, 0.0], []
    for number, (images, labels) in enumerate(batches, 1):
        x = images.reshape(len(images), -1).astype(np.float64) / 255
        logits = x @ parameters[0] + parameters[1]
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        losses.append(-np.log(probabilities[np.arange(len(x)), labels]).mean())
        error = (probabilities - np.eye(logits.shape[1])[labels]) / len(x)
        for index, gradient in enumerate((x.T @ error, error.sum(0))):
            means[index] = b1 * means[index] + (1 - b1) * gradient
            squares[index] = b2 * squares[index] + (1 - b2) * gradient**2
            corrected = means[index] / (1 - b1**number), squares[index] / (1 - b2**number)
            parameters[index] = parameters[index] - rate * corrected[0] / (np.sqrt(corrected[1]) + eps)
    return parameters, losses


def test_steps_are_softmax_regression_by_adam_as_written_by_hand():
    generator = np.random.default_rng(0)
    batches = [(generator.integers(0, 256, (8, 4, 3, 1), np.uint8), generator.integers(0, 3, 8)) for _ in range(5)]
    settings = (0.05, 0.8, 0.95, 1e-6)
    state = create_state(Linear(), adam(*settings), (4, 3, 1), seed=1)
    head = jax.device_get(state.params["head"])
    (kernel, bias), losses = adam_by_hand(head["kernel"], head["bias"], batches, *settings)
    found = []
    for images, labels in batches:
        state, metrics = train_step(state, images, labels)
        found.append(float(metrics["loss"]))
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    np.testing.assert_allclose(state.params["head"]["kernel"], kernel, atol=2e-5)
    np.testing.assert_allclose(state.params["head"]["bias"], bias, atol=2e-5)
    assert int(state.step) == 5


def test_accuracy_is_the_fraction_of_the_batch_before_the_update(small_split):
    images, labels = small_split[0][:40], small_split[1][:40]
    state = create_state(PaperCNN(), adam(), (28, 28, 1))
    logits, _ = state.model.apply(state.variables, jnp.asarray(images, jnp.float32) / 255)
    expected = (np.argmax(np.asarray(logits), 1) == labels).mean()
    _, metrics = train_step(state, images, labels)
    assert float(metrics["accuracy"]) == pytest.approx(expected)


def test_bytes_and_the_floats_made_of_them_train_alike(small_split):
    images, labels = small_split[0][:50], small_split[1][:50]
    states = [create_state(PaperCNN(), adam(), (28, 28, 1)) for _ in range(2)]
    floats = jnp.asarray(images).astype(jnp.float32) / 255
    for each in (0, 1):
        for _ in range(3):
            states[each], _ = train_step(states[each], (images, floats)[each], labels)
    for a, b in zip(jax.tree.leaves(states[0].params), jax.tree.leaves(states[1].params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_loss_falls_on_a_batch_that_is_seen_again(small_split):
    state = create_state(PaperCNN(), adam(), (28, 28, 1))
    losses = []
    for _ in range(30):
        state, metrics = train_step(state, small_split[0][:50], small_split[1][:50])
        losses.append(float(metrics["loss"]))
    assert losses[0] == pytest.approx(np.log(10), abs=0.1)  # ten classes, nothing learnt
    assert losses[-1] < 0.3


def test_the_state_given_to_a_step_is_used_up():
    state = create_state(Linear(), adam(), (4, 3, 1))
    train_step(state, np.zeros((2, 4, 3, 1), np.uint8), np.zeros(2, np.int32))
    with pytest.raises(RuntimeError, match="deleted"):
        np.asarray(state.params["head"]["kernel"])


def test_another_learning_rate_compiles_nothing_and_counts():
    images, labels = np.ones((2, 4, 3, 1), np.uint8), np.zeros(2, np.int32)
    after = {}
    compiled = set()
    for rate in (0.1, 0.2):
        state = create_state(Linear(), adam(rate), (4, 3, 1))
        before = np.asarray(state.params["head"]["bias"])
        state, _ = train_step(state, images, labels)
        compiled.add(train_step._cache_size())
        after[rate] = np.asarray(state.params["head"]["bias"]) - before
    assert len(compiled) == 1
    np.testing.assert_allclose(after[0.2], 2 * after[0.1], rtol=1e-4)


@pytest.fixture(scope="module")
def resident(small_split):
    order = np.random.default_rng(3).permutation(1000).astype(np.int32)
    return ResidentBatches(*map(jnp.asarray, (*small_split, order)), jnp.int32(0), batch_size=50)


def in_blocks(batches, lengths):
    state = create_state(PaperCNN(), adam(), (28, 28, 1))
    losses = []
    for steps in lengths:
        state, found, metrics = train_block(state, batches, jnp.int32(steps), most_steps=MOST_STEPS)
        assert metrics["finite"]
        assert int(metrics["steps"]) == steps
        losses.append(np.asarray(found)[:steps])
        assert not np.asarray(found)[steps:].any()
    return state, np.concatenate(losses)


@pytest.fixture(scope="module")
def steps_200(resident):
    batches = resident.replace(batch_size=5)
    return batches, in_blocks(batches, [200])


@pytest.mark.parametrize("lengths", [[1] * 200, [7] * 28 + [4], [50] * 4, [3, 0, 117, 1, 1, 50, 28]])
def test_any_cut_into_blocks_gives_the_same_bits(steps_200, lengths):
    batches, (whole, whole_losses) = steps_200
    state, losses = in_blocks(batches, lengths)
    leaves_equal(state, whole)
    np.testing.assert_array_equal(losses, whole_losses)


def test_a_block_makes_the_steps_of_train_step_on_the_batches_of_the_order(resident):
    images, labels, order = (np.asarray(each) for each in (resident.images, resident.targets, resident.order))
    state = create_state(PaperCNN(), adam(), (28, 28, 1))
    for step in range(20):
        batch = order[50 * step : 50 * (step + 1)]
        state, _ = train_step(state, images[batch], labels[batch])
    leaves_equal(state, in_blocks(resident, [20])[0])


def test_a_healthy_block_leaves_nothing_that_jaxs_search_for_nans_finds(resident):
    with jax.debug_nans(True):
        in_blocks(resident, [3])


def test_a_blocks_program_talks_to_nobody(resident):
    state = create_state(PaperCNN(), adam(), (28, 28, 1))
    lowered = train_block.lower(state, resident, jnp.int32(1), most_steps=MOST_STEPS)
    text = lowered.compile().as_text()
    assert not [word for word in ("infeed", "outfeed", "send(", "recv(", "callback") if word in text]


def test_a_block_ends_before_the_update_that_is_not_finite(resident):
    images = resident.images.astype(jnp.float32) / 255
    flawed = resident.replace(images=images.at[resident.order[7 * 50 + 3], 5, 5, 0].set(jnp.nan))  # seen in step 7

    def block(steps):
        state = create_state(PaperCNN(), adam(), (28, 28, 1))
        return train_block(state, flawed, jnp.int32(steps), most_steps=20)

    state, losses, metrics = block(20)
    assert not metrics["finite"]
    assert int(state.step) == 7
    assert int(metrics["steps"]) == 8
    assert np.isfinite(losses[:7]).all()
    assert np.isnan(losses[7])
    assert not losses[8:].any()
    leaves_equal(state, block(7)[0])


def test_after_a_block_that_was_not_finite_no_step_is_made(resident):
    state = create_state(PaperCNN(), adam(), (28, 28, 1))
    before = jax.device_get(state)
    state, losses, metrics = train_block(state, resident, jnp.int32(5), jnp.bool(False), most_steps=20)
    assert not metrics["finite"]
    assert int(metrics["steps"]) == 0
    assert not losses.any()
    leaves_equal(jax.device_get(state), before)


def test_of_what_the_processes_tell_each_other_the_largest_comes_back(resident):
    state, process_flags = create_state(PaperCNN(), adam(), (28, 28, 1)), jnp.asarray([[7, 0], [9, 0], [8, 1]])
    _, _, metrics = train_block(state, resident, jnp.int32(1), process_flags=process_flags, most_steps=20)
    assert metrics["process_flags"].tolist() == [9, 1]


class Random(nn.Module):
    """Batch normalisation and dropout, the two things in a model that differ in training."""

    classes: int = 10

    @nn.compact
    def __call__(self, images, *, train=False):
        x = images.reshape(images.shape[0], -1)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        logits = nn.Dense(self.classes, name="head")(x)
        return logits, {"dropped": x, "logits": logits}


def test_statistics_are_those_of_the_augmented_batch(small_split):
    images, labels = small_split[0][:50], small_split[1][:50]
    state = create_state(Random(), adam(), (28, 28, 1), seed=4, augmentations=(RandomCrop(3),))
    key = key_for(4, Purpose.AUGMENTATION, 0)
    cropped = augment((RandomCrop(3),), key, jnp.asarray(images, jnp.float32) / 255).reshape(50, -1)
    state, _ = train_step(state, images, labels)
    found = state.batch_stats["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(found, 0.1 * np.asarray(cropped, np.float64).mean(0), atol=1e-6)
    assert not np.allclose(found, 0.1 * images.reshape(50, -1).mean(0) / 255, atol=1e-3)


def test_what_is_random_in_a_step_differs_between_steps_and_seeds_and_not_between_runs(small_split):
    images, labels = small_split[0][:50], small_split[1][:50]

    def losses(seed):
        state = create_state(Random(), adam(1e-12), (28, 28, 1), seed=0, augmentations=(RandomCrop(3),))
        state = dataclasses.replace(state, seed=jnp.uint32(seed))
        found = []
        for _ in range(3):
            state, metrics = train_step(state, images, labels)
            found.append(float(metrics["loss"]))
        return found

    assert losses(1) == losses(1)
    assert len({*losses(1), *losses(2)}) == 6  # the weights hardly move: what differs is dropout and crops
