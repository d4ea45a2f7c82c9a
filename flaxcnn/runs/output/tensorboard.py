"""TensorBoard event files of a run, an extra: `pip install 'flaxcnn[tensorboard]'`."""

from pathlib import Path
from types import TracebackType
from typing import Self

from flaxcnn.errors import ConfigError
from flaxcnn.evaluation.table import LoggedRow


class EventFiles:
    """Writes the logged rows as TensorBoard scalars.

    Args:
        folder: where the event files go.
        first_step: what earlier sessions wrote from this step on is taken back.

    Raises:
        ConfigError: the extra is not installed.
    """

    def __init__(self, folder: Path, first_step: int):
        require_tensorboard()
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def logged(self, row: LoggedRow) -> None:
        """Write one row."""
        for name, value in row.to_json().items():
            if name not in ("step", "epoch") and value is not None:
                self._writer.add_scalar(name, value, row.step)
        self._writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
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
