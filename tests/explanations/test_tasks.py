"""Each task says what can be explained of it: logits, margins of labels, numbers in their units, heads."""

import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.errors import ConfigError
from flaxcnn.explanations.explaining import explained
from flaxcnn.explanations.options import METHODS, How
from flaxcnn.tasks import Classification, Multilabel, Regression, Several
from tests.explanations.nets import CLASSES, Curved, images_of, subject_of
from tests.outside.ordinal import Ordinal

HEADS = {"kind": Classification(), "size": Regression(), "marks": Multilabel()}
TARGETS = {"kind": np.zeros(4, np.int32), "size": np.zeros((4, 2), np.float32), "marks": np.zeros((4, 2), bool)}
NAMES = {"kind": CLASSES, "size": ("area", "length"), "marks": ("wet", "torn")}
SCALE = {"target_mean": [10.0, -5.0], "target_deviation": [2.0, 4.0]}
IMAGES = images_of(6, seed=1)


def several():
    made = Several.of([f"{name}={name}" for name in HEADS], lambda name: HEADS[name])
    constants = {**{f"size.{name}": value for name, value in SCALE.items()}, "marks.thresholds": [0.5, -0.25]}
    return subject_of(Curved(7), task=made.fitted(TARGETS, NAMES), names=NAMES, constants=constants, seed=5)


def outputs_of(subject):
    return np.asarray(subject.model.apply(subject.variables, jnp.asarray(IMAGES / 255, jnp.float32))[0])


def test_labels_are_explained_by_what_their_logits_are_above_their_thresholds():
    names = ("wet", "torn", "old")
    subject = subject_of(
        Curved(), task=Multilabel(), names=names, constants={"thresholds": [0.5, -0.25, 0.0]}, seed=5
    )  # fmt: skip
    margins = outputs_of(subject) - np.float32([0.5, -0.25, 0.0])
    found = explained(subject, IMAGES, How())
    assert found.of == tuple(names[each] for each in margins.argmax(1))
    np.testing.assert_allclose(found.values, margins.max(1), rtol=1e-4, atol=1e-5)
    assert "old" not in found.of
    named = explained(subject, IMAGES, How(of="old"))
    np.testing.assert_allclose(named.values, margins[:, 2], rtol=1e-4, atol=1e-5)
    assert (named.maps != found.maps).any()


@pytest.mark.parametrize(
    ("count", "names", "called"), [(1, None, ["number"]), (2, None, ["number_1", "number_2"]), (2, ("x", "y"), "xy")]
)
def test_numbers_are_explained_in_their_units_the_first_where_none_is_named(count, names, called):
    constants = {name: value[:count] for name, value in SCALE.items()}
    subject = subject_of(Curved(count), task=Regression(), names=names, constants=constants, seed=5)
    numbers = outputs_of(subject) * np.float32(constants["target_deviation"]) + np.float32(constants["target_mean"])
    found = explained(subject, IMAGES, How())
    assert found.of == (called[0],) * 6
    np.testing.assert_allclose(found.values, numbers[:, 0], rtol=1e-5)
    last = explained(subject, IMAGES, How("integrated_gradients", of=called[-1], baseline="black"))
    at_black = subject.model.apply(subject.variables, jnp.zeros((1, 9, 8, 2)))[0][0, -1]
    change = (outputs_of(subject)[:, -1] - at_black) * constants["target_deviation"][-1]
    np.testing.assert_allclose(last.maps.sum((1, 2)), change, rtol=0.011)


def test_of_several_heads_one_is_named_or_one_of_its_numbers_and_else_the_first_answers():
    subject = several()
    outputs = outputs_of(subject)
    numbers = np.concatenate(
        [outputs[:, :3], outputs[:, 3:5] * np.float32([2, 4]) + np.float32([10, -5]), outputs[:, 5:] - [0.5, -0.25]], 1
    )
    names = ["kind.ant", "kind.bee", "kind.cat", "size.area", "size.length", "marks.wet", "marks.torn"]
    for of, wanted in (
        (None, numbers[:, :3].argmax(1)),
        ("kind", numbers[:, :3].argmax(1)),
        ("size", np.full(6, 3)),
        ("marks", 5 + numbers[:, 5:].argmax(1)),
        *((name, np.full(6, place)) for place, name in enumerate(names)),
    ):
        found = explained(subject, IMAGES, How(of=of))
        assert found.of == tuple(names[each] for each in wanted)
        np.testing.assert_allclose(found.values, numbers[np.arange(6), wanted], rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=r"of: not among what this model answers; found sizes\. Did you mean 'size'"):
        explained(subject, IMAGES, How(of="sizes"))


def test_of_your_own_task_the_largest_output_is_explained_or_the_one_that_is_named():
    subject = subject_of(Curved(3), task=Ordinal(), names=("a", "b", "c", "d"), seed=5)
    outputs = outputs_of(subject)
    found = explained(subject, IMAGES, How())
    assert found.of == tuple(f"output_{1 + each}" for each in outputs.argmax(1))
    second = explained(subject, IMAGES, How(of="output_2"))
    np.testing.assert_allclose(second.values, outputs[:, 1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_every_head(method):
    subject = several()
    endpoint = "first" if method == "gradcam" else None
    maps = [explained(subject, IMAGES[:2], How(method, endpoint, of=of)).maps for of in ("kind", "size", "marks.torn")]
    assert all(each.shape == (2, 9, 8) and each.dtype == np.float32 for each in maps)
    assert len({each.tobytes() for each in maps}) == 3
