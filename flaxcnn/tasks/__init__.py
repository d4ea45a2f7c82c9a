"""What is learned from an image: the one registry of tasks.

To add one, write a module with a subclass of `Task` and name it here; a task of your own needs no line here, it is
named by its file (`--task.name my_task.py:Ordinal`).
"""

from collections.abc import Callable

from flaxcnn.config import Task as TaskConfig
from flaxcnn.config import refuse_given
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.files.user_code import FORM, is_outside
from flaxcnn.tasks.classification import Classification
from flaxcnn.tasks.multilabel import Multilabel
from flaxcnn.tasks.own import create_own, require_computable
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
    "require_computable",
    "require_used",
]


def default_task() -> Task:
    """Return the task of a training that names none."""
    return Classification()


def create_task(chosen: TaskConfig, where: str = "task.name") -> Task:
    """Return the task that a config names: one of `TASKS`, or a user's own, whose file is imported.

    Args:
        chosen: the config's section.
        where: the field that names it, for errors.

    Raises:
        ConfigError: there is no such task, or the user's own is none.
    """
    refuse_given(chosen.name, where)
    if is_outside(chosen.name):
        return create_own(chosen.name)
    if chosen.name not in TASKS:
        fix = f"for your own task write {FORM}" if chosen.name.endswith(".py") else nearest(chosen.name, TASKS)
        raise ConfigError(f"unknown task '{chosen.name}'", where=where, fix=fix)
    return TASKS[chosen.name](chosen)
