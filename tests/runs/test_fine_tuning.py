"""What is trained of a model, when, is said, and survives an interruption to the same bits."""

import json
from dataclasses import replace

import numpy as np
import pytest

import flaxcnn
from flaxcnn import Hook, config
from flaxcnn.contracts import Contract
from flaxcnn.errors import ConfigError
from flaxcnn.models import contract_path
from flaxcnn.models.stages import stages_of
from flaxcnn.runs.cautions import cautions
from flaxcnn.runs.named_recipes import with_recipe
from flaxcnn.runs.setup import set_up
from flaxcnn.training import train_step


@pytest.fixture(scope="module")
def experiment(small_mnist):
    """Ten epochs of five steps."""
    return config.Experiment(
        data=config.Data(source=f"idx:{small_mnist}"),
        model=config.Model("small_cnn"),
        training=config.Training(epochs=10, batch_size=200),
        logging=config.Logging(every=5, test_examples=0),
        checkpoint=config.Checkpoint(every=7),
    )


def changed(experiment, *, model=None, optimizer=None, training=None, schedule=None):
    return replace(
        experiment,
        model=replace(experiment.model, **(model or {})),
        optimizer=replace(experiment.optimizer, **(optimizer or {})),
        training=replace(experiment.training, **(training or {})),
        schedule=replace(experiment.schedule, **(schedule or {})),
    )


def plan_of(experiment):
    return set_up(experiment).state_target().plan


def test_the_stages_of_a_network_are_those_that_its_endpoints_end():
    found = {stage.name: stage.parameters for stage in stages_of(Contract.load(contract_path("resnet18")))}
    assert list(found) == ["stem", "stage1", "stage2", "stage3", "stage4", "head"]
    assert found["stem"] == ("stem/kernel", "stem/scale", "stem/bias")
    assert found["head"] == ("head/kernel", "head/bias")
    assert all(name.startswith("stage3_block") for name in found["stage3"])
    assert sum(map(len, found.values())) == 62  # 20 convolutions with normalisation, and a dense layer


def test_nothing_is_planned_where_nothing_is_asked_for(experiment):
    assert plan_of(experiment) is None


HEAD = {"head/kernel", "head/bias"}


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [
        (("trunk",), HEAD),
        (("norm2",), {"conv3/kernel", "norm3/scale", "norm3/bias", *HEAD}),
        (("norm2", "head/bias"), {"conv3/kernel", "norm3/scale", "norm3/bias", "head/kernel"}),
        (("conv*/kernel", "head"), None),
        (("conv?/*", "norm[12]/*"), {"norm3/scale", "norm3/bias", *HEAD}),
    ],
)
def test_stages_layers_and_patterns_are_frozen(experiment, freeze, trained):
    asked = changed(experiment, model={"freeze": freeze})
    if trained is None:  # the head with all before it
        with pytest.raises(ConfigError, match="nothing is trained"):
            set_up(asked)
    else:
        assert plan_of(asked).trained(0) == trained


def test_the_head_comes_first_and_then_all_or_one_stage_after_the_other(experiment):
    two = plan_of(changed(experiment, training={"head_epochs": 2}, model={"freeze": ("conv1",)}))
    assert two.begins == (0, 10)
    assert [set(group) for group in two.groups] == [
        HEAD,
        {"norm1/scale", "norm1/bias", "conv2/kernel", "norm2/scale", "norm2/bias"}
        | {"conv3/kernel", "norm3/scale", "norm3/bias"},
    ]
    many = plan_of(changed(experiment, training={"head_epochs": 3, "unfreeze_epochs": 1}))
    assert many.begins == (0, 15, 20, 25, 30, 35, 40)
    order = [group[0].partition("/")[0] for group in many.groups]
    assert order == ["head", "norm3", "conv3", "norm2", "conv2", "norm1", "conv1"]


def test_the_schedule_begins_when_all_is_trained(experiment):
    asked = changed(
        experiment,
        training={"head_epochs": 2},
        schedule={"name": "cosine", "warmup_epochs": 2.0},
    )
    schedule = set_up(asked).state_target().optimizer.schedule
    factors = [float(schedule(step)) for step in range(50)]
    assert factors[:10] == [1.0] * 10
    np.testing.assert_allclose(factors[10:20], np.arange(1, 11) / 10, rtol=1e-6)
    expected = (1 + np.cos(np.pi * np.arange(30) / 30)) / 2
    np.testing.assert_allclose(factors[20:], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"model": {"freeze": ("stage9",)}}, "model.freeze: no part 'stage9'"),
        ({"model": {"freeze": ("*zz*",)}}, "model.freeze: no part"),
        ({"model": {"freeze": ("trunk", "head")}}, "model.freeze: nothing is trained"),
        ({"optimizer": {"rates": ("hed=10",)}}, "optimizer.rates: no part 'hed'"),
        ({"model": {"freeze": ("trunk",)}, "training": {"head_epochs": 1}}, "training.head_epochs: no two phases"),
        ({"training": {"head_epochs": 5, "unfreeze_epochs": 1}}, "training.epochs: the first stage would never"),
    ],
)
def test_what_a_model_has_not_is_one_line(experiment, changes, where):
    with pytest.raises(ConfigError) as caught:
        set_up(changed(experiment, **changes))
    assert str(caught.value).startswith(where)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: config.Optimizer(rates=("head",)), "optimizer.rates: not a rate"),
        (lambda: config.Optimizer(rates=("head=x",)), "optimizer.rates: not a rate"),
        (lambda: config.Optimizer(rates=("=3",)), "optimizer.rates: not a rate"),
        (lambda: config.Optimizer(rates=("head=nan",)), "optimizer.rates: out of range"),
        (lambda: config.Optimizer(rates=("head=1", "head=2")), "optimizer.rates: given twice"),
        (lambda: config.Optimizer(layer_decay=0.0), "optimizer.layer_decay: out of range"),
        (lambda: config.Model(freeze=("",)), "model.freeze: out of range"),
        (lambda: config.Training(epochs=2, head_epochs=2), "training.head_epochs: out of range"),
        (lambda: config.Training(epochs=2, unfreeze_epochs=1), "training.unfreeze_epochs: nothing is unfrozen"),
        (
            lambda: config.Experiment(
                training=config.Training(epochs=4, head_epochs=2), schedule=config.Schedule("cosine", warmup_epochs=2.0)
            ),
            "schedule.warmup_epochs: the warm-up takes the whole run",
        ),
    ],
)
def test_what_cannot_be_is_one_line(make, where):
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value).startswith(where)


def test_frozen_layers_that_were_never_trained_are_warned_of(experiment):
    (line,) = cautions(set_up(changed(experiment, model={"freeze": ("trunk",)})))
    assert "drawn at random" in line


def test_the_statistics_keep_the_share_that_is_asked_for(experiment):
    def after_a_step(share):
        setup = set_up(changed(experiment, training={"norm_momentum": share}))
        images, labels = setup.train.images[:20], setup.train.targets[:20]
        state, _ = train_step(setup.first_state(), images, labels)
        return np.asarray(state.batch_stats["norm1"]["mean"])

    of_batch = after_a_step(0.0)
    np.testing.assert_allclose(after_a_step(None), 0.1 * of_batch, rtol=1e-4)  # the model's own momentum is 0.9
    np.testing.assert_allclose(after_a_step(0.4), 0.6 * of_batch, rtol=1e-4)
    np.testing.assert_array_equal(after_a_step(1.0), np.zeros_like(of_batch))  # as they begin


def test_a_share_of_statistics_that_are_not_there_is_refused(experiment):
    asked = changed(experiment, model={"name": "paper_cnn"}, training={"norm_momentum": 0.9})
    with pytest.raises(ConfigError, match=r"norm_momentum: this model has no batch normalisation.*Leave out"):
        set_up(asked)
    with pytest.raises(ConfigError, match=r"training\.norm_momentum: out of range; expected 0 to 1, found 1\.5"):
        config.Training(norm_momentum=1.5)


@pytest.mark.parametrize(
    ("name", "share"), [("efficientnet_lite0", 1.0), ("resnet18", 1.0), ("vgg16", None), ("mine.py:Net", None)]
)
def test_the_recipe_sets_it_for_models_of_the_library_that_have_statistics(experiment, name, share):
    asked = changed(experiment, model={"name": name}, training={"norm_momentum": None})
    assert with_recipe(asked, "finetune").training.norm_momentum == share
    assert with_recipe(asked, "scratch").training.norm_momentum is None


@pytest.mark.slow
def test_what_is_trained_is_counted_said_and_kept(experiment, small_mnist, tmp_path, capsys):
    asked = changed(experiment, model={"freeze": ("norm2",)}, training={"steps": 2})
    run = flaxcnn.train(asked, out=tmp_path / "run")
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("  trains"))
    parameters = run.variables["params"]
    trained = sum(leaf.size for name in ("conv3", "norm3", "head") for leaf in parameters[name].values())
    count = sum(leaf.size for layer in parameters.values() for leaf in layer.values())
    assert line == f"  trains  {trained:,} of {count:,} parameters; frozen: conv1, norm1, conv2, norm2"
    assert run.summary["trained_parameters"] == trained
    assert run.summary["parameters"] == count


@pytest.mark.slow
def test_cut_in_each_phase_it_ends_with_the_same_bits(experiment, tmp_path):
    asked = changed(
        experiment,
        model={"freeze": ("conv1",)},
        optimizer={"name": "adamw", "layer_decay": 0.7, "rates": ("head=3",)},
        training={"head_epochs": 2, "ema_decay": 0.9, "norm_momentum": 0.7},
        schedule={"name": "one_cycle"},
    )
    whole = flaxcnn.train(asked, out=tmp_path / "whole", quiet=True)

    def interrupt(moment):
        raise KeyboardInterrupt

    for step in (4, 10, 11, 30):  # in the head's phase, at its end, and later
        with pytest.raises(KeyboardInterrupt):
            flaxcnn.train(asked, out=tmp_path / "cut", quiet=True, hooks=[Hook(step, interrupt)])
    cut = flaxcnn.train(asked, out=tmp_path / "cut", quiet=True)
    for name in ("weights_sha256", "state_sha256", "metrics_sha256"):
        assert cut.summary[name] == whole.summary[name]
    assert json.loads((tmp_path / "cut" / "environment.json").read_text())["resumed"]
