"""Tasks: what a model learns to predict from an image, and the registry of tasks.

To add a task to the library, write a module with a subclass of `Task` and register it here. A user's own task needs no
entry: its file names it (`--task.name my_task.py:Ordinal`).
"""

from collections.abc import Callable

from flaxcnn.config import Task as TaskConfig
from flaxcnn.config import refuse_given
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.files.user_code import FORM, is_outside
from flaxcnn.tasks.classification import Classification
from flaxcnn.tasks.detection.task import Detection
from flaxcnn.tasks.multilabel import Multilabel
from flaxcnn.tasks.own import create_own, require_computable
from flaxcnn.tasks.regression import Regression
from flaxcnn.tasks.several import Several
from flaxcnn.tasks.task import Interval, Metric, Mistakes, Picture, Predicted, Scores, Task, measured, require_used

TASKS: dict[str, Callable[[TaskConfig], Task]] = {
    "classification": lambda chosen: Classification(),
    "detection": lambda chosen: Detection(suppression=chosen.suppression, overlap=chosen.overlap),
    "multilabel": lambda chosen: Multilabel(),
    "regression": lambda chosen: Regression(chosen.loss, chosen.huber_delta),
    "several": lambda chosen: Several.of(chosen.heads, lambda name: create_task(TaskConfig(name=name), "task.heads")),
}
"""The tasks of the library by name, each made from the section `task` of an experiment."""

__all__ = [
    "TASKS",
    "Classification",
    "Detection",
    "Interval",
    "Metric",
    "Mistakes",
    "Multilabel",
    "Picture",
    "Predicted",
    "Regression",
    "Scores",
    "Several",
    "Task",
    "create_task",
    "default_task",
    "measured",
    "require_computable",
    "require_used",
]


def default_task() -> Task:
    """Return the default task, classification."""
    return Classification()


def create_task(chosen: TaskConfig, where: str = "task.name") -> Task:
    """Create the task that a config names: one of `TASKS`, or a user's own, which is imported from its file.

    Args:
        chosen: the config's section.
        where: the field that names the task, for errors.

    Raises:
        ConfigError: the task does not exist, or the user's object is not a task.
    """
    refuse_given(chosen.name, where)
    if is_outside(chosen.name):
        return create_own(chosen.name)
    if chosen.name not in TASKS:
        fix = f"for your own task write {FORM}" if chosen.name.endswith(".py") else nearest(chosen.name, TASKS)
        raise ConfigError(f"unknown task '{chosen.name}'", where=where, fix=fix)
    return TASKS[chosen.name](chosen)
