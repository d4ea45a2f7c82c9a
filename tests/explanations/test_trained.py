"""Explanations of a run that ended: files, shuffled weights, views, models of a user's own."""

import re
from pathlib import Path

import jax
import numpy as np
import PIL.Image
import pytest
import scipy.stats

import flaxcnn
from flaxcnn.adapters import adapt
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.explanations.explaining import explained
from flaxcnn.explanations.options import How
from flaxcnn.explanations.programs import Subject, spatial_endpoints
from flaxcnn.models.views import over_views


@pytest.fixture(scope="module")
def trained(tiny_run):
    return flaxcnn.load(tiny_run)


@pytest.fixture(scope="module")
def digits(small_split):
    return small_split[0][:12]


def test_the_python_of_the_docs_runs(tiny_run, digits, tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "explain.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    PIL.Image.fromarray(digits[0][:, :, 0]).save(tmp_path / "holiday.jpg")
    for shown, here in (
        ("runs/photos-001", tiny_run),
        ("holiday.jpg", tmp_path / "holiday.jpg"),
        ('"rain", b', '"3", b'),
    ):
        assert shown in block
        block = block.replace(shown, str(here))
    names = {"flaxcnn": flaxcnn, "images": digits[:2]}
    exec(block, names)
    assert names["found"].of == ("3", "3")
    assert names["overlay"](digits[0], names["found"].maps[0], signed=True).shape == (28, 28, 3)


def test_files_and_arrays_have_the_same_explanation_of_what_is_answered(trained, digits, tmp_path):
    for place, digit in enumerate(digits[:3]):
        PIL.Image.fromarray(digit[:, :, 0]).save(tmp_path / f"{place}.png")
    of_files = trained.explain([tmp_path / f"{place}.png" for place in range(3)])
    of_arrays = trained.explain(digits[:3])
    np.testing.assert_array_equal(of_files.maps, of_arrays.maps)
    assert of_arrays.maps.shape == (3, 28, 28)
    assert of_arrays.endpoint == "pool2"
    assert list(of_arrays.of) == [each["class"] for each in trained.predict(digits[:3])]
    np.testing.assert_allclose(of_arrays.values, trained.predictions(digits[:3])["logits"].max(1), rtol=1e-4)


@pytest.mark.parametrize("method", ["gradcam", "integrated_gradients", "occlusion"])
def test_an_image_alone_has_the_map_that_it_has_among_others(trained, digits, method):
    together = trained.explain(digits, method)
    alone = trained.explain(digits[7:8], method)
    np.testing.assert_allclose(together.maps[7], alone.maps[0], rtol=1e-3, atol=1e-4 * np.abs(alone.maps).max())


def with_weights(trained, change):
    variables = {**trained.variables, "params": jax.tree.map(change, trained.variables["params"])}
    return trained._replace(variables=variables)


@pytest.mark.parametrize(
    ("method", "endpoint"), [("gradcam", "conv2"), ("integrated_gradients", None), ("occlusion", None)]
)
def test_shuffled_weights_change_the_maps_and_a_little_noise_does_not(trained, digits, method, endpoint):
    """Adebayo et al., 2018: a map that stays where the weights are random says nothing of the model."""

    def likeness(other):
        found = other.explain(digits, method, endpoint, of="3").maps
        pairs = [(a.ravel(), b.ravel()) for a, b in zip(maps, found, strict=True) if np.ptp(a) and np.ptp(b)]
        return np.mean([scipy.stats.spearmanr(*pair)[0] for pair in pairs])

    rng = np.random.default_rng(0)
    maps = trained.explain(digits, method, endpoint, of="3").maps
    shuffled = with_weights(trained, lambda array: rng.permutation(np.ravel(array)).reshape(array.shape))
    noisy = with_weights(trained, lambda array: array + 1e-4 * rng.normal(size=array.shape).astype("f4"))
    assert abs(likeness(shuffled)) < 0.5
    assert likeness(noisy) > 0.9


def test_of_answers_over_views_the_image_itself_is_explained(trained, digits):
    views = trained._replace(model=over_views(trained.model, "flip"))
    np.testing.assert_array_equal(views.explain(digits[:2], of="3").maps, trained.explain(digits[:2], of="3").maps)


@pytest.mark.slow
def test_a_model_of_ones_own_is_explained_too():
    """Of NNX, with outputs alone: its pixels; with a name for an activation: that."""
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, classes=3, *, rngs):
            self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
            self.head = nnx.Linear(8 * 8 * 4, classes, rngs=rngs)

        def __call__(self, x):
            x = nnx.relu(self.conv(x))
            return self.head(x.reshape(len(x), -1)), {"conv": x}

    class Silent(Net):
        def __call__(self, x):
            return super().__call__(x)[0]

    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
    for kind, endpoints in ((Net, ["conv"]), (Silent, [])):
        model = adapt(kind, classes=3)
        variables = model.init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))
        subject = Subject(model, variables, flaxcnn.tasks.default_task(), ("a", "b", "c"), (8, 8, 1))
        assert [each.name for each in spatial_endpoints(subject)] == endpoints
        assert (explained(subject, images, How("integrated_gradients")).errors <= 0.01).all()
        if endpoints:
            assert explained(subject, images, How()).maps.shape == (2, 8, 8)
        else:
            with pytest.raises(ConfigError, match="names no activation"):
                explained(subject, images, How())


def test_what_cannot_be_explained_is_one_line(trained, digits, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    for given, said in (
        ([tmp_path / "broken.png"], "broken.png: "),
        ([], "images: no images"),
        (digits[0], r"images do not fit this model; expected uint8 \(N, 28, 28, 1\)"),
    ):
        with pytest.raises(DataError, match=said):
            trained.explain(given)
    with pytest.raises(ConfigError, match="of: not among what this model answers; found 10"):
        trained.explain(digits, of="10")
    broken = with_weights(trained, lambda array: array * np.float32("nan"))
    with pytest.raises(DataError, match="not finite"):
        broken.explain(digits)
