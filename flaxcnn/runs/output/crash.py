"""The crash folder of a diverged run: save the failed step, then repeat and inspect it."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn.adapters import intercepting
from flaxcnn.data.targets import choose_targets
from flaxcnn.errors import RunFolderError, TrainingError
from flaxcnn.files import cannot_write, remove
from flaxcnn.processes import together
from flaxcnn.runs.folder.kinds import STEP
from flaxcnn.runs.folder.named import NOTHING, Named, options_again
from flaxcnn.runs.folder.record import read_config, require_same_digests
from flaxcnn.runs.folder.run_folder import CRASH, RunFolder
from flaxcnn.runs.folder.weights import flat
from flaxcnn.runs.given import anywhere
from flaxcnn.runs.setup import Setup, set_up
from flaxcnn.terminal import command
from flaxcnn.training import TrainState
from flaxcnn.training.checkpoints import CheckpointStore, Metadata
from flaxcnn.training.plan import merged
from flaxcnn.training.step import Batch, apply_for_training, augmented_batch, loss_of, parted, parts_of


class _Step(NamedTuple):
    """What `step.json` holds of the faulty step."""

    step: int
    epoch: int
    loss: str  # NaN and infinity are no numbers in JSON
    examples: list[int]


def leave_crash(
    folder: RunFolder, state: TrainState, metadata: Metadata, loss: float, examples: np.ndarray
) -> TrainingError:
    """Write `crash/`: the state before the faulty step, the examples of its batch and the config; return the error.

    Args:
        folder: the run's.
        state: before the faulty step.
        metadata: of that state.
        loss: of the faulty step.
        examples: indices of the training examples that it saw.
    """
    path = folder.path / CRASH
    try:
        _write_crash(path, folder, state, metadata, loss, examples)
        fix = f"see in which layer with: {command('replay', path, *options_again(metadata.config))}"
    except RunFolderError as error:  # what went wrong first is what the user has to know
        fix = f"nothing was kept to look into: {error}"
    return TrainingError(
        "training diverged",
        where=f"step {metadata.step:,}, epoch {metadata.epoch}",
        expected="finite numbers",
        found=f"loss {loss}"
        if not np.isfinite(loss)
        else f"a gradient or an update that is not finite (loss {loss:.4f})",
        fix=fix,
    )


def _write_crash(
    path: Path, folder: RunFolder, state: TrainState, metadata: Metadata, loss: float, examples: np.ndarray
) -> None:
    def make() -> None:
        try:
            remove(path)  # of an earlier session that stopped at the same step
            path.mkdir()
        except OSError as error:
            raise cannot_write(path, error) from error

    def describe() -> None:
        crash = RunFolder(path)
        crash.write_text("config.json", (folder.path / "config.json").read_text(encoding="utf-8"))
        step = _Step(metadata.step, metadata.epoch, repr(loss), examples.tolist())
        crash.write_json(STEP, step._asdict())  # last: with it the folder is whole

    together(make)
    CheckpointStore(path, keep=1).save(state, metadata)
    together(describe)


class Replay(NamedTuple):
    """What one step does, layer by layer; each None where everything is finite.

    Of a batch that is cut into parts, the first part in which something is not.
    """

    step: int
    epoch: int
    loss: float
    parameter: str | None  # the first, by path, that is not finite before the step
    activation: str | None  # the first layer, in the order of execution, whose output is not finite
    gradient: str | None  # the first parameter, going backward from the loss, whose gradient is not finite


def replay(crash: RunFolder, source: str | None = None, data_dir: str | None = None, named: Named = NOTHING) -> Replay:
    """Repeat the step that a crash folder holds.

    Args:
        crash: the folder.
        source: where the data lie now; None for where they lay.
        data_dir: likewise, for TensorFlow data sets.
        named: the user's own code of the run, by field, named again.

    Raises:
        RunFolderError: the folder is damaged.
        DataError: the data are no longer there, or changed.
    """
    step: _Step = crash.read_json(STEP, _Step)
    setup = set_up(anywhere(read_config(crash, named).file.experiment, source, data_dir))
    restored = CheckpointStore(crash.path, keep=1).restore_newest(setup.state_target())
    if restored is None:
        raise RunFolderError("no state in this crash folder", where=crash.path)
    require_same_digests(restored.metadata.data_digests, setup.dataset)
    state, train = restored.state, setup.train
    examples = _examples(step, setup, crash.path / STEP)
    batch = augmented_batch(state, jnp.asarray(train.images[examples]), choose_targets(train.targets, examples))
    replays = []
    for part, piece in enumerate(parts_of(state, batch)):
        found, batch_stats = _look_into(state, piece, part)
        replays.append(Replay(step.step, step.epoch, *found))
        state = dataclasses.replace(state, batch_stats=batch_stats)
    return next((each for each in replays if any(each[3:])), replays[0])


def _examples(step: _Step, setup: Setup, where: Path) -> np.ndarray:
    """Return the indices of the examples of a step; raises RunFolderError where they are not a batch of the data."""
    size, count = setup.calendar.batch_size, setup.calendar.examples
    if len(step.examples) != size or not all(0 <= each < count for each in step.examples):
        raise RunFolderError("damaged at examples", where=where, expected=f"{size} indices of {count:,} examples")
    return np.asarray(step.examples, np.int32)


def _look_into(
    state: TrainState, batch: Batch, part: int
) -> tuple[tuple[float, str | None, str | None, str | None], Any]:
    """Return loss, parameter, activation and gradient of a part of a batch, as in `Replay`, and the next statistics."""
    layers: list[tuple[str, bool]] = []  # path and whether its output is finite, in the order of execution

    def record(method: Any, arguments: Any, options: Any, context: Any) -> Any:
        result = method(*arguments, **options)
        if context.method_name == "__call__" and context.module.path:
            layers.append(("/".join(context.module.path), _finite(result)))
        return result

    phase = 0 if state.plan is None else state.plan.phase_of(int(state.step))
    with intercepting(record):
        _, batch_stats = apply_for_training(state, state.params, batch.images, part, phase)
    trained, others = parted(state, phase)

    def loss_for(trained: Any) -> jax.Array:
        return loss_of(state, trained if others is None else merged(trained, others), batch, part, phase)[0]

    loss, gradients = jax.jit(jax.value_and_grad(loss_for))(trained)
    order = [path for path, _ in layers]
    flawed = [name for name, array in flat(gradients).items() if not _finite(array)]
    # Backward, a layer's gradient comes the sooner the later the layer was called.
    flawed.sort(key=lambda name: order.index(name.rpartition("/")[0]) if name.rpartition("/")[0] in order else -1)
    found = (
        float(loss),
        next((name for name, array in flat(state.params).items() if not _finite(array)), None),
        next((path for path, finite in layers if not finite), None),
        flawed[-1] if flawed else None,
    )
    return found, batch_stats


def _finite(tree: Any) -> bool:
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))
