"""The steps of a run: block after block, rows and checkpoints where the plan says, until the end or a signal."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flaxcnn.evaluation.table import LoggedRow
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
    runner: BlockRunner,
    evaluator: Evaluator,
    *,
    log: Callable[[LoggedRow], None],
    save: Callable[[], None],
    console: RunConsole,
    stop: StopRequest,
) -> None:
    """Run from where `progress` stands to the plan's end, or to the first signal, and keep `progress` up to date.

    Args:
        progress: the run so far.
        runner: runs the blocks.
        evaluator: of the rows' test accuracy.
        log: keeps a row.
        save: keeps the progress; called where the plan says and when a signal stops the run.
        console: shows it.
        stop: asked after each block.

    Raises:
        Diverged: at the first step whose loss, gradient or update is not finite.
    """
    plan = runner.plan
    since_step, since_seconds = progress.step, progress.train_seconds
    stopping = stop.signal is not None
    while progress.step < plan.total_steps and not stopping:
        block = runner.run(progress.state, progress.step)
        progress.state = block.state
        progress.step += len(block.losses) - (not block.finite)
        progress.train_seconds += block.seconds
        last, loss = progress.step - 1, float(block.losses[-1])
        if not block.finite:
            raise Diverged(loss)
        console.advanced(progress.step, loss, len(block.losses) * plan.batch_size / block.seconds)
        if plan.logged(last):
            images = (progress.step - since_step) * plan.batch_size
            row = LoggedRow(
                step=last,
                epoch=plan.epoch(last),
                train_loss=loss,
                test_accuracy=evaluator.first_sums(progress.state.variables).accuracy,
                images_per_second=round(images / (progress.train_seconds - since_seconds), 1),
            )
            since_step, since_seconds = progress.step, progress.train_seconds
            log(row)
            progress.rows.append(row)
            console.logged(len(progress.rows) - 1, row)
        stopping = stop.signal is not None
        if plan.saved(progress.step) or stopping:
            started = time.perf_counter()
            save()
            progress.save_seconds += time.perf_counter() - started
