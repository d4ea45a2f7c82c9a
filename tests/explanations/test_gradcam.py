"""Grad-CAM by hand, at every endpoint, and what it says where it cannot."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flaxcnn
from flaxcnn.errors import ConfigError
from flaxcnn.explanations.divided import after
from flaxcnn.explanations.explaining import explained
from flaxcnn.explanations.options import How
from flaxcnn.explanations.programs import BATCH, gradients, spatial_endpoints
from flaxcnn.explanations.resizing import resized
from tests.explanations.nets import CLASSES, Around, Curved, Linear, Nested, Tiny, images_of, subject_of


def by_hand(subject, images, chosen):
    """Grad-CAM of `Tiny` in NumPy, with loops, at the endpoint's size."""
    params = jax.tree.map(np.asarray, subject.variables["params"])
    kernel, bias = params["conv"]["kernel"].astype(np.float64), params["conv"]["bias"]
    maps = []
    for image, name in zip(images / 255, chosen, strict=True):
        rows, columns = (image.shape[0] - 3) // 2 + 1, (image.shape[1] - 3) // 2 + 1
        active = np.zeros((rows, columns, 4))
        for row in range(rows):
            for column in range(columns):
                part = image[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
                active[row, column] = np.maximum((part[..., None] * kernel).sum((0, 1, 2)) + bias, 0)
        slope = params["head"]["kernel"][:, CLASSES.index(name)].reshape(rows, columns, 4)
        maps.append(np.maximum((active * slope.mean((0, 1))).sum(-1), 0))
    return np.stack(maps)


def test_an_endpoint_in_a_tree_has_the_names_that_lead_to_it():
    subject, images = subject_of(Nested(), seed=8), images_of(2)
    found = explained(subject, images, How(of="bee"))
    assert found.endpoint == "first.active"
    np.testing.assert_allclose(found.maps, resized(by_hand(subject, images, ["bee"] * 2), 9, 8), rtol=1e-4, atol=1e-5)


def test_it_is_what_a_hand_computes():
    subject, images = subject_of(Tiny(), seed=8), images_of(5)
    for name in CLASSES:
        found = explained(subject, images, How(of=name, endpoint="active"))
        wanted = by_hand(subject, images, [name] * 5)
        assert wanted.max() > 0
        np.testing.assert_allclose(found.maps, resized(wanted, 9, 8), rtol=1e-4, atol=1e-5)
        assert found.of == (name,) * 5
        assert (found.endpoint, found.signed, found.errors, found.steps) == ("active", False, None, None)


def test_without_a_name_it_is_of_the_answered_class_at_the_last_endpoint_with_cells():
    subject, images = subject_of(Tiny(), seed=4), images_of(6, seed=3)
    logits, _ = subject.model.apply(subject.variables, jnp.asarray(images / 255, jnp.float32))
    found = explained(subject, images, How())
    assert found.of == tuple(CLASSES[each] for each in logits.argmax(1))
    assert len(set(found.of)) > 1
    assert found.endpoint == "active"
    np.testing.assert_allclose(found.values, logits.max(1), rtol=1e-5)
    np.testing.assert_allclose(found.maps, resized(by_hand(subject, images, found.of), 9, 8), rtol=1e-4, atol=1e-5)


def test_maps_become_larger_as_jax_resizes_them():
    maps = np.random.default_rng(0).normal(size=(2, 3, 4))
    for height, width in ((3, 4), (6, 8), (10, 7)):
        wanted = jax.image.resize(jnp.asarray(maps, jnp.float32), (2, height, width), "bilinear")
        np.testing.assert_allclose(resized(maps, height, width), wanted, atol=1e-5)
    np.testing.assert_allclose(resized(np.array([[[0.0, 1.0]]]), 1, 4), [[[0, 0.25, 0.75, 1]]])


def test_a_shortcut_around_an_endpoint_does_not_count():
    subject, images = subject_of(Around(), names=("sum",)), images_of(3)
    pixels = images.astype(np.float32) / 255
    found = gradients(
        subject.model, subject.variables, 2 * pixels, pixels, np.zeros(3, np.int32), task=subject.task,
        endpoint="inside",
    )  # fmt: skip
    np.testing.assert_allclose(found, pixels, rtol=1e-6)  # of inside · images by inside, and not by the images too
    changed = np.ones_like(pixels)
    compute = after(subject.model.apply, "inside", subject.variables, pixels)
    np.testing.assert_allclose(compute(changed, subject.variables, pixels)[:, 0], pixels.sum((1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "how", "said"),
    [
        (Tiny(), How(endpoint="activ"), "endpoint: unknown endpoint; .*found activ. Did you mean 'active'?"),
        (Tiny(), How(endpoint="features"), "an activation with rows and columns, found features. Known: active"),
        (Tiny(), How(of="dog"), "of: not among what this model answers; found dog. Known: ant, bee, cat"),
        (Linear(), How(), "names no activation with rows and columns. Explain by another method"),
        (Around(1), How(endpoint="beside"), "the outputs do not depend on this endpoint; found beside"),
    ],
)
def test_what_is_not_there_is_one_line(model, how, said):
    subject = subject_of(model, names=CLASSES[: model.classes])
    with pytest.raises(ConfigError, match=said) as raised:
        explained(subject, images_of(1), how)
    assert "\n" not in str(raised.value)


def test_one_program_serves_all_numbers_of_images():
    subject = subject_of(Curved(), seed=7)
    explained(subject, images_of(BATCH + 1), How())
    before = gradients._cache_size()
    explained(subject, images_of(3 * BATCH - 2), How())
    assert gradients._cache_size() == before


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("paper_cnn", (28, 28, 1)),
        pytest.param("small_cnn", (16, 16, 3), marks=pytest.mark.slow),
        pytest.param("resnet18", (32, 32, 3), marks=pytest.mark.slow),
        pytest.param("shufflenet_v2_x1_0", (32, 32, 3), marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_small", (32, 32, 3), marks=pytest.mark.zoo),
        pytest.param("densenet121", (32, 32, 3), marks=pytest.mark.zoo),
    ],
)
def test_every_endpoint_of_the_zoo_has_the_gradient_of_the_chain_rule(name, shape, light_programs):
    """Along a direction of the pixels: the number's slope is the gradient at the endpoint times the endpoint's."""
    model = flaxcnn.create(name, classes=3)
    subject = subject_of(model, shape)
    endpoints = spatial_endpoints(subject)
    named = jax.eval_shape(model.apply, subject.variables, jnp.zeros((1, *shape)))[1]
    assert {each.name for each in endpoints} == {
        key for key, value in named.items() if value.ndim == 4 and value.shape[1] * value.shape[2] > 1
    }
    assert len(endpoints) >= 2
    images = images_of(1, shape)
    pixels = jnp.asarray(images / 255, jnp.float32)
    direction = jnp.asarray(np.random.default_rng(1).normal(0, 1, pixels.shape), jnp.float32)

    @jax.jit
    def slopes(pixels):
        return jax.jvp(lambda pixels: model.apply(subject.variables, pixels), (pixels,), (direction,))

    (_, at), (of_logits, of_endpoints) = slopes(pixels)
    chosen = np.array([2], np.int32)
    for each in endpoints:
        common = {"task": subject.task, "endpoint": each.name}
        found = gradients(model, subject.variables, at[each.name], pixels, chosen, **common)
        assert found.shape == (1, *each.shape)
        along = (found * of_endpoints[each.name]).sum((1, 2, 3))
        scale = jnp.linalg.norm(found) * jnp.linalg.norm(of_endpoints[each.name])
        np.testing.assert_allclose(along, of_logits[:, 2], atol=1e-4 * scale, err_msg=each.name)
        assert scale > 0
    for each in endpoints:
        maps = explained(subject, images, How(endpoint=each.name, of="cat")).maps
        assert maps.shape == (1, *shape[:2])
        assert (maps >= 0).all()
    assert explained(subject, images, How()).endpoint == endpoints[-1].name
