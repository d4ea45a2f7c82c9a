"""What a run's network looks like: its first filters, and a map of the test images by its last features."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from flaxcnn.contracts import derive_contract
from flaxcnn.data.targets import is_classes
from flaxcnn.errors import FlaxcnnError
from flaxcnn.explanations.programs import Subject, activations, find_endpoint, in_batches
from flaxcnn.jax_settings import pinned
from flaxcnn.pages.html import image, text
from flaxcnn.pages.parts import Block, Part, Plot, Series, Text
from flaxcnn.reports.material import Material
from flaxcnn.tasks import Mistakes

_FEATURES = "features"  # the endpoint before the last layer, in the library's models
_MOST_FILTERS = 64
_MAP = "Map of the last features"
_MOST_IMAGES = 1000
_MOST_CLASSES = 10  # colours of a page


def filters(run: Material) -> Iterator[str]:
    """Yield the filters of the first convolution as HTML; nothing without a model."""
    if run.trained is None:
        return
    found = first_filters(run.trained.subject)
    yield "<section><h2>Filters of the first layer</h2>"
    if found is None:
        yield "<p>The first layer with four axes has not the image's channels, or filters of one pixel.</p></section>"
        return
    name, kernel_HWCK = found
    height, width, channels, count = kernel_HWCK.shape
    yield f"<p>{text(name)}: {count:,} filters of"
    yield f"{height}×{width}×{channels}. Grey is 0, and each has its own scale.</p>"
    tiles = "".join(
        image(as_pixels(kernel_HWCK[..., each]), f"filter {each}") for each in range(min(count, _MOST_FILTERS))
    )
    yield f'<div class="filters">{tiles}</div>'
    if count > _MOST_FILTERS:
        yield f"<p>The first {_MOST_FILTERS}.</p>"
    yield "</section>"


def first_filters(subject: Subject) -> tuple[str, npt.NDArray[np.float32]] | None:
    """Return the first kernel with rows, columns and the image's channels, (H, W, C, K), with its layer's name.

    None where the model has none of more than one cell.
    """
    channels = subject.image_shape[2]
    for layer in derive_contract(subject.model, subject.image_shape).layers:
        tree = subject.variables.get("params", {})
        for key in layer.path.split("/"):
            tree = tree.get(key, {}) if isinstance(tree, dict) else {}
        for value in tree.values() if isinstance(tree, dict) else ():
            if not isinstance(value, dict) and value.ndim == 4:
                kernel = np.asarray(value, np.float32)
                return (layer.path, kernel) if kernel.shape[2] == channels and kernel[:, :, 0, 0].size > 1 else None
    return None


def as_pixels(kernel_HWC: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return a filter as an image: grey for 0, and black or white for its largest weight.

    >>> as_pixels(np.float32([[[0.0], [2.0], [-1.0]]])).tolist()
    [[[128], [255], [64]]]
    """
    most = float(np.abs(kernel_HWC).max()) or 1.0
    return np.round(127.5 + 127.5 * kernel_HWC / most).astype(np.uint8)


def feature_map(run: Material, mistakes: Sequence[Mistakes]) -> Part | None:
    """Return the test images on a plane by their last features; None without a model or data.

    Args:
        run: of which.
        mistakes: of the task; those of the first head get a ring, or of errors the largest twentieth.
    """
    if run.trained is None or run.dataset is None:
        return None
    every, count = len(run.dataset.test), min(len(run.dataset.test), _MOST_IMAGES)
    chosen = np.linspace(0, every - 1, count).round().astype(np.int64)  # not the first ones: those may be of one class
    try:
        name, features_NxF = last_features(run.trained.subject, run.dataset.test.images[chosen])
    except FlaxcnnError as error:
        return Part(_MAP, [Text(f"There is none: {error}")])
    points_Nx2, shares = principal(features_NxF)
    targets = run.test.targets
    series: list[Series] = []
    names = run.form.target_names if isinstance(targets, np.ndarray) and is_classes(targets) else ()
    if 0 < len(names or ()) <= _MOST_CLASSES:
        for each, called in enumerate(names):
            own = points_Nx2[targets[chosen] == each]
            series.append(Series(str(called), own[:, 0], own[:, 1], "points", each))
    else:
        series.append(Series("test images", points_Nx2[:, 0], points_Nx2[:, 1], "points", 0))
    for ranked in mistakes[:1]:
        errors = np.nan_to_num(ranked.errors_N[chosen])
        shown = errors > (0 if ranked.counted else np.quantile(errors, 0.95))
        series.append(
            Series(
                "mistakes" if ranked.counted else "the largest errors",
                points_Nx2[shown, 0],
                points_Nx2[shown, 1],
                "rings",
                -1,
            )
        )
    told = (
        f"The two principal components of {features_NxF.shape[1]:,} features ({name}) of {count:,} test images, by "
        f"singular value decomposition: the plane on which they differ most, with {shares.sum():.0%} of their variance."
        " What lies apart here is apart; what lies together may be apart in the other directions."
    )
    axes = [f"component {each + 1} ({share:.0%})" for each, share in enumerate(shares)]
    blocks: list[Block] = [Text(told), Plot("Test images by their features", axes[0], axes[1], series)]
    return Part(_MAP, blocks)


def last_features(subject: Subject, images: npt.NDArray[np.uint8]) -> tuple[str, npt.NDArray[np.float64]]:
    """Return what the last layer is given of each image, float64 (N, F), with the endpoint's name.

    Of a model that does not name it, the last activation with rows and columns, its mean over these.

    Raises:
        ConfigError: the model names no such activation.
    """
    pixels = images.astype(np.float32) / np.float32(255)
    with pinned():
        try:
            name = _FEATURES
            compute = partial(activations, subject.model, subject.variables, endpoint=name)
            found = in_batches(compute, pixels)
        except KeyError:
            name = find_endpoint(subject, None).name
            compute = partial(activations, subject.model, subject.variables, endpoint=name)
            found = in_batches(compute, pixels)
    features = found.astype(np.float64)
    return name, features.mean((1, 2)) if features.ndim == 4 else features.reshape(len(features), -1)


def principal(features_NxF: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the first two principal components of features, (N, 2), and the share of the variance of each, (2,).

    Of each component the largest weight is positive, so that its sign does not depend on the machine. Components that
    there are not, are 0.
    """
    centred = features_NxF - features_NxF.mean(0)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(1)])
    points = (left * sizes * np.where(signs == 0, 1, signs))[:, :2]
    variance = sizes**2 / max(float((sizes**2).sum()), np.finfo(float).tiny)
    lacking = 2 - points.shape[1]
    return np.pad(points, [(0, 0), (0, lacking)]), np.pad(variance[:2], (0, lacking))
