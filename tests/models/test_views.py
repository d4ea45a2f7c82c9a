"""Test-time augmentation is the mean of the outputs over views that can be made by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

import flaxcnn
from flaxcnn import config
from flaxcnn.evaluation import evaluate
from flaxcnn.models import create
from flaxcnn.models.views import over_views, views_of

KEY = jax.random.key(2)


def test_flip_is_the_image_and_its_mirror_image():
    image = jnp.arange(6.0).reshape(1, 2, 3, 1)
    found = views_of(image, "flip")
    np.testing.assert_array_equal(found[0], image)
    np.testing.assert_array_equal(found[1][0, :, :, 0], [[2, 1, 0], [5, 4, 3]])


def test_ten_are_five_crops_scaled_back_and_their_mirror_images():
    image = np.random.default_rng(0).random((16, 24)).astype(np.float32)
    found = np.asarray(views_of(jnp.asarray(image)[None, :, :, None], "ten"))[:, 0, :, :, 0]
    assert found.shape == (10, 16, 24)
    for view, (top, left) in zip(found, [(1, 1), (0, 0), (0, 3), (2, 0), (2, 3)], strict=False):
        crop = PIL.Image.fromarray(image[top : top + 14, left : left + 21])
        expected = np.asarray(crop.resize((24, 16), PIL.Image.Resampling.BILINEAR))
        np.testing.assert_allclose(view, expected, atol=1e-5)
    np.testing.assert_array_equal(found[5:], found[:5, :, ::-1])


class Left(nn.Module):
    """Logits that only the left column decides."""

    @nn.compact
    def __call__(self, images, *, train=False):
        return nn.Dense(3, name="head")(images[:, :, 0, 0]), {}


def test_outputs_are_the_mean_over_the_views():
    model = Left()
    images = jax.random.uniform(KEY, (5, 4, 6, 1))
    variables = model.init(KEY, images)
    both = (images[:, :, 0, 0], images[:, :, -1, 0])
    expected = np.mean([x @ variables["params"]["head"]["kernel"] for x in both], axis=0)
    outputs, _ = over_views(model, "flip").apply(variables, images)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    _, predictions = evaluate(over_views(model, "flip"), variables, images, jnp.zeros(5, jnp.int32))
    np.testing.assert_allclose(predictions["logits"], expected, rtol=1e-5, atol=1e-6)
    assert over_views(model, "none") is model


def test_training_sees_no_views():
    model = create("paper_cnn", classes=4)
    images = jax.random.uniform(KEY, (2, 28, 28, 1))
    variables = model.init(KEY, images)
    options = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": KEY}}
    (plain, _), _ = model.apply(variables, images, **options)
    (viewed, _), _ = over_views(model, "ten").apply(variables, images, **options)
    np.testing.assert_array_equal(plain, viewed)


@pytest.mark.slow
def test_a_run_is_evaluated_and_predicts_over_views_and_trains_as_without(small_mnist, tmp_path):
    plain, viewed = (
        flaxcnn.train(
            config.Experiment(
                data=config.Data(source=f"idx:{small_mnist}"),
                model=config.Model(tta=each),
                training=config.Training(steps=3),
                logging=config.Logging(test_examples=0),
            ),
            out=tmp_path / each,
            quiet=True,
        )
        for each in ("none", "flip")
    )
    assert viewed.summary["weights_sha256"] == plain.summary["weights_sha256"]
    images = flaxcnn.data.load(f"idx:{small_mnist}").test.images
    mirrored = plain.predict(images[:, :, ::-1])["logits"]
    expected = (plain.predict(images)["logits"] + mirrored) / 2
    np.testing.assert_allclose(viewed.predict(images)["logits"], expected, rtol=1e-4, atol=1e-5)
    kept = np.load(viewed.folder / "predictions.npz")["logits"]
    np.testing.assert_allclose(kept, expected, rtol=1e-4, atol=1e-5)
