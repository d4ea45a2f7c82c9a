"""A detector finds what it learned, ends with the same bits after a cut, and answers in pixels of the photograph."""

import json

import jax
import numpy as np
import PIL.Image
import pytest

import flaxcnn
from flaxcnn import Hook, config
from flaxcnn.cli.experiment import load_trained, parse_experiment
from flaxcnn.cli.training import TrainOptions
from flaxcnn.data import Dataset, Split
from flaxcnn.data.image_files import FileInfo
from flaxcnn.data.photographs.decoding import Shape, in_original, placement
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.models import MODELS, create
from flaxcnn.models.detector import detector_on
from flaxcnn.probing.division import Divided
from flaxcnn.probing.probe import task_of
from flaxcnn.runs.given import Given
from flaxcnn.runs.setup import set_up
from flaxcnn.tasks import Detection, create_task
from tests.detectors import Small

SIDE, COLOURS = 48, ((220, 40, 40), (40, 220, 40))


def drawn(count, seed):
    """Squares of two colours on a dark background, none to two in each image."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 40, (count, SIDE, SIDE, 3), np.uint8)
    boxes, classes = np.full((count, 2, 4), np.nan, np.float32), np.full((count, 2), -1, np.int32)
    for number, image in enumerate(images):
        for place in range(random.integers(0, 3) if number else 2):
            side = random.integers(10, 16)
            y, x = random.integers(0, SIDE - side, 2)
            classes[number, place] = kind = random.integers(0, 2)
            image[y : y + side, x : x + side] = COLOURS[kind]
            boxes[number, place] = y, x, y + side, x + side
    return Split(images, {"boxes": boxes, "classes": classes, "scale": np.ones(count, np.float32)})


NAMES = {"boxes": ("y0", "x0", "y1", "x1"), "classes": ("red", "green"), "scale": ("scale",)}
DATA = Dataset("drawn", drawn(192, 0), drawn(48, 1), NAMES, {"train": "0", "test": "1"})
EXPERIMENT = config.Experiment(
    data=config.Data(validation=0.2),
    task=config.Task("detection"),
    augmentation=config.Augmentation(flip=0.5, shift=4.0, scale=0.2),
    optimizer=config.Optimizer("adam", 4e-3),
    schedule=config.Schedule("cosine"),
    training=config.Training(epochs=20, batch_size=16),
    logging=config.Logging(every=40),
    checkpoint=config.Checkpoint(every=25),
)


def trained(folder, **options):
    return flaxcnn.train(EXPERIMENT, dataset=DATA, model=Small, out=folder, quiet=True, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("detection") / "whole")


@pytest.mark.slow
def test_it_finds_squares_and_counts_them(whole):
    assert whole.summary["test_ap50"] > 0.8
    assert whole.summary["test_main_box"] > 0.8
    found = json.loads((whole.folder / "test_metrics.json").read_text())
    assert found["classes"] == ["red", "green"]
    assert found["count_error"] < 0.5
    assert len(found["thresholds"]) == 2
    pictures = {"augmented.png", "counts.png", "precision_recall.png", "worst.png"}
    assert pictures <= {each.name for each in whole.folder.iterdir()}


@pytest.mark.slow
def test_cut_twice_it_ends_with_the_same_bits(whole, tmp_path):
    def interrupt(moment):
        raise KeyboardInterrupt

    for step in (30, 110):
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "cut", hooks=[Hook(step, interrupt)])
    cut = trained(tmp_path / "cut")
    for name in ("weights_sha256", "state_sha256", "metrics_sha256"):
        assert cut.summary[name] == whole.summary[name]


def test_answers_name_what_reaches_its_threshold_in_pixels_of_the_file():
    task = Detection(classes=2)
    predictions = {
        "boxes": np.float32([[[6, 0, 12, 12], [20, 20, 30, 40], [np.nan] * 4]]),
        "scores": np.float32([[0.9, 0.4, 0]]),
        "classes": np.int32([[1, 0, -1]]),
    }
    constants = {"thresholds": np.float32([0.5, 0.5]), "objects": np.float32(1)}
    predicted = flaxcnn.tasks.Predicted(None, predictions, constants, NAMES)
    (answer,) = task.answers(predicted, {}, 3)
    score = pytest.approx(0.9)
    assert answer == {
        "objects": [{"class": "green", "score": score, "box": [6, 0, 12, 12]}],
        "counts": {"red": 0, "green": 1},
    }
    moved = task.located(answer, lambda box: [2 * side for side in box])
    assert moved["objects"][0]["box"] == [12, 0, 24, 24]


def test_every_trunk_that_has_the_strides_carries_a_detector():
    image = jax.ShapeDtypeStruct((1, 96, 64, 3), np.float32)
    for name in ("efficientnet_lite0", "mobilenet_v3_small", "resnet18", "densenet121", "convnext_tiny"):
        model = detector_on(name, MODELS[name], 5, remat=False)
        outputs, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), image)[0]
        assert outputs.shape == (1, 12 * 8 + 6 * 4 + 3 * 2, 8 + 5)
        plain = jax.eval_shape(create(name, 7).init, jax.random.key(0), image)["params"]
        own = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
        assert set(own) == set(plain)  # the layers have the names that weights know


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": config.Model("paper_cnn")}, r"model\.name: a network that no detector can be built on.*paper_cnn"),
        ({"augmentation": config.Augmentation(mixup=0.2)}, r"augmentation\.mixup: the task detection does not use it"),
        ({"augmentation": config.Augmentation(augmix=1.0)}, r"augmentation\.augmix"),
        ({"model": config.Model("resnet18", tta="flip")}, r"model\.tta: the views of an image have other boxes"),
        ({"training": config.Training(label_smoothing=0.1)}, r"label_smoothing: the task detection does not use it"),
    ],
)
def test_what_it_cannot_do_is_refused_in_one_line(changes, message):
    asked = config.Experiment(**{"task": config.Task("detection"), **changes})
    with pytest.raises(ConfigError, match=message):
        set_up(asked, given=Given(dataset=DATA))


def test_it_is_no_head_and_no_probe_learns_it():
    with pytest.raises(ConfigError, match="a detector is no head beside others"):
        create_task(config.Task("several", heads=("a=detection", "b=regression")))
    with pytest.raises(DataError, match="a probe learns no boxes"):
        task_of(Divided.of(DATA))


def test_targets_that_are_no_boxes_are_refused():
    with pytest.raises(DataError, match=r"not boxes with their classes; .*Add --data\.target boxes"):
        Detection().check(np.zeros(3, np.int32), ("a",), "x training")
    nothing = {"boxes": np.full((2, 1, 4), np.nan), "classes": np.full((2, 1), -1), "scale": np.ones(2)}
    with pytest.raises(DataError, match="no box"):
        Detection().check(nothing, NAMES, "x training")


def test_a_source_of_boxes_alone_is_trained_as_detectors_are(tmp_path):
    random = np.random.default_rng(0)
    images = [{"id": number, "file_name": f"{number}.png", "width": 60, "height": 40} for number in range(12)]
    for each in images:
        PIL.Image.fromarray(random.integers(0, 256, (40, 60, 3), np.uint8)).save(tmp_path / each["file_name"])
    boxes = [{"id": at, "image_id": at, "category_id": 1 + at % 2, "bbox": [5, 5, 20 + at, 20]} for at in range(12)]
    names = [{"id": 1, "name": "red"}, {"id": 2, "name": "green"}]
    (tmp_path / "all.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": names}))
    words = [f"coco:{tmp_path / 'all.json'}", "--task", "detection", "--training.epochs", "7"]
    file, options = parse_experiment(TrainOptions, words, "", load_trained)
    chosen = options.experiment
    assert (chosen.data.target, chosen.data.size, chosen.data.fit) == (("boxes",), (320,), "letterbox")
    assert (chosen.model.name, chosen.model.init, chosen.task.name) == ("efficientnet_lite0", "imagenet", "detection")
    assert (chosen.augmentation.scale, chosen.augmentation.flip, chosen.augmentation.crop_padding) == (0.5, 0.5, 0)
    assert (chosen.optimizer.rates, chosen.schedule.name) == (("head=5",), "one_cycle")
    assert (chosen.training.epochs, chosen.training.head_epochs) == (7, 0)
    assert "training.epochs" not in file.chosen
    _, options = parse_experiment(TrainOptions, [*words, "--recipe", "scratch", "--data.size", "160"], "", load_trained)
    scratch = options.experiment
    assert (scratch.model.name, scratch.model.init) == ("efficientnet_lite0", None)
    assert scratch.augmentation.shift == 160 / 8


@pytest.mark.parametrize("fit", ["letterbox", "pad", "stretch", "crop"])
def test_a_box_goes_back_to_the_photograph(fit):
    info, shape = FileInfo("PNG", 100, 200, False, 8), Shape(60, 60, 3, fit)
    taken, shown = placement(info.height, info.width, shape)
    whole = in_original((shown.top, shown.left, shown.bottom, shown.right), info, shape)
    assert whole == pytest.approx(list(taken))
    middle = in_original((30, 30, 30, 30), info, shape)
    assert middle == pytest.approx([50, 100, 50, 100])
    assert in_original((-900, -900, 900, 900), info, shape) == [0, 0, 100, 200]  # clipped to the photograph
