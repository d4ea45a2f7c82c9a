"""Check that a sweep can search an experiment, and prepare the experiment for its trials."""

import dataclasses

from flaxcnn.config import Experiment, Logging
from flaxcnn.errors import ConfigError
from flaxcnn.sweeps.files import Sweep
from flaxcnn.sweeps.metric import LOSS, RankedBy
from flaxcnn.sweeps.schedulers import PopulationBased
from flaxcnn.sweeps.searchers import Listed
from flaxcnn.sweeps.space import RUNTIME_FIELDS, domain_of
from flaxcnn.sweeps.space_check import check_space

# What begins so is about where images come from, what is learned from them, and what is measured and kept.
_NOT_SEARCHED = ("data.", "task.name", "task.heads", "logging.", "checkpoint.", "mesh.", "training.patience")
_OF_LOSS = ("task.loss", "task.huber_delta")  # trials that differ in it have losses of different kinds


def for_trials_of(asked: Sweep, experiment: Experiment, by: RankedBy) -> Experiment:
    """Return an experiment as the trials of a sweep run it: on one device, without looking at the test images.

    Args:
        asked: what is searched, and how.
        experiment: that is searched, its data known (`with_data`).
        by: what its trials are ranked by.

    Raises:
        ConfigError: the space does not go with the experiment; its trials could not be compared; there is nothing to
            rank them by; or the experiment says itself when to end or which step to keep.
    """
    check_space(asked.space, experiment)
    if isinstance(asked.searcher, Listed):
        asked.searcher.check(asked.space)
    _require_searchable(asked, by)
    return _for_trials(experiment)


def _require_searchable(asked: Sweep, by: RankedBy) -> None:
    """Raise ConfigError where a sweep could not compare its trials, or not copy one's state to another."""
    for path, entry in asked.space.items():
        if path.startswith(_NOT_SEARCHED) or (path.startswith(_OF_LOSS) and by.name == LOSS):
            raise ConfigError(
                "trials that differ in it cannot be compared, or do not differ", where=f"the sweep's space, {path}"
            )
        if not isinstance(asked.scheduler, PopulationBased):
            continue
        if path not in RUNTIME_FIELDS:
            raise ConfigError(
                "a copy cannot change it",
                where=f"the sweep's space, {path}",
                expected=f"for population-based training one of {', '.join(sorted(RUNTIME_FIELDS))}",
            )
        left_out = {0, None} if path.startswith(("augmentation.", "training.focal_gamma")) else {None}
        if left_out & set(domain_of(entry).extremes):
            raise ConfigError(
                "a copy cannot begin or end to use it",
                where=f"the sweep's space, {path}",
                expected=f"no {' or '.join(map(str, left_out))} for population-based training",
            )


def _for_trials(experiment: Experiment) -> Experiment:
    """Return an experiment as trials run it; raises as `for_trials_of`."""
    if not experiment.data.validation:
        raise ConfigError(
            "no images to rank trials by",
            where="data.validation",
            expected="a fraction above 0",
            found=experiment.data.validation,
            fix="add --data.validation 0.1",
        )
    patience = experiment.training.patience
    if patience is not None:
        raise ConfigError(
            "the scheduler says when a trial ends", where="training.patience", expected="None", found=patience
        )
    if experiment.checkpoint.final == "best":
        raise ConfigError("a trial is ranked by its last step", where="checkpoint.final", expected="last", found="best")
    mesh = dataclasses.replace(experiment.mesh, data=experiment.mesh.data or 1)
    logging = Logging(every=experiment.logging.every, test_examples=0)
    checkpoint = dataclasses.replace(experiment.checkpoint, keep_best=None)
    return dataclasses.replace(experiment, mesh=mesh, logging=logging, checkpoint=checkpoint)
