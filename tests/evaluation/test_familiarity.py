"""Distances are Mahalanobis' of SciPy, with scikit-learn's shrunk covariance, of the model's own features."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import OAS

import flaxcnn
from flaxcnn.data import Split
from flaxcnn.evaluation import familiarity, predict
from flaxcnn.evaluation.familiarity import (
    MOST_FEATURES,
    distances,
    features_count,
    fit,
    predict_with_distance,
    projected,
    projection,
    shrunk_covariance,
)
from flaxcnn.models.views import OverViews
from flaxcnn.runs.familiar import some_of_each
from flaxcnn.tasks import default_task

SHAPE = (12, 12, 1)


class Small(nn.Module):
    """A network with few features; with `wide`, with more than are kept."""

    classes: int = 3
    wide: bool = False

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.relu(nn.Conv(40 if self.wide else 6, (3, 3), strides=3)(images))
        features = x.reshape(len(x), -1) if self.wide else x.mean((1, 2))
        return nn.Dense(self.classes, name="head")(features), {"features": features}


class Bare(nn.Module):
    classes: int = 3

    @nn.compact
    def __call__(self, images, *, train=False):
        return nn.Dense(self.classes)(images.reshape(len(images), -1)), {}


def split(count, seed=0, classes=3):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count).astype(np.int32)
    images = rng.integers(0, 120, (count, *SHAPE)) + 40 * labels[:, None, None, None]
    return Split(images.astype(np.uint8), labels)


def variables_of(model):
    return model.init(jax.random.key(0), jnp.zeros((1, *SHAPE)))


def fitted(model, train, validation, positions=None):
    variables = variables_of(model)
    positions = np.arange(len(train)) if positions is None else positions
    count = features_count(model, variables, SHAPE)
    return variables, count, fit(model, variables, train, positions, validation, count)


def test_the_distance_is_scipys_with_the_covariance_of_scikit_learn():
    model, train, validation = Small(), split(200), split(30, 1)
    variables, count, found = fitted(model, train, validation)
    assert count == 6

    def features(images):
        return np.asarray(model.apply(variables, images / np.float32(255))[1]["features"], np.float64)

    of_train = features(train.images)
    means = np.stack([of_train[train.targets == each].mean(0) for each in range(3)])
    covariance = OAS(assume_centered=True).fit(of_train - means[train.targets]).covariance_
    inverse = np.linalg.inv(covariance)
    wanted = [min(mahalanobis(each, mean, inverse) ** 2 for mean in means) for each in features(validation.images)]
    np.testing.assert_allclose(found.distances_M, wanted, rtol=1e-3)


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (3, 1), (400, 3)])
def test_the_shrunk_covariance_is_scikit_learns(shape):
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal(shape) * rng.uniform(0.1, 3, shape[1])
    wanted = OAS(assume_centered=True).fit(numbers).covariance_
    np.testing.assert_allclose(shrunk_covariance(numbers), wanted, rtol=1e-6, atol=1e-9)


def test_equal_vectors_have_no_covariance():
    assert shrunk_covariance(np.zeros((5, 3))) is None


def test_many_features_are_projected_so_that_distances_nearly_stay():
    signs = projection(3000)
    assert signs.shape == (3000, MOST_FEATURES)
    np.testing.assert_allclose(np.abs(signs), MOST_FEATURES**-0.5, rtol=1e-6)
    assert abs(signs.mean()) < 1e-4
    assert np.packbits(signs[0, :16] > 0, bitorder="little").tobytes().hex() == "5f82"  # on every machine
    vectors = np.random.default_rng(0).standard_normal((40, 3000)).astype(np.float32)
    before, after = (np.linalg.norm(each[:, None] - each[None], axis=2) for each in (vectors, vectors @ signs))
    apart = ~np.eye(40, dtype=bool)
    np.testing.assert_allclose(after[apart] / before[apart], 1, atol=0.15)
    assert projection(MOST_FEATURES) is None


def test_the_features_of_a_wide_model_are_projected_everywhere_alike():
    model, train, validation = Small(wide=True), split(120), split(20, 1)
    variables, count, found = fitted(model, train, validation)
    assert count == 640
    assert found.whitening_DxD.shape == (MOST_FEATURES, MOST_FEATURES)
    placed = found._replace(signs_FxD=projection(count))
    said = predict_with_distance(model, variables, validation.images, placed, task=default_task())
    np.testing.assert_allclose(said["distance"], found.distances_M, rtol=1e-3)
    own = projected(model, variables, validation.images, np.arange(20), count)
    np.testing.assert_allclose(distances(jnp.asarray(own, jnp.float32), found), found.distances_M, rtol=1e-3)


@pytest.mark.parametrize("views", ["none", "flip"])
def test_predictions_with_a_distance_are_those_without_bit_for_bit(views):
    model, train = Small(), split(60)
    variables, _, found = fitted(model, train, split(10, 1))
    over = model if views == "none" else OverViews(model, views)
    said = predict_with_distance(over, variables, train.images, found, task=default_task())
    np.testing.assert_array_equal(said["logits"], predict(over, variables, train.images)["logits"])
    plain = predict_with_distance(model, variables, train.images, found, task=default_task())
    np.testing.assert_allclose(said["distance"], plain["distance"], rtol=1e-5)  # of the image, not of its views


def test_pieces_of_images_give_what_all_at_once_give(monkeypatch):
    model, train = Small(), split(50)
    variables = variables_of(model)
    whole = projected(model, variables, train.images, np.arange(50), 6)
    monkeypatch.setattr(familiarity, "_PIECE_BYTES", 7 * 144)
    np.testing.assert_allclose(projected(model, variables, train.images, np.arange(50), 6), whole, rtol=1e-5)


def test_a_class_without_images_has_no_mean_and_no_label_none():
    train = split(90)
    labels = np.where(train.targets == 1, 0, train.targets)
    _, _, found = fitted(Small(), Split(train.images, labels.astype(np.int32)), split(9, 1))
    assert len(found.means_KxD) == 2
    _, _, few = fitted(Small(), train, split(9, 1), np.array([0]))
    assert few is None  # one image of a class says nothing of how they differ


def test_a_model_without_features_has_none():
    model = Bare()
    assert features_count(model, variables_of(model), SHAPE) is None


class Nested(Small):
    """A network of one's own whose endpoint is not an array."""

    pair: bool = False

    @nn.compact
    def __call__(self, images, *, train=False):
        features = nn.relu(nn.Conv(6, (3, 3), strides=3)(images)).mean((1, 2))
        nested = (features, features) if self.pair else {"pooled": features}
        return nn.Dense(self.classes, name="head")(features), {"features": nested}


@pytest.mark.parametrize("pair", [False, True])
def test_nor_has_one_that_nests_them(pair):
    model = Nested(pair=pair)
    assert features_count(model, variables_of(model), SHAPE) is None


@pytest.mark.parametrize(("count", "most"), [(1001, 101), (991, 100), (1000, 24), (30, 500)])
def test_of_classes_in_a_cycle_two_images_of_each_are_looked_at(count, most):
    classes = np.arange(count) % 10
    found = some_of_each(classes, most)
    assert len(found) == min(count, most)
    assert (np.diff(found) > 0).all()
    assert np.bincount(classes[found], minlength=10).min() >= 2
    np.testing.assert_array_equal(found, some_of_each(classes, most))


def test_the_area_of_the_benchmark_is_scikit_learns(tiny_run):
    import sklearn.metrics

    from benchmarks.unfamiliar import SCORES, areas, scores

    trained = flaxcnn.load(tiny_run)
    own = flaxcnn.data.load("mnist").test.images[:60]
    strange = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1), np.uint8)
    found, each = areas(trained, own, strange), (scores(trained, own), scores(trained, strange))
    for name in SCORES:
        wanted = sklearn.metrics.roc_auc_score([1] * 60 + [0] * 40, np.concatenate([side[name] for side in each]))
        assert found[name] == pytest.approx(wanted, abs=1e-12)
    assert found["features"] > 0.95  # noise is nothing like a digit
