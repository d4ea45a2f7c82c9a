"""A finished run's model in int8: calibrated with the run's validation images, measured on its test images."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data import Split
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.export.compared import Comparison, compare
from flaxcnn.export.onnx import document
from flaxcnn.export.verify import verify
from flaxcnn.prediction.trained import Trained
from flaxcnn.runs.folder.named import NOTHING, Named
from flaxcnn.runs.folder.record import read_config, require_same_data
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.given import anywhere, load

MOST_IMAGES = 512
"""That calibrate: more change the least and the largest activation by little."""


class Examples(NamedTuple):
    """What a quantized model is made and measured with.

    Attributes:
        images_NHWC: to calibrate with, uint8.
        kind: whose images these are: "validation", or "training" of a run without validation images.
        test: what it is measured on.
    """

    images_NHWC: npt.NDArray[np.uint8]  # noqa: N815
    kind: str
    test: Split


def examples_of(
    folder: RunFolder, source: str | None = None, data_dir: str | None = None, named: Named = NOTHING
) -> Examples:
    """Return a run's images, read again: at most `MOST_IMAGES` to calibrate with, evenly from all, and the test images.

    Args:
        folder: of the run.
        source: where the data are now; None for where they were.
        data_dir: the folder of TensorFlow data sets now; None for the recorded one.
        named: code of the user's own, by field, named again.

    Raises:
        DataError: the data are not there any more, or changed.
        RunFolderError, ConfigError: as `read_config`.
    """
    experiment = anywhere(read_config(folder, named).file.experiment, source, data_dir)
    try:
        loaded = load(experiment)
    except (DataError, ConfigError) as error:
        raise DataError(
            "int8 is calibrated and measured with the run's images, which cannot be read",
            where="--quantize int8",
            found=str(error).rstrip("."),
            fix="say where they are with --data and --data.dir, or leave out --quantize",
        ) from error
    require_same_data(folder, loaded.dataset)
    split = loaded.train if loaded.validation is None else loaded.validation
    few = np.unique(np.linspace(0, len(split) - 1, min(len(split), MOST_IMAGES)).astype(np.int64))  # of every class
    images = np.asarray(split.choose(few).images[:])
    return Examples(images, "training" if loaded.validation is None else "validation", loaded.dataset.test)


def write_measured(path: Path, trained: Trained, examples: Examples) -> Comparison:
    """Write a model in int8 as ONNX, and return what it is worth beside the one in float32, which is verified first.

    Args:
        path: the file; an existing one is replaced, not atomically.
        trained: the model.
        examples: of its run.

    Raises:
        ConfigError: as `document.write_onnx`.
        RunFolderError: as `verify`.
        OSError: it cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "float32.onnx")
        document.write_onnx(whole, trained)
        verify(whole, document.READ, trained)
        from flaxcnn.export.onnx.int8 import write_int8

        write_int8(path, whole, examples.images_NHWC)
        return compare(whole, path, trained, examples.test)
