"""The metric that ranks a sweep's trials: a metric of the experiment's task on the validation images."""

from dataclasses import dataclass

from flaxcnn.config import Experiment
from flaxcnn.errors import ConfigError

LOSS = "validation_loss"


@dataclass(frozen=True)
class RankedBy:
    """A metric, and what has to be known of it to rank and to draw.

    Attributes:
        name: as logged rows, studies and tables have it: `validation_` and the task's name for it.
        higher_is_better: which end is best.
        fraction: whether it lies in [0, 1].
    """

    name: str
    higher_is_better: bool
    fraction: bool = False

    @property
    def words(self) -> str:
        """Its name as people read it."""
        return self.name.replace("_", " ")

    def score(self, value: float) -> float:
        """Return the score of a value, which is higher the better it is; or the value of a score."""
        return value if self.higher_is_better else -value


def ranked_by(metric: str | None, experiment: Experiment) -> RankedBy:
    """Return what the trials of an experiment are ranked by.

    Args:
        metric: as a sweep names it; None for the first one that the experiment's task logs.
        experiment: that is searched.

    Raises:
        ConfigError: there is no such task, or it does not measure the metric on validation images.
    """
    from flaxcnn.tasks import create_task  # with JAX

    task = create_task(experiment.task)
    known = {
        **{f"validation_{name}": task.metrics[name] for name in task.logged},
        LOSS: None,  # the mean of the examples' losses
    }
    name = next(iter(known)) if metric is None else metric
    if name not in known:
        raise ConfigError(
            "test images are not chosen by: they have to tell afterwards how good the choice is"
            if name.startswith("test")
            else f"not measured by the task {task.name}",
            where="sweep.metric",
            expected=" or ".join(known),
            found=name,
        )
    found = known[name]
    return RankedBy(name, found is not None and found.higher_is_better, found is not None and found.fraction)
