"""The steps of a run: block after block, rows and checkpoints where the plan says, until the end or a signal."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flaxcnn.errors import TrainingError
from flaxcnn.evaluation.table import LoggedRow
from flaxcnn.runs.choice import just_improved, stops_early
from flaxcnn.runs.console import RunConsole
from flaxcnn.runs.evaluate import Evaluator, StartedRow
from flaxcnn.runs.profile import Profiler
from flaxcnn.runs.setup import Setup
from flaxcnn.training import TrainState
from flaxcnn.training.loop import MOST_STEPS, Block, BlockRunner, Started


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
    setup: Setup,
    runner: BlockRunner,
    evaluator: Evaluator,
    *,
    log: Callable[[LoggedRow], None],
    save: Callable[[], None],
    console: RunConsole,
    profiler: Profiler | None = None,
) -> None:
    """Run from where `progress` stands to its end, or to the first signal, and keep `progress` up to date.

    The end is the plan's, or the row at which validation says to stop. A block is started, and the evaluation of a row
    with it, before the numbers of the block before are looked at; not where the state is saved or something is chosen
    after that block, since the next one takes the state's memory over.

    Args:
        progress: the run so far.
        setup: what is trained; says what is chosen by the rows.
        runner: runs the blocks, and says when the run is to stop.
        evaluator: of the rows' test and validation numbers.
        log: keeps a row.
        save: keeps the progress; called where the plan says, at the best row so far, and when the run stops.
        console: shows it.
        profiler: traces some of the steps; None for none.

    Raises:
        Diverged: at the first step whose loss, gradient or update is not finite.
        TrainingError: a row's validation loss is not finite.
    """
    plan, experiment, task = runner.plan, setup.experiment, setup.task
    chooses = experiment.checkpoint.keep_best is not None or experiment.training.patience is not None
    if progress.step >= plan.total_steps or stops_early(progress.rows, task, experiment) or runner.stopping:
        return
    since_step, since_seconds = progress.step, progress.train_seconds

    def start(state: TrainState, step: int) -> tuple[Started, StartedRow | None]:
        if profiler is not None and step == profiler.first:
            profiler.start()
        cut = None if profiler is None else profiler.next_cut(step)
        block = runner.start(state, step, MOST_STEPS if cut is None else cut - step)
        return block, evaluator.start_row(block.state.variables) if plan.logged(block.end - 1) else None

    under_way: tuple[Started, StartedRow | None] | None = start(progress.state, progress.step)
    while under_way is not None:
        started, started_row = under_way
        decides = plan.saved(started.end) or (chooses and started_row is not None)
        traced = profiler is not None and started.end in (profiler.first, profiler.end)
        waits = decides or traced or runner.stopping
        under_way = None if waits else start(started.state, started.end)
        block = runner.finish(started)
        progress.state = (started if under_way is None else under_way[0]).state
        progress.step += len(block.losses) - (not block.finite)
        progress.train_seconds += block.seconds
        last, loss = progress.step - 1, float(block.losses[-1])
        if not block.finite:
            raise Diverged(loss)
        if profiler is not None and started.end == profiler.end:
            profiler.stop()
        console.advanced(progress.step, loss, len(block.losses) * plan.batch_size / block.seconds)
        improved = ended = False
        if started_row is not None:
            images = (progress.step - since_step) * plan.batch_size
            rate = images / (progress.train_seconds - since_seconds)
            row = _row(last, plan.epoch(last), block, evaluator.finish_row(started_row), rate)
            since_step, since_seconds = progress.step, progress.train_seconds
            log(row)
            progress.rows.append(row)
            console.logged(len(progress.rows) - 1, row)
            improved, ended = (
                just_improved(progress.rows, task, experiment),
                stops_early(progress.rows, task, experiment),
            )
        if under_way is not None:
            continue
        stopping = runner.stopping
        if plan.saved(progress.step) or improved or ended or stopping:
            started_saving = time.perf_counter()
            save()
            progress.save_seconds += time.perf_counter() - started_saving
        if not (ended or stopping or progress.step >= plan.total_steps):
            under_way = start(progress.state, progress.step)


def _row(
    step: int, epoch: int, block: Block, evaluated: Mapping[str, float | None], images_per_second: float
) -> LoggedRow:
    """Return the row of a block's last step; raises TrainingError where its validation loss is not finite."""
    row = LoggedRow(
        step=step,
        epoch=epoch,
        train_loss=float(block.losses[-1]),
        measured=evaluated,
        learning_rate=block.metrics["learning_rate"],
        gradient_norm=block.metrics["gradient_norm"],
        update_ratio=block.metrics["update_ratio"],
        images_per_second=round(images_per_second, 1),
    )
    loss = row.number("validation_loss")
    if loss is not None and not math.isfinite(loss):
        raise TrainingError(
            "the validation loss is not finite",
            where=f"step {step:,}, epoch {epoch}",
            found=loss,
            fix="train again, with a smaller learning rate",
        )
    return row
