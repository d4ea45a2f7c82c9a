"""What an experiment needs is known before anything of a run is written."""

import chex
import flax.linen as nn
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from flaxcnn.config import Augmentation, Checkpoint, Data, Experiment, Model, Schedule, Training
from flaxcnn.contracts.commands import write
from flaxcnn.data import Dataset, Split
from flaxcnn.errors import ConfigError
from flaxcnn.models import MODELS
from flaxcnn.models.variant import Variant
from flaxcnn.runs.cautions import cautions
from flaxcnn.runs.given import Given, Loaded
from flaxcnn.runs.setup import set_up
from flaxcnn.training import train_step
from tests.error_fields import fields


class Plain(nn.Module):
    """A user's model, which takes no dropout."""

    classes: int = 10
    dtype: type = float

    @nn.compact
    def __call__(self, images, *, train=False):
        logits = nn.Dense(self.classes, name="dense")(images.reshape(len(images), -1))
        return logits, {"logits": logits}


def test_dropout_of_a_model_that_takes_none_is_refused(small_mnist, tmp_path, monkeypatch):
    name = str(tmp_path / "plain")  # its contract stands at this path
    monkeypatch.setitem(MODELS, name, Variant(Plain, "a test", 7850))
    write(Plain(), (28, 28, 1), f"{name}.contract")
    data = Data(f"idx:{small_mnist}")
    assert isinstance(set_up(Experiment(data=data, model=Model(name))).model, Plain)
    with pytest.raises(ConfigError) as caught:
        set_up(Experiment(data=data, model=Model(name, dropout=0.2)))
    assert fields(caught.value) == ("model.dropout", None, "0.2")


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        (
            {"training": Training(epochs=200_000_000), "schedule": Schedule("step")},
            ("training.epochs", "epochs of at most 2,147,483,647 steps in all", "4,000,000,000"),
        ),
        (
            {"training": Training(epochs=200_000_000, steps=12), "schedule": Schedule("step")},
            (
                "training.epochs",
                "epochs of at most 2,147,483,647 steps in all, the most that are counted",
                "4,000,000,000",
            ),
        ),
        (
            {"schedule": Schedule("one_cycle"), "training": Training(batch_size=500)},
            ("training.epochs", "epochs of at least 4 steps in all, to rise and to fall", "2"),
        ),
        (
            {"schedule": Schedule("step", decay_epochs=0.02)},
            ("schedule.decay_epochs", "a step or more, and less than all of the run's 20 steps", "0.4"),
        ),
        (
            {"schedule": Schedule("step", decay_epochs=0.99)},
            ("schedule.decay_epochs", "a step or more, and less than all of the run's 20 steps", "19.8"),
        ),
        (
            {"augmentation": Augmentation(crop_padding=29)},
            ("augmentation.crop_padding", "at most the images' longer side, 28", "29"),
        ),
    ],
)
def test_a_schedule_that_does_not_fit_into_the_run_is_refused_in_one_line(sections, told, small_mnist):
    with pytest.raises(ConfigError) as refused:
        set_up(Experiment(data=Data(f"idx:{small_mnist}"), **sections))
    assert fields(refused.value) == told


def test_a_run_ends_sooner_than_epochs_that_no_counter_holds(small_mnist):
    experiment = Experiment(data=Data(f"idx:{small_mnist}"), training=Training(epochs=200_000_000, steps=12))
    assert set_up(experiment).calendar.total_steps == 12


def split_of(labels):
    return Split(np.zeros((len(labels), 8, 8, 1), np.uint8), np.asarray(labels, np.int32))


def loaded(train, test, names="abcd"):
    dataset = Dataset("drawn", split_of(train), split_of(test), tuple(names), {})
    return Loaded(dataset, dataset.train, None)


def test_balanced_weights_are_those_of_scikit_learn_though_a_class_has_no_example():
    experiment = Experiment(training=Training(batch_size=2, class_weights="balanced"))
    labels = [0, 0, 0, 2, 2, 3]
    weights = np.asarray(set_up(experiment, loaded(labels, labels)).first_state().hyperparameters.class_weights)
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    np.testing.assert_allclose(weights[[0, 2, 3]], expected, rtol=1e-6)
    assert np.isfinite(weights).all()


@pytest.mark.parametrize(
    ("train", "test", "lines"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], []),
        (
            [1, 2, 3, 1],
            [1, 2, 1, 1],
            [
                "no training image of 1 of 4 classes (a), no test image of 2 (a, d): a class without examples is "
                "neither learnt nor measured"
            ],
        ),
        ([2, 2, 2, 2], [0, 1, 2, 3], ["all training images are of class c: there is nothing to tell apart"]),
    ],
)
def test_classes_without_an_example_are_told_of_in_one_line(train, test, lines):
    assert cautions(set_up(Experiment(training=Training(batch_size=2)), loaded(train, test))) == lines


@pytest.mark.parametrize(
    ("schedule", "steps", "told"),
    [
        (Schedule(), 1, []),
        (Schedule("constant", warmup_epochs=0.5), 10, []),
        (
            Schedule("constant", warmup_epochs=0.5),
            9,
            ["after 9 steps, before the learning rate is at its peak, at step 9"],
        ),
        (Schedule("one_cycle"), 6, []),  # the peak is at 0.3 · 20 - 1 = 5
        (Schedule("one_cycle"), 5, ["after 5 steps, before the learning rate is at its peak, at step 5"]),
    ],
)
def test_a_run_that_ends_before_its_learning_rate_is_at_the_peak_is_told_so(schedule, steps, told):
    labels = [0, 1, 2, 3] * 10
    experiment = Experiment(schedule=schedule, training=Training(batch_size=2, steps=steps))
    found = cautions(set_up(experiment, loaded(labels, labels)))
    assert len(found) == len(told)
    assert all(part in line for part, line in zip(told, found, strict=True))


def test_imagenets_colours_of_gray_images_are_refused():
    labels = [0, 1, 2, 3]
    with pytest.raises(ConfigError) as refused:
        set_up(
            Experiment(model=Model(normalization="imagenet"), training=Training(batch_size=2)), loaded(labels, labels)
        )
    assert refused.value.where == "model.normalization imagenet"
    assert (refused.value.expected, refused.value.found) == ("images of 3 channels", "1")


def test_pixels_that_are_divided_by_255_alone_leave_no_constants():
    assert set_up(Experiment(training=Training(batch_size=2)), loaded([0, 1], [0, 1])).constants == {}


def test_to_keep_the_best_by_what_the_task_does_not_log_is_refused():
    checkpoint = Checkpoint(keep_best="validation_log_loss")  # a metric of the task, but not one of its rows'
    with pytest.raises(ConfigError) as refused:
        set_up(Experiment(data=Data(validation=0.5), checkpoint=checkpoint), loaded([0, 1], [0, 1]))
    told = refused.value
    assert (told.where, told.found) == ("checkpoint.keep_best", "validation_log_loss")
    assert told.expected == "train_loss, validation_loss, validation_accuracy"


@pytest.mark.slow
def test_blocks_are_computed_again_where_a_model_has_them_and_nothing_else_changes(small_mnist):
    def after_two_steps(remat):
        experiment = Experiment(data=Data(f"idx:{small_mnist}"), model=Model("wide_resnet10_1", remat=remat))
        setup = set_up(experiment)
        assert setup.model.remat == remat
        state = setup.first_state()
        images, labels = setup.train.images[:8], setup.train.targets[:8]
        for _ in range(2):
            state, metrics = train_step(state, images, labels)
        return state.params, metrics

    (plain, metrics), (again, metrics_again) = after_two_steps(False), after_two_steps(True)
    chex.assert_trees_all_close(again, plain, rtol=1e-4, atol=1e-6)
    assert float(metrics_again["loss"]) == pytest.approx(float(metrics["loss"]), rel=1e-5)


def test_a_model_without_such_blocks_says_so(small_mnist):
    data = Data(f"idx:{small_mnist}")
    for experiment, given in (
        (Experiment(data=data, model=Model("lenet5", remat=True)), Given()),
        (Experiment(data=data, model=Model(remat=True)), Given(model=Plain)),
    ):
        with pytest.raises(ConfigError) as caught:
            set_up(experiment, given=given)
        assert fields(caught.value) == ("model.remat", None, "True")
