"""The practice of a training step: smoothing, weights, averages, parts of a batch, mixing, precision."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from flaxcnn.layers.augmentation import MixUp, RandomCrop, RandomFlip, RandomRotation
from flaxcnn.models import create
from flaxcnn.models.paper_cnn import PaperCNN
from flaxcnn.training import adam, create_state, train_step
from flaxcnn.training.hyperparameters import Hyperparameters
from flaxcnn.training.optimizer import adamw, sgd
from flaxcnn.training.schedules import Schedule
from flaxcnn.training.step import augmented_batch

pytestmark = pytest.mark.usefixtures("light_programs")


def parameters_of(state):
    return {"/".join(path): np.asarray(leaf) for path, leaf in _flat(state.params).items()}


def _flat(tree, path=()):
    if not isinstance(tree, dict):
        return {path: tree}
    return {key: leaf for name, branch in tree.items() for key, leaf in _flat(branch, (*path, name)).items()}


def after(small_split, steps=3, batch=40, first=0, **options):
    state = create_state(PaperCNN(), sgd(0.1), (28, 28, 1), **options)
    for step in range(steps):
        part = slice(first + step * batch, first + (step + 1) * batch)
        state, metrics = train_step(state, small_split[0][part], small_split[1][part])
    return state, metrics


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 8])
def test_a_batch_in_parts_makes_the_update_of_the_whole_batch(small_split, parts):
    options = {
        "augmentations": (RandomCrop(2), RandomRotation(20.0)),
        "mixup": MixUp(0.4),
        "hyperparameters": Hyperparameters.of(0.1, class_weights=np.linspace(0.5, 1.5, 10)),
    }
    whole, whole_metrics = after(small_split, **options)
    cut, cut_metrics = after(small_split, accumulate=parts, **options)
    for name in ("loss", "accuracy", "gradient_norm", "update_ratio"):
        assert float(cut_metrics[name]) == pytest.approx(float(whole_metrics[name]), rel=1e-4), name
    start = parameters_of(create_state(PaperCNN(), sgd(0.1), (28, 28, 1)))
    for name, expected in parameters_of(whole).items():
        moved = np.abs(expected - start[name]).max()
        np.testing.assert_allclose(parameters_of(cut)[name], expected, atol=2e-4 * moved, err_msg=name)


def test_batch_normalisation_sees_one_part_after_the_other(small_split):
    images, labels = small_split[0][:40], small_split[1][:40]
    model = create("paper_cnn_bn", 10)
    cut, _ = train_step(create_state(model, sgd(1e-9), (28, 28, 1), accumulate=2), images, labels)
    whole = create_state(model, sgd(1e-9), (28, 28, 1))
    for part in (slice(0, 20), slice(20, 40)):  # hardly any update: the weights are those of the start throughout
        whole, _ = train_step(whole, images[part], labels[part])
    expected = whole.batch_stats["norm2"]["mean"]
    np.testing.assert_allclose(cut.batch_stats["norm2"]["mean"], expected, atol=1e-6)
    assert np.abs(expected).max() > 1e-4


def test_the_average_is_the_one_computed_by_hand_and_is_what_is_evaluated(small_split):
    state = create_state(PaperCNN(), sgd(0.1), (28, 28, 1), hyperparameters=Hyperparameters.of(ema_decay=0.3))
    average = np.asarray(state.params["head"]["bias"], np.float64)
    for number in range(1, 7):
        state, _ = train_step(state, small_split[0][:20], small_split[1][:20])
        decay = min(0.3, (1 + number) / (10 + number))
        average = decay * average + (1 - decay) * np.asarray(state.params["head"]["bias"], np.float64)
    np.testing.assert_allclose(state.variables["params"]["head"]["bias"], average, atol=1e-6)
    assert not np.allclose(state.params["head"]["bias"], average, atol=1e-5)


def test_the_average_holds_the_batch_statistics_too(small_split):
    model = create("paper_cnn_bn", 10)
    state = create_state(model, sgd(0.1), (28, 28, 1), hyperparameters=Hyperparameters.of(ema_decay=0.9))
    state, _ = train_step(state, small_split[0][:20], small_split[1][:20])
    decay = 2 / 11  # after one update
    found = state.variables["batch_stats"]["norm1"]["mean"]
    np.testing.assert_allclose(found, (1 - decay) * state.batch_stats["norm1"]["mean"], rtol=1e-5)  # it started at 0


def test_the_loss_of_a_mixed_batch_is_shared_between_the_two_labels(small_split):
    images, labels = jnp.asarray(small_split[0][:30]), small_split[1][:30]
    state = create_state(PaperCNN(), sgd(0.1), (28, 28, 1), mixup=MixUp(1.0))
    batch = augmented_batch(state, images, jnp.asarray(labels))
    pixels, shares = np.asarray(images, np.float64) / 255, np.asarray(batch.shares, np.float64)
    mixed = shares[:, None, None, None] * pixels + (1 - shares)[:, None, None, None] * np.roll(pixels, -1, axis=0)
    np.testing.assert_allclose(batch.images, mixed, atol=1e-6)
    logits, _ = state.model.apply(state.variables, jnp.asarray(mixed, jnp.float32))
    of_class = -log_softmax(np.asarray(logits, np.float64), axis=1)
    rows = np.arange(30)
    expected = (shares * of_class[rows, labels] + (1 - shares) * of_class[rows, np.roll(labels, -1)]).mean()
    _, metrics = train_step(state, images, labels)
    assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)


def test_logged_norms_and_rate_are_those_of_the_update(small_split):
    schedule = Schedule("linear", total_steps=10)
    state = create_state(PaperCNN(), sgd(0.5, momentum=0.0, schedule=schedule), (28, 28, 1))
    for factor in (1.0, 0.9, 0.8):
        before = np.concatenate([leaf.ravel() for leaf in parameters_of(state).values()]).astype(np.float64)
        state, metrics = train_step(state, small_split[0][:20], small_split[1][:20])
        moved = np.concatenate([leaf.ravel() for leaf in parameters_of(state).values()]) - before
        assert float(metrics["learning_rate"]) == pytest.approx(0.5 * factor)
        assert float(metrics["gradient_norm"]) == pytest.approx(np.linalg.norm(moved) / (0.5 * factor), rel=1e-3)
        ratio = np.linalg.norm(moved) / np.linalg.norm(before)
        assert float(metrics["update_ratio"]) == pytest.approx(ratio, rel=1e-3)


def test_rate_decay_smoothing_dropout_weights_average_and_strengths_are_values_at_run_time(small_split):
    images, labels = small_split[0][:10], small_split[1][:10]
    sizes, ends = set(), []
    for value in (0.1, 0.2, 0.3):
        state = create_state(
            PaperCNN(),
            adamw(value, b1=1 - value, weight_decay=value, clip_norm=value),
            (28, 28, 1),
            augmentations=(RandomRotation(100 * value), RandomFlip(value)),
            mixup=MixUp(value),
            hyperparameters=Hyperparameters.of(value, value, np.full(10, value), value),
        )
        for _ in range(2):
            state, _ = train_step(state, images, labels)
        sizes.add(train_step._cache_size())
        ends.append(np.asarray(state.params["conv1"]["kernel"]))
    assert len(sizes) == 1
    assert not np.allclose(ends[0], ends[1])
    assert not np.allclose(ends[1], ends[2])


@pytest.mark.parametrize("name", ["label_smoothing", "dropout", "class_weights", "ema_decay", "focal_gamma"])
def test_each_value_at_run_time_counts(small_split, name):
    def ends(value):
        state = create_state(
            PaperCNN(),
            sgd(0.1),
            (28, 28, 1),
            hyperparameters=Hyperparameters.of(**{name: np.full(10, value) if name == "class_weights" else value}),
        )
        for _ in range(3):
            state, _ = train_step(state, small_split[0][:20], small_split[1][:20])
        return np.asarray(state.variables["params"]["conv2"]["kernel"])

    assert np.abs(ends(0.05) - ends(0.6)).max() > 1e-5


def test_dropout_of_rate_0_is_no_dropout(small_split):
    with_zero, _ = after(small_split, hyperparameters=Hyperparameters.of(dropout=0.0))
    without, _ = after(small_split)
    for name, expected in parameters_of(without).items():
        np.testing.assert_allclose(parameters_of(with_zero)[name], expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper_cnn", "small_cnn"])
def test_bfloat16_computes_in_16_bits_and_keeps_everything_else_in_32(small_split, name):
    images, labels = small_split[0][:10], small_split[1][:10]

    def losses(dtype, steps):
        state = create_state(create(name, 10, dtype), adam(), (28, 28, 1), hyperparameters=Hyperparameters.of())
        found = []
        for _ in range(steps):
            state, metrics = train_step(state, images, labels)
            found.append(float(metrics["loss"]))
        return state, found

    state, (first, *_, last) = losses("bfloat16", 10)
    _, (exact_first,) = losses("float32", 1)
    kept = (state.params, state.batch_stats, state.opt_state)
    assert {leaf.dtype for leaf in jax.tree.leaves(kept)} <= {jnp.dtype("float32"), jnp.dtype("int32")}
    assert first != exact_first
    assert first == pytest.approx(exact_first, rel=0.05)  # 8 bits of mantissa
    assert last < 0.9 * first
    text = train_step.lower(state, images, labels).as_text()
    convolves = ("stablehlo.convolution", "@flaxcnn_convolution")  # XLA's own, or oneDNN's
    results = [line.split("->")[-1] for line in text.splitlines() if any(each in line for each in convolves)]
    assert {re.findall(r"x([a-z]\w+)>", result)[-1] for result in results} == {"bf16"}


class Constant(nn.Module):
    """Logits that do not depend on the images."""

    @nn.compact
    def __call__(self, images, *, train=False):
        logits = jnp.broadcast_to(self.param("logits", nn.initializers.zeros, (3,)), (images.shape[0], 3))
        return logits, {"logits": logits}


def test_a_class_of_weight_0_is_not_learnt():
    weights = Hyperparameters.of(class_weights=[1.0, 1.0, 0.0])
    state = create_state(Constant(), sgd(1.0), (4, 4, 1), hyperparameters=weights)
    labels = np.array([0, 1, 2, 2])
    for _ in range(50):
        state, _ = train_step(state, np.zeros((4, 4, 4, 1), np.uint8), labels)
    probabilities = np.asarray(jax.nn.softmax(state.params["logits"]))
    np.testing.assert_allclose(probabilities[:2], 0.5, atol=0.01)


def test_a_state_is_arrays_alone_but_for_what_a_program_is_made_of(small_split):
    state = create_state(
        PaperCNN(), adam(), (28, 28, 1), augmentations=(RandomRotation(10.0),), hyperparameters=Hyperparameters.of(0.1)
    )
    assert all(isinstance(leaf, jax.Array) and not leaf.weak_type for leaf in jax.tree.leaves(state))
