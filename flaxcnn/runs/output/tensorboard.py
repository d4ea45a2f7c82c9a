"""TensorBoard event files of a run, an extra: `pip install 'flaxcnn[tensorboard]'`."""

from collections.abc import Mapping
from typing import Any

from flaxcnn.errors import ConfigError
from flaxcnn.runs.output.loggers import Ending, LoggedRun


class EventFiles:
    """Writes the logged rows as TensorBoard scalars into the run's folder, in the form of `Logger`.

    Raises:
        ConfigError: the extra is not installed.
    """

    def __init__(self) -> None:
        require_tensorboard()
        self._writer: Any = None

    def begin(self, run: LoggedRun) -> None:
        """Open a new file; what earlier sessions wrote from the run's step on is taken back."""
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(run.folder), purge_step=run.step)

    def row(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write one row."""
        for name, value in numbers.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def summary(self, numbers: Mapping[str, Any]) -> None:
        """Write nothing: TensorBoard shows what changes over steps."""

    def close(self, ending: Ending) -> None:
        """Close the file."""
        self._writer.close()


def require_tensorboard() -> None:
    """Raise ConfigError if the extra is not installed: called before a run starts, not when it first logs."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "TensorBoard's writer is not installed",
            where="logging.tensorboard",
            fix="run pip install 'flaxcnn[tensorboard]', or leave the option out",
        ) from error
