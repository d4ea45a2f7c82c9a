"""Warnings before a training starts, about settings that are allowed but probably unintended."""

import numpy as np

from flaxcnn.data import describe_absent
from flaxcnn.runs.recipe import schedule_of
from flaxcnn.runs.setup import Setup


def cautions(setup: Setup) -> list[str]:
    """Return warnings about classes without examples, frozen layers that were never trained, and a run that ends before
    the learning rate's peak.
    """
    return [line for line in (_about_classes(setup), _about_frozen(setup), _about_peak(setup)) if line]


def _about_frozen(setup: Setup) -> str | None:
    experiment = setup.experiment
    if not experiment.model.freeze or experiment.model.init is not None or setup.variables is not None:
        return None
    return "model.freeze keeps weights that were drawn at random: begin with trained ones by --model.init"


def _about_classes(setup: Setup) -> str | None:
    names = setup.dataset.target_names
    if setup.dataset.has_classes and len(np.unique(setup.train.targets)) == 1:
        return f"all training images are of class {names[setup.train.targets[0]]}: there is nothing to tell apart"
    splits = {"training": setup.train, "test": setup.dataset.test}
    if setup.validation is not None:
        splits["validation"] = setup.validation
    absent = describe_absent(splits, names)
    return absent and f"{absent}: a class without examples is neither learnt nor measured"


def _about_peak(setup: Setup) -> str | None:
    """Return a warning if `training.steps` ends the run before the learning rate reaches its peak."""
    schedule = schedule_of(setup.experiment, setup.calendar)
    peak = schedule.peak_step
    if setup.calendar.total_steps > peak:
        return None
    return (
        f"training.steps ends the run after {setup.calendar.total_steps:,} steps, before the learning rate is at "
        f"its peak, at step {peak:,}: the schedule spans training.epochs"
    )
