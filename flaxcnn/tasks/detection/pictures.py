"""The pictures of detections: the worst images with their boxes, precision over recall, counts over true counts.

Each is drawn with the settings of `flaxcnn.pictures.drawn`, which provides the file.
"""

from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from flaxcnn.data import Images
from flaxcnn.pictures import DPI, new_figure
from flaxcnn.tasks.curves import MOST_CURVES
from flaxcnn.tasks.detection.evaluated import Evaluated
from flaxcnn.tasks.detection.operating_point import counting_errors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_WORST = 12
"""Images in the picture of the worst ones."""
_COLUMNS = 4
_MOST_PANELS = 6
_NAME = 18  # characters of a class's name
_RIGHT, _WRONG, _FOUND, _MISSED = "#1f77b4", "#d62728", "#2ca02c", "#ff7f0e"


def draw_worst(images_NHWC: Images, found: Evaluated, file: BinaryIO) -> None:
    """Draw the images with the most wrong detections and missed objects, at most 12, with true boxes and detections.

    True boxes are green, or orange if nothing finds them. Detections whose score is at least the threshold are blue if
    they are right, and red if not, with their class and score.

    Args:
        images_NHWC: uint8; grey or RGB.
        found: the predictions, of these images.
        file: where it goes.
    """
    worst = found.worst_images(MOST_WORST)
    height, width, channels = images_NHWC.shape[1:]
    rows, gap = max(1, -(-len(worst) // _COLUMNS)), max(1, width // 20)
    canvas = np.full((rows * (height + gap), _COLUMNS * (width + gap), channels), 255, np.uint8)
    side = 3.2  # inches of an image
    figure = new_figure(_COLUMNS * side, rows * side * (height + gap) / (width + gap) + 0.8)
    axes = figure.subplots()
    axes.set_axis_off()
    for number, image in enumerate(worst):
        row, column = divmod(number, _COLUMNS)
        top, left = row * (height + gap), column * (width + gap)
        canvas[top : top + height, left : left + width] = images_NHWC[image]
        _draw_boxes(axes, found, image, top, left)
        axes.text(left, top + height, f"no. {image}", fontsize=7, va="top", in_layout=False)
    axes.imshow(canvas[:, :, 0] if channels == 1 else canvas, cmap="gray", vmin=0, vmax=255)
    for name, color, style in (
        ("object, found", _FOUND, "-"),
        ("object, missed", _MISSED, "-"),
        ("detection, right", _RIGHT, "--"),
        ("detection, wrong", _WRONG, "--"),
    ):
        axes.plot([], [], color=color, linestyle=style, label=name)
    title = (
        "Images with the most wrong detections and missed objects" if worst else "No wrong detection, nothing missed"
    )
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=4)
    figure.savefig(file, dpi=DPI)


def draw_precision_recall(found: Evaluated, ap50_K: np.ndarray, file: BinaryIO) -> None:
    """Draw precision over recall at an IoU of 0.5 of the classes with the lowest AP50, eight at most.

    The dot on a curve is the threshold of the class.

    Args:
        found: the predictions.
        ap50_K: the AP50 of each class; NaN of one without a true box.
        file: where it goes.
    """
    ranked = [each for each in np.argsort(ap50_K, kind="stable").tolist() if not np.isnan(ap50_K[each])]
    figure = new_figure(7.5, 5.5)
    axes = figure.subplots()
    right_K, said_K, true_K = (
        each.sum(0) for each in (found.outcome.right_counts, found.outcome.said_counts, found.outcome.true_counts)
    )
    for number, each in enumerate(ranked[:MOST_CURVES]):
        precision, recall = found.precision_recall(each)
        axes.plot(recall, precision, color=f"C{number}", label=f"{_short(found.names[each])}, {ap50_K[each]:.3f}")
        if said_K[each]:
            axes.plot(right_K[each] / true_K[each], right_K[each] / said_K[each], "o", color=f"C{number}")
    few = f", the worst {MOST_CURVES} of {len(ranked):,} classes" if len(ranked) > MOST_CURVES else ""
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.set_title(f"Precision over recall at an IoU of 0.5, and AP50{few}")
    axes.grid(alpha=0.3)
    if ranked:
        figure.legend(loc="outside right upper")
    figure.savefig(file, dpi=DPI)


def draw_counts(found: Evaluated, file: BinaryIO) -> None:
    """Draw the number of detections of each image over the number of its objects: of all classes, and of five.

    The five are those with the largest mean absolute error. The area of a dot is the number of images that it stands
    for.
    """
    said_NxK, true_NxK = found.outcome.said_counts, found.outcome.true_counts
    error_K, _ = counting_errors(said_NxK, true_NxK)
    shown = np.argsort(-error_K, kind="stable")[: _MOST_PANELS - 1].tolist()
    panels = [("all together", said_NxK.sum(1), true_NxK.sum(1))] if len(found.names) > 1 else []
    panels += [(_short(found.names[each]), said_NxK[:, each], true_NxK[:, each]) for each in shown]
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = new_figure(4.2 * columns, 4.2 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, said_N, true_N) in zip(grid, panels, strict=False):
        (error,), (bias,) = counting_errors(said_N[:, None], true_N[:, None])
        points, numbers = np.unique(np.stack([true_N, said_N]), axis=1, return_counts=True)
        end = int(np.max(points, initial=1))
        axes.plot([0, end], [0, end], "--", color=_WRONG, linewidth=1)
        axes.scatter(*points, s=300 * numbers / np.max(numbers, initial=1) + 4, color=_RIGHT, alpha=0.5, linewidths=0)
        axes.set(xlabel="objects", ylabel="detections", title=f"{name}: error {error:.2f}, too many {bias:+.2f}")
        axes.grid(alpha=0.3)
        axes.locator_params(integer=True)
    images = len(true_NxK)
    figure.suptitle(f"Counts of {images:,} test image{'' if images == 1 else 's'}; on the line, they are right")
    figure.savefig(file, dpi=DPI)


def _draw_boxes(axes: "Axes", found: Evaluated, image: int, top: int, left: int) -> None:
    """Draw the boxes of one image whose first pixel is at a place of the axes."""
    from matplotlib.patches import Rectangle

    truths, detections, outcome = found.objects.truths, found.objects.detections, found.outcome

    def draw(box: np.ndarray, color: str, style: str) -> None:
        y0, x0, y1, x1 = box - 0.5  # a pixel's centre is at whole numbers there
        corner, extent = (left + x0, top + y0), (x1 - x0, y1 - y0)
        axes.add_patch(Rectangle(corner, *extent, fill=False, color=color, linestyle=style, linewidth=1.2))

    for each in np.flatnonzero(truths.images == image).tolist():
        draw(truths.boxes[each], _FOUND if outcome.found[each] else _MISSED, "-")
    for each in np.flatnonzero((detections.images == image) & outcome.kept).tolist():
        color, box = _RIGHT if outcome.right[each] else _WRONG, detections.boxes[each]
        draw(box, color, "--")
        name = f"{_short(found.names[detections.classes[each]])} {detections.scores[each]:.2f}"
        place = left + max(0.0, box[1]), top + max(0.0, box[0])
        frame = {"color": color, "pad": 0.5, "lw": 0}
        # A layout that asks each text for its size takes most of the time.
        axes.text(*place, name, color="white", fontsize=5, va="bottom", bbox=frame, in_layout=False)


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
