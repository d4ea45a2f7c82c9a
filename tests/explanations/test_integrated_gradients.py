"""Integrated gradients: exact for a linear model, complete to 1 % for others, at pixels and endpoints."""

import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.errors import ConfigError
from flaxcnn.explanations import integrated_gradients as module
from flaxcnn.explanations.explaining import baseline_of, explained
from flaxcnn.explanations.options import How
from tests.explanations.nets import CLASSES, Curved, Linear, images_of, subject_of

METHOD = "integrated_gradients"
NORMALISED = {"pixel_mean": [0.25, 0.5], "pixel_deviation": [0.5, 2.0]}


def logits_of(subject, pixels):
    """The model's own logits for pixels from 0 to 1."""
    constants = subject.variables["constants"]
    if constants:
        pixels = (pixels - np.asarray(constants["pixel_mean"])) / np.asarray(constants["pixel_deviation"])
    return np.asarray(subject.model.apply(subject.variables, jnp.asarray(pixels, jnp.float32))[0], np.float64)


@pytest.mark.parametrize(("baseline", "colour"), [("zero", [0.25, 0.5]), ("black", [0, 0]), ("white", [1, 1])])
def test_of_a_linear_model_it_is_the_weight_times_the_way_from_the_baseline(baseline, colour):
    subject, images = subject_of(Linear(), constants=NORMALISED), images_of(4)
    found = explained(subject, images, How(METHOD, of="bee", baseline=baseline))
    weights = np.asarray(subject.variables["params"]["head"]["kernel"])[:, 1].reshape(9, 8, 2) / [0.5, 2.0]
    np.testing.assert_allclose(found.maps, (weights * (images / 255 - colour)).sum(-1), rtol=1e-4, atol=1e-5)
    assert (found.errors < 1e-4).all()
    assert found.steps.tolist() == [32] * 4
    assert found.signed
    assert found.endpoint is None


@pytest.mark.parametrize("endpoint", [None, "first", "second"])
def test_its_sum_is_the_change_of_the_number_to_a_hundredth(endpoint):
    subject, images = subject_of(Curved(), constants=NORMALISED, seed=4), images_of(5)
    found = explained(subject, images, How(METHOD, endpoint=endpoint, steps=4))
    baseline = np.broadcast_to(np.float32([0.25, 0.5]), (9, 8, 2))
    np.testing.assert_array_equal(baseline_of(subject, "zero"), baseline)
    chosen = [CLASSES.index(name) for name in found.of]
    change = logits_of(subject, images / 255)[range(5), chosen] - logits_of(subject, baseline[None])[0, chosen]
    assert (found.errors <= 0.01).all()
    if endpoint != "second":  # whose map has another size than the image, and another sum
        sums = found.maps.sum((1, 2), dtype=np.float64)
        np.testing.assert_allclose(sums, change, rtol=0.0101)
        np.testing.assert_allclose(found.errors, np.abs(sums - change) / np.abs(change), atol=1e-3)
    np.testing.assert_allclose(found.values, logits_of(subject, images / 255)[range(5), chosen], rtol=1e-4)


def test_steps_are_doubled_where_they_do_not_suffice_and_what_remains_is_said(monkeypatch):
    subject, images = subject_of(Curved(), seed=4), images_of(6, seed=1)
    few = explained(subject, images, How(METHOD, steps=2, of="cat"))
    assert few.steps.max() > 2
    assert (few.errors <= 0.01).all()
    monkeypatch.setattr(module, "MOST_STEPS", 2)
    fewest = explained(subject, images, How(METHOD, steps=2, of="cat"))
    assert fewest.steps.tolist() == [2] * 6
    assert ((fewest.errors > 0.01) == (few.steps > 2)).all()
    assert (fewest.errors > 0.01).any()


def test_doubled_steps_are_the_same_as_that_many_from_the_start():
    subject, images = subject_of(Curved(), seed=4), images_of(3, seed=1)
    doubled = explained(subject, images, How(METHOD, steps=2, of="cat"))
    for place, steps in enumerate(doubled.steps):
        at_once = explained(subject, images[place : place + 1], How(METHOD, steps=int(steps), of="cat"))
        np.testing.assert_allclose(doubled.maps[place], at_once.maps[0], rtol=1e-3, atol=1e-6)


def test_an_image_that_is_the_baseline_is_explained_by_nothing():
    subject = subject_of(Curved())
    found = explained(subject, np.zeros((1, 9, 8, 2), np.uint8), How(METHOD))
    assert (found.maps == 0).all()
    assert found.errors.tolist() == [0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "gradcam", "steps": 8}, "steps: gradcam does not use it; expected integrated_gradients"),
        ({"method": METHOD, "patch": 2}, "patch: integrated_gradients does not use it; expected occlusion"),
        ({"method": METHOD, "steps": 1}, "steps: out of range; expected 2 to 2,048, found 1"),
        ({"method": METHOD, "baseline": "blue"}, "baseline: out of range; expected one of zero, black, white"),
        ({"method": "lime"}, "method: out of range; expected one of gradcam, integrated_gradients, occlusion"),
    ],
)
def test_an_option_that_is_wrong_is_one_line(options, said):
    with pytest.raises(ConfigError, match=said):
        How(**options)
