"""What is learned from an image: the one registry of tasks.

To add one, write a module with a subclass of `Task` and name it here; a task of your own needs no line here, it is
named by its file (`--task.name my_task.py:Ordinal`).
"""

from collections.abc import Callable

from flaxcnn import config
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.tasks.classification import Classification
from flaxcnn.tasks.task import Metric, Picture, Predicted, Scores, Task, measured, require_used

TASKS: dict[str, Callable[[config.Task], Task]] = {
    "classification": lambda chosen: Classification(),
}

__all__ = [
    "TASKS",
    "Classification",
    "Metric",
    "Picture",
    "Predicted",
    "Scores",
    "Task",
    "create_task",
    "default_task",
    "measured",
    "require_used",
]


def default_task() -> Task:
    """Return the task of a training that names none."""
    return Classification()


def create_task(chosen: config.Task) -> Task:
    """Return the task that a config names.

    Raises:
        ConfigError: there is no such task.
    """
    if chosen.name not in TASKS:
        raise ConfigError(f"unknown task '{chosen.name}'", where="task.name", fix=nearest(chosen.name, TASKS))
    return TASKS[chosen.name](chosen)
