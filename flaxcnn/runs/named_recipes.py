"""Recipes by name: sensible values for training from nothing, fine-tuning trained weights, and a linear probe.

A recipe is where a user begins, not where they end: every value that it sets is said, and every option replaces it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from flaxcnn import config
from flaxcnn.config import WEIGHTS, Experiment
from flaxcnn.contracts import Contract
from flaxcnn.errors import ConfigError
from flaxcnn.models import MODELS, contract_path
from flaxcnn.models.stages import HEAD

Recipe: TypeAlias = Literal["finetune", "scratch", "probe"]

STEPS: Mapping[Recipe, int] = {"finetune": 400, "scratch": 1500, "probe": 400}
"""Steps that are enough for most small sets of photographs."""

_KEPT, _KEPT_OF_BOXES = 1.0, 0.9
"""At 1, statistics stay those of the weights, and training and evaluation are one function: with the rates below, that
was best on small sets (docs/training.md). Statistics that keep 0.99 of themselves see a fifth of an epoch of 25 steps:
evaluation then normalises by what the layers gave before they were tuned. A detector's statistics follow the images,
with gray around them."""

_HEAD_SHARE, _HEAD_EPOCHS = 8, 2  # one epoch of so many trains the head alone, and so many at least

DETECTION = "detection"
SMALL = "small_cnn"
"""The model that learns fast from nothing."""


def chosen_model(asked: config.Model, recipe: Recipe) -> config.Model:
    """Return the model that a recipe trains, and with which weights it begins.

    Args:
        asked: the user's; its name is "" where none was named.
        recipe: finetune and probe take pretrained weights where the user names none and a package carries some.

    Raises:
        ConfigError: no weights are known for the model that is to be fine-tuned.
    """
    if recipe == "scratch":
        return dataclasses.replace(asked, name=asked.name or SMALL)
    pretrained = [name for name, variant in MODELS.items() if variant.weights]
    name = asked.name or pretrained[0]
    if asked.init is None and name not in pretrained:
        raise ConfigError(
            f"no weights to begin with for {recipe}",
            where="model.init",
            expected=f"a file of weights or the folder of a run; or a model with weights: {', '.join(pretrained)}",
            found=name,
        )
    return dataclasses.replace(asked, name=name, init=asked.init or WEIGHTS[0])


def with_recipe(experiment: Experiment, recipe: Recipe) -> Experiment:
    """Return the experiment with a recipe's values in place of its own.

    Its data, task, model, number of epochs, batch size and augmentation stay.

    Args:
        experiment: the experiment.
        recipe: scratch trains everything from the start; finetune begins with the head, which also learns ten times as
            fast, and lets the first layers learn slowest; probe trains the head alone.
    """
    epochs = experiment.training.epochs
    changes: dict[str, Any] = {}
    if recipe == "scratch":
        changes["optimizer"] = config.Optimizer(
            "adamw", 3e-3 if experiment.model.name == SMALL else 1e-3, weight_decay=0.01
        )
        changes["schedule"] = config.Schedule("one_cycle")  # whose warm-up fits any number of epochs
        changes["training"] = _training(experiment, head_epochs=0)
    elif recipe == "finetune":
        # A head that begins at random learns fast, and first: it would else pull trained features away from what they
        # are worth. On validation images of 3 small sets of photographs, a rate of 0.001 for all was no better.
        changes["optimizer"] = config.Optimizer(
            "adamw", 3e-4, weight_decay=0.05, layer_decay=0.7, rates=(f"{HEAD}=10",)
        )
        changes["schedule"], kept = config.Schedule("cosine"), _KEPT
        held = max(epochs // _HEAD_SHARE, min(_HEAD_EPOCHS, epochs // 2))
        if experiment.task.name == DETECTION:  # its head is most of what there is to learn
            changes["optimizer"] = config.Optimizer(
                "adamw", 2e-4, weight_decay=1e-4, clip_norm=5.0, rates=(f"{HEAD}=5",)
            )
            changes["schedule"], held, kept = config.Schedule("one_cycle"), 0, _KEPT_OF_BOXES
        share = kept if _has_statistics(experiment.model.name) else None
        changes["training"] = _training(experiment, head_epochs=held, norm_momentum=share)
    else:
        changes["optimizer"] = config.Optimizer("adamw", 3e-3, weight_decay=0.01)
        changes["schedule"] = config.Schedule("cosine")
        changes["training"] = _training(experiment, head_epochs=0)
        changes["model"] = dataclasses.replace(experiment.model, freeze=("trunk",))
    return dataclasses.replace(experiment, **changes)


def _has_statistics(name: str) -> bool:
    """Return whether a model is one of the library with batch normalisation; not known of a user's own."""
    return name in MODELS and "batch_stats" in Contract.load(contract_path(name)).collections


def _training(experiment: Experiment, head_epochs: int, norm_momentum: float | None = None) -> config.Training:
    changes: dict[str, Any] = {"head_epochs": head_epochs, "norm_momentum": norm_momentum, "unfreeze_epochs": None}
    return dataclasses.replace(experiment.training, **changes)
