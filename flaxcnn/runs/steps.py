"""The steps of a run: block after block, a row logged where the plan says, until the end or a signal."""

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
    """How far a run has come.

    Attributes:
        state: the training state.
        step: steps done.
        rows: the rows logged.
        train_seconds: what the steps alone took.
    """

    state: TrainState
    step: int = 0
    rows: list[LoggedRow] = field(default_factory=list)
    train_seconds: float = 0.0


def run_steps(
    progress: Progress,
    runner: BlockRunner,
    evaluator: Evaluator,
    *,
    log: Callable[[LoggedRow], None],
    console: RunConsole,
    stop: StopRequest,
) -> None:
    """Run from where `progress` stands to the plan's end, or to the first signal, and keep `progress` up to date.

    Args:
        progress: the run so far.
        runner: runs the blocks.
        evaluator: of the rows' test accuracy.
        log: keeps a row.
        console: shows it.
        stop: asked after each block.
    """
    plan = runner.plan
    since_step, since_seconds = progress.step, progress.train_seconds
    while progress.step < plan.total_steps and stop.signal is None:
        progress.state, losses, seconds = runner.run(progress.state, progress.step)
        progress.step += len(losses)
        progress.train_seconds += seconds
        last = progress.step - 1
        console.advanced(progress.step, float(losses[-1]), len(losses) * plan.batch_size / seconds)
        if plan.logged(last):
            images = (progress.step - since_step) * plan.batch_size
            row = LoggedRow(
                step=last,
                epoch=plan.epoch(last),
                train_loss=float(losses[-1]),
                test_accuracy=evaluator.first_sums(progress.state.variables).accuracy,
                images_per_second=round(images / (progress.train_seconds - since_seconds), 1),
            )
            since_step, since_seconds = progress.step, progress.train_seconds
            log(row)
            progress.rows.append(row)
            console.logged(len(progress.rows) - 1, row)
