"""The files of a run that people look at: the table beside the paper's values, the metrics and the pictures."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn.config import Experiment, ExperimentFile, PublishedRow, with_data
from flaxcnn.data import Dataset, Split
from flaxcnn.evaluation.confusion import confusion_matrix, most_confident_mistakes
from flaxcnn.evaluation.metrics import classification_metrics
from flaxcnn.evaluation.pictures import draw_augmented, draw_confusion, draw_curves, draw_mistakes
from flaxcnn.evaluation.predictions import Predictions, save_predictions
from flaxcnn.evaluation.table import Columns, LoggedRow, markdown_table
from flaxcnn.layers import to_float
from flaxcnn.runs.folder import RunFolder
from flaxcnn.training import TrainState
from flaxcnn.training.step import augmented_batch

_MOST_MISTAKES = 30


def comparable(file: ExperimentFile, experiment: Experiment) -> tuple[PublishedRow, ...]:
    """Return the published values if the experiment still measures what they measure, else none.

    They are set beside a run of the same data, model, batches and loss, logged at the same steps on the same test
    images; the seed, the optimizer's settings and the length of the run may differ.
    """

    def measured(of: Experiment) -> tuple[object, ...]:
        loss = of.augmentation, of.training.label_smoothing, of.training.class_weights
        return (
            of.data.source,
            of.data.validation,
            of.model,
            of.training.batch_size,
            loss,
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
    batch = jax.jit(augmented_batch)(state, images, jnp.asarray(train.targets[examples]))
    pairs = (np.asarray(to_float(images)), np.asarray(batch.images))
    folder.write_picture("augmented.png", lambda file: draw_augmented(*pairs, file), warn)


def write_report(
    folder: RunFolder,
    file: ExperimentFile,
    dataset: Dataset,
    rows: Sequence[LoggedRow],
    columns: Columns,
    logits: np.ndarray,
    warn: Callable[[str], None],
) -> None:
    """Write the table, the pictures, the predictions and every metric of them; raises as `RunFolder.write` does.

    A picture that cannot be drawn is left out, and `warn` called with a line that says why.
    """
    name, labels, names = file.name, dataset.test.targets, dataset.target_names
    predictions = Predictions(np.arange(len(labels), dtype=np.int64), labels, logits)
    folder.write("predictions.npz", lambda path: save_predictions(path, predictions))
    metrics = {"class_names": names, **classification_metrics(labels, logits).to_json()}
    folder.write_json("test_metrics.json", metrics)
    folder.write_text("table1.md", f"# {name}\n\n{markdown_table(rows, columns)}\n")
    draw = partial(folder.write_picture, warn=warn)
    draw("curves.png", lambda png: draw_curves(rows, file.published, name, png))
    draw("confusion.png", lambda png: draw_confusion(confusion_matrix(labels, logits), names, png))
    mistakes = most_confident_mistakes(labels, logits, _MOST_MISTAKES)
    draw("mistakes.png", lambda png: draw_mistakes(dataset.test.images, mistakes, names, png))
