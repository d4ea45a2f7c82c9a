"""The pictures of a classifier: the confusion matrix and the most confident mistakes."""

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from flaxcnn.data import Images
from flaxcnn.pictures import DPI, draw_tiles, new_figure
from flaxcnn.tasks.classification.confusion import Mistake


def draw_confusion(matrix_KxK: np.ndarray, class_names: Sequence[str], file: BinaryIO) -> None:
    """Draw a confusion matrix: rows are labels, columns predictions; colour is the fraction of the label's examples."""
    classes = len(class_names)
    side = min(16.0, max(5.5, 0.55 * classes + 1.5))
    figure = new_figure(side, side)
    axes = figure.subplots()
    fractions = matrix_KxK / np.maximum(matrix_KxK.sum(axis=1, keepdims=True), 1)
    axes.imshow(fractions.astype(np.float32), cmap="Blues", vmin=0, vmax=1)
    accuracy = np.trace(matrix_KxK) / max(matrix_KxK.sum(), 1)
    axes.set(xlabel="predicted", ylabel="label", title=f"{matrix_KxK.sum():,} test images, {accuracy:.2%} correct")
    if classes <= 30:
        axes.set_xticks(range(classes), class_names, rotation=90 if max(map(len, class_names)) > 3 else 0)
        axes.set_yticks(range(classes), class_names)
        for label, predicted in np.argwhere(matrix_KxK):
            colour = "white" if fractions[label, predicted] > 0.5 else "black"
            count = matrix_KxK[label, predicted]
            axes.text(predicted, label, f"{count}", ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(file, dpi=DPI)


def draw_mistakes(
    images_NHWC: Images, mistakes: Sequence[Mistake], class_names: Sequence[str], file: BinaryIO, columns: int = 6
) -> None:
    """Draw wrongly classified images, each with its label, the prediction, its probability and its index."""
    rows = max(1, -(-len(mistakes) // columns))
    tiles, titles = {}, {}
    for number, mistake in enumerate(mistakes):
        place = divmod(number, columns)
        tiles[place] = images_NHWC[mistake.example] / 255
        label, predicted = class_names[mistake.label], class_names[mistake.predicted]
        titles[place] = f"{label} taken for {predicted}\n{mistake.probability:.1%}, no. {mistake.example}"
    title = "The most confident mistakes on the test images" if mistakes else "No mistakes on the test images"
    draw_tiles(tiles, rows, columns, title, file, titles)
