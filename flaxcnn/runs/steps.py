"""The steps of a run: block after block, rows and checkpoints where the plan says, until the end or a signal."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flaxcnn.config import Experiment
from flaxcnn.errors import TrainingError
from flaxcnn.evaluation.table import LoggedRow
from flaxcnn.runs.choice import just_improved, stops_early
from flaxcnn.runs.console import RunConsole
from flaxcnn.runs.evaluate import Evaluator
from flaxcnn.runs.stop import StopRequest
from flaxcnn.training import TrainState
from flaxcnn.training.loop import BlockRunner


@dataclass
class Progress:
    """How far a run has come, over all of its sessions.

    Attributes:
        state: the training state.
        step: steps done.
        rows: the rows logged.
        train_seconds: what the steps alone took.
        save_seconds: what saving took.
    """

    state: TrainState
    step: int = 0
    rows: list[LoggedRow] = field(default_factory=list)
    train_seconds: float = 0.0
    save_seconds: float = 0.0


class Diverged(Exception):  # noqa: N818 -- the loop's signal to its caller, never shown
    """A step whose loss, gradient or update is not finite; the progress stands before it.

    Args:
        loss: of that step.
    """

    def __init__(self, loss: float):
        super().__init__(loss)
        self.loss = loss


def run_steps(
    progress: Progress,
    experiment: Experiment,
    runner: BlockRunner,
    evaluator: Evaluator,
    *,
    log: Callable[[LoggedRow], None],
    save: Callable[[], None],
    console: RunConsole,
    stop: StopRequest,
) -> None:
    """Run from where `progress` stands to its end, or to the first signal, and keep `progress` up to date.

    The end is the plan's, or the row at which validation says to stop.

    Args:
        progress: the run so far.
        experiment: says what is chosen by the rows.
        runner: runs the blocks.
        evaluator: of the rows' test and validation numbers.
        log: keeps a row.
        save: keeps the progress; called where the plan says, at the best row so far, and when the run stops.
        console: shows it.
        stop: asked after each block.

    Raises:
        Diverged: at the first step whose loss, gradient or update is not finite.
        TrainingError: a row's validation loss is not finite.
    """
    plan = runner.plan
    since_step, since_seconds = progress.step, progress.train_seconds
    ended, stopping = stops_early(progress.rows, experiment), stop.signal is not None
    while progress.step < plan.total_steps and not ended and not stopping:
        block = runner.run(progress.state, progress.step)
        progress.state = block.state
        progress.step += len(block.losses) - (not block.finite)
        progress.train_seconds += block.seconds
        last, loss = progress.step - 1, float(block.losses[-1])
        if not block.finite:
            raise Diverged(loss)
        console.advanced(progress.step, loss, len(block.losses) * plan.batch_size / block.seconds)
        improved = False
        if plan.logged(last):
            images = (progress.step - since_step) * plan.batch_size
            row = LoggedRow(
                step=last,
                epoch=plan.epoch(last),
                train_loss=loss,
                **evaluator.row_numbers(progress.state.variables),
                learning_rate=block.metrics["learning_rate"],
                gradient_norm=block.metrics["gradient_norm"],
                update_ratio=block.metrics["update_ratio"],
                images_per_second=round(images / (progress.train_seconds - since_seconds), 1),
            )
            if row.validation_loss is not None and not math.isfinite(row.validation_loss):
                raise TrainingError(
                    "the validation loss is not finite",
                    where=f"step {last:,}, epoch {row.epoch}",
                    found=row.validation_loss,
                    fix="train anew, with a smaller learning rate",
                )
            since_step, since_seconds = progress.step, progress.train_seconds
            log(row)
            progress.rows.append(row)
            console.logged(len(progress.rows) - 1, row)
            improved, ended = just_improved(progress.rows, experiment), stops_early(progress.rows, experiment)
        stopping = stop.signal is not None
        if plan.saved(progress.step) or improved or ended or stopping:
            started = time.perf_counter()
            save()
            progress.save_seconds += time.perf_counter() - started
