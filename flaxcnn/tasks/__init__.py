"""What is learned from an image: the one registry of tasks.

To add one, write a module with a subclass of `Task` and name it here; a task of your own needs no line here, it is
named by its file (`--task.name my_task.py:Ordinal`).
"""

from collections.abc import Callable

from flaxcnn.config import Task as TaskConfig
from flaxcnn.config import refuse_given
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.tasks.classification import Classification
from flaxcnn.tasks.multilabel import Multilabel
from flaxcnn.tasks.regression import Regression
from flaxcnn.tasks.several import Several
from flaxcnn.tasks.task import Metric, Picture, Predicted, Scores, Task, measured, require_used

TASKS: dict[str, Callable[[TaskConfig], Task]] = {
    "classification": lambda chosen: Classification(),
    "multilabel": lambda chosen: Multilabel(),
    "regression": lambda chosen: Regression(chosen.loss, chosen.huber_delta),
    "several": lambda chosen: Several.of(chosen.heads, lambda name: create_task(TaskConfig(name=name), "task.heads")),
}

__all__ = [
    "TASKS",
    "Classification",
    "Metric",
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
    "require_used",
]


def default_task() -> Task:
    """Return the task of a training that names none."""
    return Classification()


def create_task(chosen: TaskConfig, where: str = "task.name") -> Task:
    """Return the task that a config names; `where` is the field that names it.

    Raises:
        ConfigError: there is no such task.
    """
    refuse_given(chosen.name, "task.name")
    if chosen.name not in TASKS:
        raise ConfigError(f"unknown task '{chosen.name}'", where=where, fix=nearest(chosen.name, TASKS))
    return TASKS[chosen.name](chosen)
