"""The readable results of a run: the comparison with the paper, the metrics and the pictures."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn.config import Experiment, ExperimentFile, PublishedRow, with_data
from flaxcnn.data import Split
from flaxcnn.data.targets import choose_targets, holds_boxes
from flaxcnn.evaluation.pictures import draw_augmented, draw_curves, outlined
from flaxcnn.evaluation.predictions import Predictions, save_predictions
from flaxcnn.evaluation.table import Columns, LoggedRow, markdown_table
from flaxcnn.layers import to_float
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.setup import Setup
from flaxcnn.training import TrainState
from flaxcnn.training.step import augmented_batch

# Fields of a training that change which images it sees, or what its losses measure.
_OF_TRAINING = ("batch_size", "label_smoothing", "class_weights", "focal_gamma", "sampling")


def comparable(file: ExperimentFile, experiment: Experiment) -> tuple[PublishedRow, ...]:
    """Return the published values if the experiment still measures what they measure, else none.

    They are set beside a run of the same data, model, batches and loss, logged at the same steps on the same test
    images; the seed, the optimizer's settings and the length of the run may differ.
    """

    def measured(of: Experiment) -> tuple[object, ...]:
        return (
            of.data.source,
            of.data.validation,
            of.model,
            of.task,
            of.augmentation,
            *(getattr(of.training, name) for name in _OF_TRAINING),
            of.logging.every,
            of.logging.test_examples,
        )

    return file.published if measured(experiment) == measured(with_data(file.experiment)) else ()


def draw_first_batch(
    folder: RunFolder, state: TrainState, train: Split, examples: np.ndarray, warn: Callable[[str], None]
) -> None:
    """Write `augmented.png`, images of the first batch as they are and as its step sees them, if they differ.

    Drawn before the first step, so that it can be looked at while the run goes on; raises as `RunFolder.write` does.

    Args:
        folder: the run's.
        state: before the first step; of a later one nothing is drawn.
        train: the training split.
        examples: positions of those that the first step sees.
        warn: called with a line that says so where the picture cannot be drawn.
    """
    if int(state.step) != 0 or not (state.augmentations or state.mixup):
        return
    # Without what is trained, which may be divided among devices of which this process has some only.
    state = jax.device_get(dataclasses.replace(state, params={}, batch_stats={}, opt_state=(), average=None))
    images = jnp.asarray(train.images[examples])
    targets = choose_targets(train.targets, examples)
    batch = jax.jit(augmented_batch)(state, images, targets)
    pairs = [(np.asarray(to_float(images)), targets), (np.asarray(batch.images), jax.device_get(batch.targets))]
    before, after = (outlined(drawn, of["boxes"]) if holds_boxes(of) else drawn for drawn, of in pairs)
    folder.write_picture("augmented.png", lambda file: draw_augmented(before, after, file), warn)


def write_report(
    folder: RunFolder,
    name: str,
    setup: Setup,
    rows: Sequence[LoggedRow],
    columns: Columns,
    predictions: Predictions,
    warn: Callable[[str], None],
) -> None:
    """Write the table, the pictures, the predictions and every metric of them; raises as `RunFolder.write` does.

    A picture that cannot be drawn is left out, and `warn` called with a line that says why.
    """
    task, dataset = setup.task, setup.dataset
    predicted = predictions.predicted()._replace(names=dataset.target_names, images=dataset.test.images)
    folder.write("predictions.npz", lambda path: save_predictions(path, predictions))
    folder.write_json("test_metrics.json", task.report(predicted))
    folder.write_text("table1.md", f"# {name}\n\n{markdown_table(rows, columns)}\n")
    draw = partial(folder.write_picture, warn=warn)
    main = task.logged[0]
    draw("curves.png", lambda png: draw_curves(rows, columns.published, (main, task.metrics[main]), name, png))
    for picture in task.pictures(predicted):
        draw(picture.name, picture.draw)
