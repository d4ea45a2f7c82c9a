"""An experiment is typed data: wrong values are refused by name, and files and JSON keep every field."""

import json
import math

import pytest

from flaxcnn.config import (
    Augmentation,
    Checkpoint,
    Data,
    Experiment,
    Logging,
    Model,
    Optimizer,
    Schedule,
    Task,
    Training,
    from_json,
    load_experiment,
    to_json,
)
from flaxcnn.errors import ConfigError


def test_the_defaults_are_the_papers_run():
    experiment = Experiment()
    assert (experiment.training.epochs, experiment.training.batch_size) == (1, 50)
    assert (experiment.optimizer.learning_rate, experiment.data.source, experiment.model.name) == (
        0.001,
        "mnist",
        "paper_cnn",
    )
    assert (experiment.logging.every, experiment.logging.test_examples) == (50, 2000)


def test_the_papers_config_is_the_default_and_prints_its_table():
    file = load_experiment("paper_mnist")
    assert file.name == "paper_mnist"
    assert file.experiment == Experiment()
    # Table 1 of the paper, its 24 rows.
    assert [row.step for row in file.published] == list(range(0, 1200, 50))
    assert [row.train_loss for row in file.published] == [
        *(2.3034, 0.4083, 0.5555, 0.2239, 0.1272, 0.1649, 0.0559, 0.1248, 0.0344, 0.1005, 0.1840, 0.0937),
        *(0.0188, 0.1433, 0.0942, 0.2115, 0.0398, 0.0506, 0.0998, 0.0221, 0.1979, 0.0303, 0.0221, 0.0762),
    ]
    assert [row.test_metric for row in file.published] == [
        *(0.12, 0.83, 0.87, 0.90, 0.93, 0.94, 0.95, 0.95, 0.96, 0.96, 0.97, 0.97),
        *(0.97, 0.97, 0.97, 0.96, 0.96, 0.97, 0.98, 0.98, 0.98, 0.98, 0.98, 0.97),
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Training(batch_size=0), "training.batch_size: out of range; expected at least 1, found 0"),
        (lambda: Training(epochs=0), "training.epochs: out of range; expected at least 1, found 0"),
        (lambda: Training(steps=0), "training.steps: out of range; expected at least 1, found 0"),
        (lambda: Training(seed=-1), "training.seed: out of range; expected 0 to 2**32 - 1, found -1"),
        (lambda: Training(epochs=1.5), "training.epochs: wrong type; expected a whole number, found 1.5"),
        (lambda: Training(epochs=True), "training.epochs: wrong type; expected a whole number, found True"),
        (
            lambda: Optimizer(learning_rate=0),
            "optimizer.learning_rate: out of range; expected a number above 0 in the range of float32, found 0.0",
        ),
        (lambda: Optimizer(learning_rate=float("nan")), "optimizer.learning_rate: out of range"),
        (lambda: Optimizer(learning_rate=float("inf")), "optimizer.learning_rate: out of range"),
        (lambda: Optimizer(b1=1.0), "optimizer.b1: out of range; expected 0 <= b1 < 1, found 1.0"),
        (lambda: Logging(every=0), "logging.every: out of range"),
        (
            lambda: Optimizer(name="adagrad"),
            "optimizer.name: wrong type; expected 'adam' or 'adamw' or 'sgd' or 'lion', found 'adagrad'",
        ),
        (
            lambda: Optimizer(weight_decay=0.1),
            "optimizer.weight_decay: adam does not use it; expected optimizer.name adamw or sgd or lion, or the "
            "default 0.0, found 0.1",
        ),
        (lambda: Optimizer("sgd", b1=0.5), "optimizer.b1: sgd does not use it; expected optimizer.name adam or"),
        (lambda: Optimizer(nesterov=True), "optimizer.nesterov: adam does not use it; expected optimizer.name sgd"),
        (lambda: Schedule(final=0.5), "schedule.final: constant does not use it"),
        (lambda: Augmentation(elastic_smoothness=2.0), "augmentation.elastic_smoothness: changes nothing"),
        (lambda: Optimizer(learning_rate=1e39), "optimizer.learning_rate: out of range"),
        (lambda: Optimizer(eps=1e-50), "optimizer.eps: out of range; expected a number above 0 in the range of"),
        (lambda: Training(class_weights=(0.0, 0.0)), "training.class_weights: out of range"),
        (lambda: Training(batch_size=50, accumulate=4), "training.accumulate: parts of unequal size"),
        (lambda: Training(class_weights=(1.0, -1.0)), "training.class_weights: out of range"),
        (lambda: Training(class_weights=("a",)), "expected 'balanced' or numbers or None, found ('a',)"),
        (lambda: Training(label_smoothing=1.0), "training.label_smoothing: out of range"),
        (lambda: Model(dropout=1.0), "model.dropout: out of range; expected 0 <= rate < 1, found 1.0"),
        (lambda: Model(dtype="float16"), "model.dtype: wrong type; expected 'float32' or 'bfloat16', found 'float16'"),
        (lambda: Augmentation(flip=1.5), "augmentation.flip: out of range; expected 0 to 1, found 1.5"),
        (lambda: Augmentation(randaugment_magnitude=5), "augmentation.randaugment_magnitude: changes nothing"),
        (lambda: Augmentation(erase_fill="zeros"), "augmentation.erase_fill: changes nothing"),
        (lambda: Augmentation(randaugment=101), "augmentation.randaugment: out of range; expected 0 to 100, found 101"),
        (lambda: Augmentation(hue=0.6), "augmentation.hue: out of range; expected 0 to 0.5, found 0.6"),
        (lambda: Augmentation(erase=1, erase_fill="mean"), "augmentation.erase_fill: wrong type; expected 'noise' or"),
        (lambda: Augmentation(blur=1, blur_sigma=50), "augmentation.blur_sigma: out of range; expected 0.1 to 20"),
        (lambda: Augmentation(resized_crop=1, resized_crop_aspect=0.5), "augmentation.resized_crop_aspect: out of"),
        (lambda: Augmentation(cutmix=float("inf")), "augmentation.cutmix: out of range"),
        (lambda: Augmentation(trivialaugment=1), "augmentation.trivialaugment: wrong type; expected True or False"),
        (lambda: Augmentation(rotate=float("nan")), "augmentation.rotate: out of range"),
        (lambda: Schedule("one_cycle", 1.0), "schedule.warmup_epochs: one_cycle does not use it"),
        (
            lambda: Experiment(schedule=Schedule("cosine", 1.0)),
            "schedule.warmup_epochs: the warm-up takes the whole run",
        ),
        (
            lambda: Experiment(schedule=Schedule(warmup_epochs=5.0)),
            "schedule.warmup_epochs: the learning rate would never reach its peak; expected at most training.epochs, "
            "1, found 5.0. Shorten the warm-up",
        ),
        (
            lambda: Experiment(schedule=Schedule("step"), training=Training(epochs=30)),
            "schedule.decay_epochs: the learning rate would never drop; expected fewer than training.epochs, 30, found "
            "30.0. Shorten",
        ),
        (
            lambda: Training(epochs=2**31),
            "training.epochs: out of range; expected at most 2,147,483,647, the largest step count",
        ),
        (
            lambda: Training(steps=10**400),
            "training.steps: out of range; expected at most 2,147,483,647, the largest step count",
        ),
        (lambda: Augmentation(cutout=2**31), "augmentation.cutout: out of range; expected at most 2,147,483,647"),
        (
            lambda: Augmentation(mixup=1e39),
            "augmentation.mixup: out of range; expected a number in the range of float32",
        ),
        (
            lambda: Augmentation(shift=1e39),
            "augmentation.shift: out of range; expected a number in the range of float32",
        ),
        (lambda: Training(class_weights=(1.0, 1e39)), "expected a number in the range of float32, found 1e+39"),
        (lambda: Optimizer(b2=1 - 1e-11), "optimizer.b2: out of range; expected b2 < 1, also when it is rounded to"),
        (lambda: Model(dropout=1 - 1e-11), "model.dropout: out of range; expected rate < 1, also when it is rounded"),
        (lambda: Training(ema_decay=1 - 1e-11), "training.ema_decay: out of range; expected decay < 1, also when"),
        (lambda: Optimizer(clip_norm=1e-50), "optimizer.clip_norm: out of range; expected a number above 0 in the"),
        (lambda: Data(validation=1.0), "data.validation: out of range; expected 0 <= fraction < 1, found 1.0"),
        (lambda: Experiment(training=Training(patience=3)), "training.patience: no validation split"),
        (
            lambda: Experiment(checkpoint=Checkpoint(keep_best="validation_loss")),
            "checkpoint.keep_best: no validation split; expected data.validation above 0",
        ),
        (lambda: Checkpoint(keep_best="test_accuracy"), "checkpoint.keep_best: out of range"),
        (lambda: Checkpoint(final="best"), "checkpoint.keep_best: missing"),
        (lambda: Data(source=None), "data.source: wrong type; expected text, found None"),
        (lambda: Data(dir=3), "data.dir: wrong type; expected text or None, found 3"),
        (lambda: Experiment(training={"epochs": 2}), "experiment.training: wrong type; expected Training, found"),
    ],
)
def test_a_wrong_value_is_refused_by_name(make, message):
    with pytest.raises(ConfigError) as caught:
        make()
    assert message in str(caught.value)


def test_a_whole_number_serves_where_a_number_is_asked_for():
    assert Optimizer(learning_rate=1).learning_rate == 1.0
    assert type(Optimizer(learning_rate=1).learning_rate) is float


def test_json_keeps_every_field():
    experiment = Experiment(
        data=Data("tfds:cifar10", "somewhere", validation=0.125, size=(64, 48)),
        task=Task("several", heads=("species=classification", "area=regression:0.5")),
        model=Model("paper_cnn", 0.25, "bfloat16", "dataset"),
        augmentation=Augmentation(
            *(0.08, 1.5, 2, 0.5, 1.5, 15.0, 0.1, 5.0, 2.0, 3.0, 2, 8.0, True, 3.0, 0.4, 0.3, 0.2, 0.1, 0.05, 0.5),
            *(1.5, 8, 0.25, "zeros", 0.2, 1.0),
        ),
        optimizer=Optimizer("sgd", 0.1, 0.2, momentum=0.5, nesterov=True, clip_norm=2.0),
        schedule=Schedule("step", 0.5, decay_epochs=2.0, decay_rate=0.2),
        training=Training(7, 3, 11, 12, "balanced", 3, 0.1, (1.0, 2.0), 2.0, 0.99, 4, norm_momentum=0.8),
        checkpoint=Checkpoint(5, 3, "validation_loss", "best"),
        logging=Logging(5, 17, True),
    )
    assert from_json(json.loads(json.dumps(to_json(experiment))), "config.json") == experiment


def test_json_with_an_unknown_field_names_the_nearest():
    sections = to_json(Experiment())
    sections["training"]["epoch"] = 3
    with pytest.raises(ConfigError) as caught:
        from_json(sections, "config.json")
    assert caught.value.where == "config.json: training"
    assert "'epoch'" in caught.value.what
    assert "'epochs'" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from flaxcnn.config import *\nexperiment = Experiment(training=Training(epoch=2))", "line 2: TypeError"),
        ("experiment =", "line 1: SyntaxError"),
        ("x = 1 / 0", "line 1: ZeroDivisionError: division by zero"),
        ("x = 1", "expected experiment = Experiment(...), found nothing of that name"),
        (
            "from flaxcnn.config import *\nexperiment = Experiment()\npublished = [(0, 2.3)]",
            "values in the wrong form; expected published = ((step,",
        ),
        ("experiment = 3", "expected experiment = Experiment(...), found int"),
        (
            "from flaxcnn.config import *\nexperiment = Experiment(training=Training(epochs=0))",
            "training.epochs: out of range; expected at least 1, found 0",
        ),
    ],
)
def test_a_config_file_that_fails_is_named_with_the_line(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_experiment(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("expected = (('test_loss', 0.2, 0.1),)", "expected[0]: at_least is greater than at_most"),
        ("expected = (('test_loss', float('nan')),)", "expected[0]: a bound is NaN"),
        ("expected = (('test_loss', 0, 1), ('test_accuracy',))", "expected[1]: no bound"),
        ("expected = (('test_loss', 10**400),)", "expected[0]: no bound"),
        ("expected = (('test_loss', 0, 1), ('test_loss', 0, 2))", "expected[1]: duplicate row"),
        ("expected = (('test_loss', '0'),)", "values in the wrong form; expected expected = (("),
        ("published = ((-1, 2.3, 0.1),)", "published[0]: a step below 0"),
        ("published = ((0, float('nan'), 0.1),)", "published[0]: a loss that is not finite"),
        ("published = ((0, 2.3, float('nan')),)", "published[0]: a metric that is not finite"),
        ("published = ((0, 10**400, 0.1),)", "published[0]: a loss that is not finite"),
        ("published = ((0, 2.3, 0.1), (50, None, 0.8), (0, 2.2, 0.2))", "published[2]: duplicate row; found 0"),
    ],
)
def test_what_a_config_is_compared_with_is_checked_when_it_is_read(tmp_path, rows, message):
    path = tmp_path / "mine.py"
    path.write_text(f"from flaxcnn.config import Experiment\nexperiment = Experiment()\n{rows}\n")
    with pytest.raises(ConfigError) as caught:
        load_experiment(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_an_expectation_may_have_one_bound_only(tmp_path):
    path = tmp_path / "mine.py"
    rows = "(('test_accuracy', 0.9), ('test_loss', float('-inf'), 1))"
    path.write_text(f"from flaxcnn.config import Experiment\nexperiment = Experiment()\nexpected = {rows}\n")
    assert load_experiment(str(path)).expected == (("test_accuracy", 0.9, math.inf), ("test_loss", -math.inf, 1.0))


def test_an_unknown_config_names_the_nearest():
    with pytest.raises(ConfigError, match=r"paper_minst: unknown config.*Did you mean 'paper_mnist'"):
        load_experiment("paper_minst")


def test_a_missing_config_file_says_which_configs_there_are(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.py: no such config file.*paper_mnist"):
        load_experiment(str(tmp_path / "gone.py"))


def test_a_users_own_file_is_read(tmp_path):
    path = tmp_path / "quick.py"
    path.write_text(
        "from flaxcnn.config import Experiment, Training\nexperiment = Experiment(training=Training(steps=3))\n"
    )
    assert load_experiment(str(path)).experiment == Experiment(training=Training(steps=3))
    assert load_experiment(str(path)).name == "quick"
