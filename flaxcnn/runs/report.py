"""The files of a run that people look at: the table beside the paper's values, and the pictures."""

import numpy as np

from flaxcnn.config import Experiment, ExperimentFile, PublishedRow
from flaxcnn.data import Dataset
from flaxcnn.evaluation.confusion import confusion_matrix, most_confident_mistakes
from flaxcnn.evaluation.pictures import draw_confusion, draw_curves, draw_mistakes
from flaxcnn.evaluation.table import LoggedRow, markdown_table
from flaxcnn.runs.folder import RunFolder

_MOST_MISTAKES = 30


def comparable(file: ExperimentFile, experiment: Experiment) -> tuple[PublishedRow, ...]:
    """Return the published values if the experiment still measures what they measure, else none.

    They are set beside a run of the same data, model and batches, logged at the same steps on the same test images;
    the seed, the optimizer's settings and the length of the run may differ.
    """

    def measured(of: Experiment) -> tuple[object, ...]:
        return of.data.source, of.model, of.training.batch_size, of.logging.every, of.logging.test_examples

    return file.published if measured(experiment) == measured(file.experiment) else ()


def write_report(
    folder: RunFolder, file: ExperimentFile, dataset: Dataset, rows: list[LoggedRow], logits: np.ndarray
) -> None:
    """Write `table1.md`, `curves.png`, `confusion.png` and `mistakes.png`; raises as `RunFolder.write` does."""
    name, published = file.name, file.published
    labels, names = dataset.test.labels, dataset.class_names
    table = markdown_table(rows, published)
    folder.write_text("table1.md", f"# {name}\n\n{table}\n")
    folder.write("curves.png", lambda path: draw_curves(rows, published, name, path))
    folder.write("confusion.png", lambda path: draw_confusion(confusion_matrix(labels, logits), names, path))
    mistakes = most_confident_mistakes(labels, logits, _MOST_MISTAKES)
    folder.write("mistakes.png", lambda path: draw_mistakes(dataset.test.images, mistakes, names, path))
