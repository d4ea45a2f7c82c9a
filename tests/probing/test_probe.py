"""A probe learns of features what scikit-learn learns of them, in each fold, of images that are computed once."""

import json
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import PIL.Image
import pytest
from flax.traverse_util import flatten_dict
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import flaxcnn
from flaxcnn import config
from flaxcnn.cli.probing import probe as command
from flaxcnn.data import Options
from flaxcnn.data.photographs.cache import Cache
from flaxcnn.data.photographs.folds import fold_numbers
from flaxcnn.errors import ConfigError, DataError, FlaxcnnError, RunFolderError
from flaxcnn.evaluation.predictions import load_predictions
from flaxcnn.probing import features as features_module
from flaxcnn.probing import linear as linear_module
from flaxcnn.probing.division import divided
from flaxcnn.probing.examples import Examples
from flaxcnn.probing.features import digests_of, features_of, is_border
from flaxcnn.probing.heads import commonest, neighbours, tree
from flaxcnn.probing.linear import linear
from flaxcnn.probing.measure import measure
from flaxcnn.probing.network import find_network
from flaxcnn.probing.probe import options_for, probe, task_of
from flaxcnn.probing.report import table
from flaxcnn.tasks import Classification, Multilabel, Regression, measured

SIDE = 16
STARTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from flaxcnn.__main__ import main
sys.exit(main())
"""


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def noisy(random, shade, size=(SIDE, SIDE)):
    return np.clip(random.normal(shade, 40, (*size, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three classes, 20 images each, of about the same brightness: neither always right nor always wrong."""
    root, random = tmp_path_factory.mktemp("probed") / "photos", np.random.default_rng(0)
    for kind, shade in (("ant", 110), ("bee", 125), ("cat", 140)):
        for n in range(20):
            save(root / kind / f"{n:02}.png", noisy(random, shade + random.normal(0, 12)))
    return root


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory, light_programs):
    """A run of one step, with the training images' mean and deviation."""
    experiment = config.Experiment(
        data=config.Data(source=f"folder:{photos}"),
        model=config.Model("small_cnn", normalization="dataset"),
        training=config.Training(steps=1, batch_size=8),
        logging=config.Logging(every=1, test_examples=0),
    )
    return flaxcnn.train(experiment, out=tmp_path_factory.mktemp("run") / "run", quiet=True)


@pytest.fixture(scope="module")
def network(run):
    return find_network(str(run.folder), None)


def by_hand(run, images):
    """The features of images, as the model has them."""
    variables = run.variables
    constants = {name: np.asarray(variables["constants"][name]) for name in ("pixel_mean", "pixel_deviation")}
    pixels = (np.asarray(images, np.float32) / 255 - constants["pixel_mean"]) / constants["pixel_deviation"]
    learned = {name: tree for name, tree in variables.items() if name != "constants"}
    return np.asarray(run._setup.model.apply(learned, pixels, train=False)[1]["features"])


def logistic(c=0.01):
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=3000))


def test_features_are_those_of_the_trained_model_on_pixels_as_in_training(run, network, photos):
    data = divided(f"folder:{photos}", Options(), False)
    found = features_of(network, data.images)
    np.testing.assert_allclose(found.rows_NxF, by_hand(run, data.images), rtol=1e-4, atol=1e-5)
    assert found.computed == 60


def test_the_linear_head_is_scikit_learns_logistic_regression_in_each_fold(network, photos):
    found = probe(network, f"folder:{photos}", Options(folds=3), c=(0.1,))
    data = found.data
    x, y = features_of(network, data.images).rows_NxF, data.targets
    right = 0
    for part, fold in zip(data.parts, found.results["linear"].folds, strict=True):
        model = logistic(0.1).fit(x[part.train].astype(np.float64), y[part.train])
        logits = fold.predictions["logits"]
        np.testing.assert_allclose(
            np.exp(logits), model.predict_proba(x[part.test].astype(np.float64)), atol=1e-4
        )  # fmt: skip
        np.testing.assert_array_equal(fold.targets, y[part.test])
        right += (logits.argmax(1) == y[part.test]).sum()
    assert found.results["linear"].values["accuracy"] == pytest.approx(right / 60)
    tested = [data.names[place] for part in data.parts for place in part.test]
    assert sorted(tested) == sorted(data.names)
    assert found.results["commonest"].values["accuracy"] <= 1 / 3 + 1e-9
    low, high = found.results["linear"].intervals["accuracy"]
    assert low <= right / 60 <= high


def test_neighbours_are_those_of_scikit_learn_by_cosine(network, photos):
    data = divided(f"folder:{photos}", Options(test=0.3), False)
    x, y, part = features_of(network, data.images).rows_NxF, data.targets, data.parts[0]
    result = measure("neighbours", neighbours(7), Classification(), data, x, digests_of(data.images))
    model = KNeighborsClassifier(7, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07), algorithm="brute")
    wanted = model.fit(x[part.train].astype(np.float64), y[part.train]).predict_proba(x[part.test].astype(np.float64))
    np.testing.assert_allclose(np.exp(result.pooled.predictions["logits"]), np.clip(wanted, 1e-6, 1), atol=1e-5)


def examples(count=60, classes=3, seed=0):
    random = np.random.default_rng(seed)
    targets = random.integers(0, classes, count).astype(np.int32)
    features = (random.normal(size=(count, 6)) + targets[:, None]).astype(np.float32)
    return Examples(features, targets, [random.bytes(8).hex() for _ in range(count)])


def test_c_is_chosen_by_accuracy_in_folds_of_the_training_examples_alone():
    train, values = examples(), (10.0, 0.001, 0.1, 1e-6)
    said = linear(values)(Classification(), train, train.features[:1], None)
    folds = fold_numbers(train.digests, 5, train.targets.tolist())
    grid = {"logisticregression__C": sorted(values)}
    search = GridSearchCV(logistic(), grid, cv=PredefinedSplit(folds), scoring="accuracy")
    search.fit(train.features.astype(np.float64), train.targets)
    assert said.chosen == {"c": search.best_params_["logisticregression__C"]}
    validation = examples(seed=1)
    said = linear(values)(Classification(), train, train.features[:1], validation)
    right = [
        logistic(c).fit(train.features.astype(np.float64), train.targets).score(validation.features, validation.targets)
        for c in sorted(values)
    ]
    assert said.chosen == {"c": sorted(values)[int(np.argmax(right))]}


def test_what_did_not_converge_is_said_and_no_warning(monkeypatch, recwarn):
    monkeypatch.setattr(linear_module, "_ITERATIONS", 1)
    train = examples()
    said = linear((1000.0,))(Classification(), train, train.features, None)
    assert said.chosen == {"c": 1000.0, "not converged": 1}
    assert not recwarn.list


def test_weights_of_a_file_are_probed_with_pixels_of_imagenet_or_of_unit_range(network, photos, tmp_path):
    learned = {name: tree for name, tree in network.variables.items() if name != "constants"}
    flat = flatten_dict(learned, sep="/")
    np.savez(tmp_path / "w.npz", **flat)
    of_file = find_network("small_cnn", str(tmp_path / "w.npz"), normalization="imagenet")
    np.testing.assert_allclose(of_file.pixel_mean, (0.485, 0.456, 0.406))
    assert find_network("small_cnn", str(tmp_path / "w.npz"), normalization="unit").pixel_mean is None
    data = divided(f"folder:{photos}", Options(), False)
    moments = {"pixel_mean": of_file.pixel_mean, "pixel_deviation": np.asarray((0.229, 0.224, 0.225), np.float32)}
    same = network._replace(variables={**network.variables, "constants": moments}, digest="of imagenet")
    wanted = features_of(same, data.images).rows_NxF
    np.testing.assert_allclose(features_of(of_file, data.images).rows_NxF, wanted, rtol=1e-5, atol=1e-6)
    np.savez(tmp_path / "w.npz", **{name: array for name, array in flat.items() if "conv1" not in name})
    with pytest.raises(DataError, match="that these weights do not fit"):
        find_network("small_cnn", str(tmp_path / "w.npz")).features((SIDE, SIDE, 3))


def test_numbers_are_learned_by_ridge_regression_with_the_best_alpha():
    random = np.random.default_rng(0)
    train = examples()._replace(targets=random.normal(size=60).astype(np.float32))
    others = random.normal(size=(9, 6)).astype(np.float32)
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(1, 6, 11)))
    model.fit(train.features.astype(np.float64), train.targets.astype(np.float64))
    said = linear()(Regression(), train, others, None)
    np.testing.assert_allclose(said.predictions["numbers"][:, 0], model.predict(others.astype(np.float64)), rtol=1e-5)
    assert said.chosen == {"alpha": model[-1].alpha_}
    near = neighbours(1)(Regression(), train, train.features, None)
    np.testing.assert_allclose(near.predictions["numbers"][:, 0], train.targets, rtol=1e-6)
    mean = commonest(Regression(), train, others, None).predictions["numbers"]
    np.testing.assert_allclose(mean, train.targets.mean(), rtol=1e-5)


def test_each_label_is_a_regression_of_its_own_and_one_without_examples_is_no_fault():
    train = examples()
    labels = np.stack([train.targets == 0, train.targets > 0, np.zeros(60, bool), np.ones(60, bool)], 1)
    train = train._replace(targets=labels)
    said = linear((1.0,))(Multilabel(), train, train.features, None)
    logits = said.predictions["logits"]
    model = logistic(1.0).fit(train.features.astype(np.float64), labels[:, 0])
    np.testing.assert_allclose(logits[:, 0], model.decision_function(train.features.astype(np.float64)), atol=1e-3)
    assert (logits[:, 2] < 0).all()
    assert (logits[:, 3] > 0).all()
    for head in (neighbours(), commonest, tree):
        assert np.isfinite(head(Multilabel(), train, train.features, None).predictions["logits"]).all()


def test_a_class_without_a_training_example_is_never_predicted_and_no_fault(tmp_path, network):
    random = np.random.default_rng(0)
    for split, kinds in (("train", "ab"), ("test", "abc")):
        for kind in kinds:
            for n in range(4):
                save(tmp_path / split / kind / f"{n}.png", noisy(random, 60 * (1 + "abc".index(kind))))
    found = probe(network, f"folder:{tmp_path}")
    for key in ("linear", "neighbours", "commonest"):
        logits = found.results[key].pooled.predictions["logits"]
        assert logits.shape == (12, 3)
        assert np.isfinite(logits).all()
        assert not (logits.argmax(1) == 2).any()


def test_a_second_probe_calls_no_network_and_says_the_same(network, photos, monkeypatch):
    first = probe(network, f"folder:{photos}", Options(folds=3))

    def fail(*args):
        raise AssertionError("the network is called again")

    monkeypatch.setattr(features_module, "_computed", fail)
    lines = []
    again = probe(network, f"folder:{photos}", Options(folds=4, repeat=1), say=lines.append)  # other folds, same images
    assert lines[-1] == "features, kept from before: 60 images"
    assert len(again.data.parts) == 4
    same = probe(network, f"folder:{photos}", Options(folds=3))
    for key in first.results:
        assert same.results[key].values == first.results[key].values
    kept = [each for each in Cache.of_user().entries() if each.kind != "images" and str(photos) in each.source]
    assert [(each.images, each.kind) for each in kept] == [(60, f"rows of {first.features:,} features")]


def test_without_a_cache_nothing_is_kept(network, photos):
    Cache.of_user().clear()
    found = probe(network, f"folder:{photos}", Options(cache=False))
    assert not Cache.of_user().entries()
    assert found.results["linear"].values == probe(network, f"folder:{photos}").results["linear"].values


def test_the_border_is_an_eighth_of_each_side_and_is_masked_by_the_mean_colour(run, network, photos):
    border = is_border(16, 24)
    assert border[:2].all()
    assert border[:, :3].all()
    assert not border[2:14, 3:21].any()
    data = divided(f"folder:{photos}", Options(), False)
    images = np.asarray(data.images)
    masked = images.copy()
    masked[:, ~is_border(SIDE, SIDE)] = np.round(255 * network.pixel_mean).astype(np.uint8)
    found = features_of(network, data.images, "border").rows_NxF
    np.testing.assert_allclose(found, by_hand(run, masked), rtol=1e-4, atol=1e-5)


def shortcut_of(tmp_path, network, pixels, size=lambda kind: (SIDE, SIDE), **options):
    random = np.random.default_rng(1)
    for kind in range(2):
        for n in range(30):
            save(tmp_path / "ab"[kind] / f"{n}.png", pixels(random, kind, size(kind)))
    return probe(network, f"folder:{tmp_path}", Options(size=(SIDE,), folds=3, **options), shortcuts=True)


def test_a_class_that_the_border_tells_is_a_caution(tmp_path, network):
    def pixels(random, kind, size):
        picture = noisy(random, 128, size)
        picture[is_border(*size)] = 40 + 170 * kind
        return picture

    found = shortcut_of(tmp_path, network, pixels)
    assert found.results["border"].values["accuracy"] == 1
    assert [line for line in found.cautions if "the border alone" in line and "background" in line]
    assert found.cautions[0].startswith("accuracy 1.0000 (1.0000 to 1.0000) by the border alone")
    assert any(line.startswith("caution: accuracy 1.0000") for line in table(found))


def test_a_class_that_the_middle_tells_is_none(tmp_path, network):
    def pixels(random, kind, size):
        picture = noisy(random, 128, size)
        picture[4:12, 4:12] = 40 + 170 * kind
        return picture

    found = shortcut_of(tmp_path, network, pixels)
    assert found.results["middle"].values["accuracy"] == 1
    assert found.results["facts"].values["accuracy"] < 0.8  # the bytes of a PNG tell little
    assert not [line for line in found.cautions if "border" in line]


def test_a_class_that_the_files_tell_is_a_caution(tmp_path, network):
    found = shortcut_of(
        tmp_path, network, lambda random, kind, size: noisy(random, 128, size), lambda kind: (20, 24 + 8 * kind)
    )  # fmt: skip
    assert found.results["facts"].values["accuracy"] == 1
    # Of noise the whole image tells nothing by itself: what it adds to chance is little, and the files tell all.
    assert [line for line in found.cautions if "files' sizes" in line] or (
        found.results["linear"].values["accuracy"] <= found.results["commonest"].values["accuracy"]
    )


def test_groups_that_are_divided_are_shown_beside_whole_ones(tmp_path, network):
    random = np.random.default_rng(2)
    rows = ["file,depth,session"]
    for session in range(12):
        depth, shade = random.normal(), random.uniform(20, 235)
        for n in range(6):
            save(tmp_path / f"{session}_{n}.png", noisy(random, shade))
            rows.append(f"{session}_{n}.png,{depth:.4f},s{session}")
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    options = Options(target=("depth",), group="session", folds=4)
    found = probe(network, f"csv:{tmp_path / 't.csv'}", options, shortcuts=True)
    leak, whole = found.results["leak"], found.results["linear"]
    assert leak.values["r2"] > whole.values["r2"] + 0.2
    assert [line for line in found.cautions if "leaks" in line and f"{leak.values['r2']:.4f}" in line]
    for fold, part in zip(whole.folds, found.data.parts, strict=True):
        assert not {*found.data.groups[part.train]} & {*fold.groups_N}


def test_several_targets_are_learned_each_of_the_images_that_have_it(tmp_path, network):
    random = np.random.default_rng(3)
    rows = ["file,kind,area"]
    for n in range(40):
        shade = random.uniform(20, 235)
        save(tmp_path / f"{n}.png", noisy(random, shade))
        rows.append(f"{n}.png,{'ab'[shade > 128]},{'' if n % 4 == 0 else shade}")
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    options = Options(target=("kind", "area:number"), folds=4)
    found = probe(network, f"csv:{tmp_path / 't.csv'}", options, shortcuts=True)
    values = found.results["linear"].values
    assert values["kind_accuracy"] > 0.8
    assert values["area_r2"] > 0.8
    only = probe(network, f"csv:{tmp_path / 't.csv'}", Options(target=("kind",), folds=4))
    scores = found.task.scores(found.results["linear"].pooled.predicted())
    assert measured(scores, 40)["kind_accuracy"] == values["kind_accuracy"]
    assert only.task.name == "classification"


def test_the_numbers_and_the_predictions_are_written(network, run, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = (run.folder, f"folder:{photos}", "--data.folds", "3", "--out", "out", "--json", "n.json")
    assert command([str(word) for word in words]) == 0
    said = capsys.readouterr().out
    assert "measured  3 folds: each image once" in said
    assert "linear, c 0.01" in said
    assert "are the test split" not in said
    told = json.loads((tmp_path / "n.json").read_text())
    assert told == json.loads((tmp_path / "out" / "probe.json").read_text())
    found = probe(network, f"folder:{photos}", options_for(network, f"folder:{photos}", {"folds": 3}))
    assert told["results"]["linear"]["metrics"]["accuracy"] == found.results["linear"].values["accuracy"]
    assert len(told["results"]["linear"]["folds"]) == 3
    saved = load_predictions(tmp_path / "out" / "predictions-linear.npz")
    np.testing.assert_array_equal(saved.targets, found.results["linear"].pooled.targets)
    names = json.loads((tmp_path / "out" / "names.json").read_text())
    assert [name.partition("/")[0] for name in names] == [("ant", "bee", "cat")[target] for target in saved.targets]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "names.json", "predictions-commonest.npz", "predictions-linear.npz", "predictions-neighbours.npz", "probe.json",
    ]  # fmt: skip


def test_images_are_prepared_as_the_runs_were(network, photos):
    options = options_for(network, f"folder:{photos}", {"size": None, "fit": None, "folds": 2})
    assert (options.size, options.fit, options.channels, options.folds) == ((SIDE, SIDE), "crop", "rgb", 2)
    assert options_for(network, f"folder:{photos}", {"size": (9,), "fit": "stretch"}).fit == "stretch"
    assert options_for(network, "mnist", {}) == Options()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("RUN", "PHOTOS", "--neighbors", "3"), "--neighbors: unknown option. Did you mean '--neighbours'?"),
        (("RUN", "PHOTOS", "--neighbours", "0"), "--neighbours: out of range; expected at least 1, found 0"),
        (("RUN", "PHOTOS", "--c", "0.1", "-1"), "--c: out of range; expected numbers above 0"),
        (("RUN", "PHOTOS", "--data.fold", "1"), "data.fold: not without data.folds"),
        (("RUN", "PHOTOS", "--data.folds", "3", "--data.fold", "1"), "--data.fold: every fold is measured"),
        (("RUN", "PHOTOS", "--no_every_fold"), "--no_every_fold: not without folds"),
        (("RUN", "PHOTOS", "--data.folds", "99"), "data.folds: fewer different images than folds"),
        (("RUN", "PHOTOS", "--init", "imagenet"), "--init: not for a run"),
        (("RUN", "PHOTOS", "--json", "no/n.json"), "--json: no such folder"),
        (("RUN", "PHOTOS", "--out", "other"), "--out: the folder holds something else"),
        (("RUN", "PHOTOS", "--data.size", "24"), "small_cnn: images that these weights do not fit"),
        (("RUN", "PHOTOS", "--data.channels", "gray"), "images of other channels than the weights are for"),
        (("RUN", "SPLIT", "--data.folds", "2"), "has a validation split of its own"),
        (("RUN", "ONE"), "only one class"),
        (("RUN", "folder:nowhere"), "nowhere"),
        (("efficientnet_lite", "PHOTOS"), "neither a run nor a model"),
        (("resnet50", "PHOTOS"), "resnet50: no weights to probe"),
        (("other", "PHOTOS"), "not a run folder"),
        (("my.py:Net", "PHOTOS"), "a model of your own has weights in a run's folder"),
        (("efficientnet_lite0", "MNIST"), "of other channels than the weights are for; expected 3, found 1"),
        (("RUN", "PHOTOS", "--normalization", "unit"), "--normalization: these weights bring their own"),
        (("efficientnet_lite0", "PHOTOS", "--init", "other"), "--init: a folder, not a file of weights"),
        (("unfinished", "PHOTOS"), "this run has no weights yet"),
        ((), "NETWORK is missing"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(words, said, photos, run, tmp_path, monkeypatch, small_mnist):
    random = np.random.default_rng(0)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").touch()
    for split in ("train", "val"):
        for kind in "ab":
            save(tmp_path / "split" / split / kind / "1.png", noisy(random, 99))
    save(tmp_path / "one" / "a" / "1.png", noisy(random, 99))
    save(tmp_path / "one" / "a" / "2.png", noisy(random, 99))
    shutil.copytree(run.folder, tmp_path / "unfinished")
    (tmp_path / "unfinished" / "weights.npz").unlink()
    meant = {"RUN": run.folder, "PHOTOS": f"folder:{photos}", "SPLIT": "folder:split", "ONE": "folder:one",
             "MNIST": f"idx:{small_mnist}"}  # fmt: skip
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FlaxcnnError) as refused:
        command([str(meant.get(word, word)) for word in words])
    assert said in str(refused.value)
    assert refused.value.exit_code == 2
    assert sorted(tmp_path.iterdir()) == before


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    from flaxcnn.probing import extra

    monkeypatch.setattr(extra, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"scikit-learn is not installed\. Run pip install 'flaxcnn\[study\]'"):
        linear()


def test_weights_that_are_none_are_refused(run, tmp_path, photos):
    for number, arrays in enumerate(
        ({"params/head/kernel": np.ones((3, 2), np.float32), "params/head": np.ones(2)}, {"head": np.ones(2)}, {})
    ):
        copy = tmp_path / f"{number}"
        shutil.copytree(run.folder, copy)
        np.savez(copy / "weights.npz", **arrays)
        with pytest.raises((DataError, ConfigError, RunFolderError)):
            find_network(str(copy), None).features((SIDE, SIDE, 3))


def test_features_that_are_not_finite_are_refused_and_not_kept(network, photos):
    broken = jax.tree.map(lambda array: np.full_like(array, np.nan), dict(network.variables))
    broken = network._replace(variables=broken, digest="0" * 64)
    data = divided(f"folder:{photos}", Options(), False)
    before = len(Cache.of_user().entries())
    with pytest.raises(DataError, match="features that are not finite"):
        features_of(broken, data.images, "whole", Cache.of_user())
    assert len(Cache.of_user().entries()) == before


def test_the_task_is_that_of_the_targets(photos):
    assert task_of(divided(f"folder:{photos}", Options(), False)) == Classification()


@pytest.mark.slow
def test_ctrl_c_ends_a_probe_with_one_line_and_keeps_no_half_features(tmp_path, command_environment):
    random = np.random.default_rng(0)
    for n in range(40):
        save(tmp_path / "photos" / "ab"[n % 2] / f"{n}.png", noisy(random, 90 + 60 * (n % 2), (64, 64)))
    words = [sys.executable, "-c", STARTED, "probe", "efficientnet_lite0", "folder:photos"]
    environment = {**command_environment, "FLAXCNN_CACHE": str(tmp_path / "cache"), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words, cwd=tmp_path, env=environment, **pipes)
    while "the test split" not in process.stdout.readline():  # the network is compiled and called after it
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "flaxcnn: interrupted; saved files are kept"
    assert "Traceback" not in said
    assert not list((tmp_path / "cache" / "images").glob("*.new"))
    entries = Cache(tmp_path / "cache" / "images", 1 << 40).entries()
    assert [each.kind for each in entries] == ["images"]
    again = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0, again.stderr
    assert "features, 40 images in" in again.stdout


@pytest.mark.slow
def test_gray_images_get_the_colours_that_imagenet_weights_are_for(tmp_path):
    random = np.random.default_rng(0)
    for n in range(12):
        pixels = noisy(random, 60 + 120 * (n % 2), (40, 40))[..., 0]
        save(tmp_path / "ab"[n % 2] / f"{n}.png", pixels)
    network = find_network("efficientnet_lite0", None)
    source = f"folder:{tmp_path}"
    options = options_for(network, source, {"size": (32,)})
    assert (options.fit, options.channels) == ("imagenet", "rgb")
    assert probe(network, source, options).data.dataset.image_shape == (32, 32, 3)
    with pytest.raises(DataError, match="of other channels than the weights are for; expected 3, found 1"):
        probe(network, source, options_for(network, source, {"size": (32,), "channels": "gray"}))
