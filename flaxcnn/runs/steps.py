"""The driver of a run: runs blocks of steps, logs rows and saves checkpoints, until the end or a signal."""

import math
import time
from collections.abc import Callable, Mapping, Sequence

from flaxcnn.errors import TrainingError
from flaxcnn.evaluation.table import LoggedRow
from flaxcnn.runs.evaluator import Evaluator, StartedRow
from flaxcnn.runs.output.console import RunConsole
from flaxcnn.runs.output.profile import Profiler
from flaxcnn.runs.running import Hook, Moment, Training
from flaxcnn.training import TrainState
from flaxcnn.training.loop import MOST_STEPS, Block, BlockRunner, Started


def run_steps(
    training: Training,
    runner: BlockRunner,
    evaluator: Evaluator,
    *,
    log: Callable[[LoggedRow], None],
    save: Callable[[], None],
    console: RunConsole,
    profiler: Profiler | None = None,
    hooks: Sequence[Hook] = (),
) -> None:
    """Continue a training to its end, or to the first signal, and update it along the way.

    The end is the calendar's end or early stopping. A block, and a row's evaluation, start before the results of the
    previous block are read. The exception is a block after which the state is saved, passed to a hook or used for a
    choice, because the next block donates the state's memory.

    Args:
        training: the training so far.
        runner: runs the blocks and tells when to stop.
        evaluator: evaluates the rows' test and validation metrics.
        log: writes a row.
        save: saves the training; called at the calendar's checkpoints, at the best row so far, and when the run stops.
        console: shows the progress.
        profiler: traces some of the steps; None for none.
        hooks: functions to call every few steps.

    Raises:
        Diverged: a step's loss, gradient or update is not finite.
        TrainingError: a row's validation loss is not finite.
    """
    calendar, clocks = runner.calendar, training.clocks
    if training.is_over or runner.stopping:
        return
    since_step, since_seconds = training.step, clocks.train

    def start(state: TrainState, step: int) -> tuple[Started, StartedRow | None]:
        if profiler is not None and step == profiler.first:
            profiler.start()
        cuts = [(step // hook.every + 1) * hook.every for hook in hooks]
        if profiler is not None and (cut := profiler.next_cut(step)) is not None:
            cuts.append(cut)
        block = runner.start(state, step, min([MOST_STEPS, *(cut - step for cut in cuts)]))
        return block, evaluator.start_row(block.state.variables) if calendar.logged(block.end - 1) else None

    under_way: tuple[Started, StartedRow | None] | None = start(training.current, training.step)
    while under_way is not None:
        started, started_row = under_way
        due = [hook for hook in hooks if started.end % hook.every == 0]
        decides = calendar.saved(started.end) or (training.setup.experiment.chooses and started_row is not None)
        traced = profiler is not None and started.end in (profiler.first, profiler.end)
        waits = decides or traced or bool(due) or runner.stopping
        under_way = None if waits else start(started.state, started.end)
        block = runner.finish(started)
        training.state = (started if under_way is None else under_way[0]).state
        training.count(block.losses, block.seconds, finite=block.finite)
        if profiler is not None and started.end == profiler.end:
            profiler.stop()
        console.advanced(
            training.step, float(block.losses[-1]), len(block.losses) * calendar.batch_size / block.seconds
        )
        row = None
        if started_row is not None:
            images = (training.step - since_step) * calendar.batch_size
            rate = images / (clocks.train - since_seconds)
            row = _row(training, block, evaluator.finish_row(started_row), rate)
            since_step, since_seconds = training.step, clocks.train
            log(row)
            training.rows.append(row)
            console.logged(len(training.rows) - 1, row)
        for hook in due:
            hook.call(Moment(training.step, training.current, {**block.metrics, **(row.measured if row else {})}))
        if under_way is not None:
            continue
        stopping, ended = runner.stopping, training.is_over
        if calendar.saved(training.step) or stopping or (row is not None and (training.improved or ended)):
            started_saving = time.perf_counter()
            save()
            clocks.save += time.perf_counter() - started_saving
        if not (ended or stopping):
            under_way = start(training.current, training.step)


def _row(
    training: Training, block: Block, evaluated: Mapping[str, float | None], images_per_second: float
) -> LoggedRow:
    """Return the row of a block's last step; raises TrainingError if its validation loss is not finite."""
    step = training.step - 1
    epoch = training.setup.calendar.epoch(step)
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
            fix="train again with a smaller learning rate",
        )
    return row
