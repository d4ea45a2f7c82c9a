"""From an experiment to what trains it: the data, the plan of steps, the model and its first state."""

from typing import NamedTuple

import flax.linen as nn
import jax

from flaxcnn import data
from flaxcnn.config import Experiment
from flaxcnn.data import Dataset
from flaxcnn.layers.augmentation import Augmentation, RandomCrop
from flaxcnn.models import create_checked
from flaxcnn.training import TrainState, adam, create_state
from flaxcnn.training.loop import Plan


class Setup(NamedTuple):
    """What an experiment is trained with."""

    experiment: Experiment
    dataset: Dataset
    plan: Plan
    model: nn.Module

    def first_state(self) -> TrainState:
        """Return the state before the first step. Under `jax.eval_shape` it costs no arithmetic."""
        optimizer, crop = self.experiment.optimizer, self.experiment.augmentation.crop_padding
        augmentations: tuple[Augmentation, ...] = (RandomCrop(crop),) if crop else ()
        return create_state(
            self.model,
            adam(optimizer.learning_rate, optimizer.b1, optimizer.b2, optimizer.eps),
            self.dataset.image_shape,
            self.experiment.training.seed,
            augmentations,
        )


def set_up(experiment: Experiment) -> Setup:
    """Load and check what an experiment needs; nothing is written.

    Raises:
        ConfigError: an unknown source or model, or a batch larger than the data.
        DataError: the data are missing or damaged, or too small for the model.
        ContractError: the model drifted from its contract.
    """
    dataset = data.load(experiment.data.source, experiment.data.dir)
    plan = Plan.of(
        len(dataset.train),
        batch_size=experiment.training.batch_size,
        epochs=experiment.training.epochs,
        steps=experiment.training.steps,
        log_every=experiment.logging.every,
        save_every=experiment.checkpoint.every,
    )
    setup = Setup(experiment, dataset, plan, create_checked(experiment.model.name, dataset.classes))
    jax.eval_shape(setup.first_state)  # the model says here what it cannot take, before anything is written
    return setup
