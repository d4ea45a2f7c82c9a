"""The focal loss is the paper's formula, its gradients are finite, and 0 is the plain loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax

from flaxcnn.config import Experiment, Task, Training
from flaxcnn.data import Dataset, Split
from flaxcnn.errors import ConfigError
from flaxcnn.runs.given import Loaded
from flaxcnn.runs.setup import set_up
from flaxcnn.tasks import Classification, Multilabel
from flaxcnn.training import Hyperparameters

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (40, 5)).astype(np.float32)
LABELS = RNG.integers(0, 5, 40).astype(np.int32)
PRESENT = RNG.random((40, 5)) < 0.3


def classified(logits=LOGITS, labels=LABELS, **options):
    return Classification().losses(Hyperparameters.of(**options), {}, jnp.asarray(logits), jnp.asarray(labels))


def labelled(logits=LOGITS, present=PRESENT, **options):
    return Multilabel().losses(Hyperparameters.of(**options), {}, jnp.asarray(logits), jnp.asarray(present))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_of_a_class_it_is_minus_1_minus_p_to_the_gamma_times_log_p(gamma):
    p = softmax(LOGITS.astype(np.float64), axis=1)[np.arange(40), LABELS]
    np.testing.assert_allclose(classified(focal_gamma=gamma), -((1 - p) ** gamma) * np.log(p), rtol=1e-4, atol=1e-7)


def test_smoothing_weighs_the_focal_losses_of_all_classes_and_class_weights_multiply():
    p, weights = softmax(LOGITS.astype(np.float64), axis=1), np.array([1, 2, 0.5, 0, 3])
    wanted = 0.9 * np.eye(5)[LABELS] + 0.1 / 5
    expected = weights[LABELS] * -(wanted * (1 - p) ** 2 * np.log(p)).sum(1)
    found = classified(focal_gamma=2.0, label_smoothing=0.1, class_weights=weights)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_of_labels_presence_and_absence_each_count_less_the_surer_they_are(gamma):
    p = expit(LOGITS.astype(np.float64))
    weights = np.array([1, 2, 0.5, 0, 3])
    terms = np.where(PRESENT, -((1 - p) ** gamma) * np.log(p), -(p**gamma) * np.log(1 - p))
    found = labelled(focal_gamma=gamma, class_weights=weights)
    np.testing.assert_allclose(found, (weights * terms).mean(1), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_gradients_of_sure_predictions_are_finite(gamma):
    sure = np.float32([[80, -80, 0, 0, 0], [-80, 80, 0, 0, 0], [0, 0, 0, 0, 0]])
    for loss, targets in ((classified, np.int32([0, 0, 0])), (labelled, np.eye(5)[[0, 0, 0]] == 1)):
        losses, gradients = jax.vmap(
            jax.value_and_grad(lambda row, target, loss=loss: loss(row[None], target[None], focal_gamma=gamma)[0])
        )(sure, jnp.asarray(targets))
        assert np.isfinite(losses).all()
        assert np.isfinite(gradients).all()
        assert losses[1] > 10
        assert float(classified(sure[:1], np.int32([0]), focal_gamma=gamma)[0]) == 0


def test_a_label_out_of_range_still_has_no_loss():
    assert np.isnan(classified(labels=np.full(40, 7, np.int32), focal_gamma=2.0)).all()


def loaded(targets):
    split = Split(np.zeros((4, 8, 8, 1), np.uint8), targets)
    names = ("a", "b") if targets.dtype == np.int32 else ("grams",)
    return Loaded(Dataset("drawn", split, split, names, {}), split, None)


def test_gamma_is_a_runtime_value_and_0_leaves_it_out_of_the_program():
    classes = loaded(np.int32([0, 1, 0, 1]))

    def values(gamma):
        experiment = Experiment(training=Training(batch_size=2, focal_gamma=gamma))
        return set_up(experiment, classes).first_state().hyperparameters

    assert values(0.0).focal_gamma is None
    assert float(values(1.5).focal_gamma) == 1.5
    assert jax.tree.structure(values(1.5)) == jax.tree.structure(values(2.0))


def test_a_task_without_classes_refuses_it():
    experiment = Experiment(task=Task(name="regression"), training=Training(batch_size=2, focal_gamma=2.0))
    with pytest.raises(ConfigError, match=r"training\.focal_gamma: the task regression does not use it"):
        set_up(experiment, loaded(np.float32([[1], [2], [3], [4]])))


def test_an_exponent_out_of_range_is_refused():
    with pytest.raises(ConfigError, match=r"training\.focal_gamma: out of range; expected 0 to 100, found -1"):
        Training(focal_gamma=-1)
