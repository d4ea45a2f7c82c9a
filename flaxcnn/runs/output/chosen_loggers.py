"""The loggers that an experiment names, and those that a Python user gives."""

import os
from collections.abc import Callable, Sequence

from flaxcnn.config import Logging
from flaxcnn.runs.output.csv_file import CsvFile
from flaxcnn.runs.output.loggers import Logger
from flaxcnn.runs.output.tensorboard import EventFiles
from flaxcnn.terminal import command

_TRACKING = "MLFLOW_TRACKING_URI"


def chosen_loggers(
    logging: Logging, given: Sequence[Logger], warn: Callable[[str], None], recorded: str | None = None
) -> list[Logger]:
    """Return the loggers of a session, none of which has begun.

    Args:
        logging: of the experiment.
        given: by a Python user.
        warn: called with each warning for the user.
        recorded: the run's folder, where it alone names the MLflow server. A folder may be a stranger's, and
            credentials and numbers go to a server only if the user names it, too: again, or in MLFLOW_TRACKING_URI.

    Raises:
        ConfigError: an extra is not installed, or a credential cannot be sent.
    """
    found: list[Logger] = []
    if logging.tensorboard:
        found.append(EventFiles())
    if logging.csv:
        found.append(CsvFile())
    if logging.mlflow is not None:
        if recorded is None or os.environ.get(_TRACKING, "").rstrip("/") == logging.mlflow.rstrip("/"):
            from flaxcnn.runs.output.mlflow import MlflowLogger  # what it imports takes a while

            found.append(MlflowLogger(logging.mlflow, warn))
        else:
            again = command("resume", recorded, "--logging.mlflow", logging.mlflow)
            warn(f"warning: nothing is sent to {logging.mlflow}, which the run's folder alone names; to send: {again}")
    return [*found, *given]
