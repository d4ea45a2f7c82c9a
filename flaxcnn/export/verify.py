"""Run an exported file in a process of its own, and hold its outputs against the model's."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from flaxcnn.errors import RunFolderError
from flaxcnn.prediction.model_file import TOLERANCE, drawn_images
from flaxcnn.prediction.trained import Trained

_SCRIPT = """
import sys
import numpy as np
path, given, out = sys.argv[1:]
{read}
images = np.load(given)
for count in (len(images), 1):
    found = {{name: np.asarray(array) for name, array in call(images[:count]).items()}}
    np.savez(f"{{out}}-{{count}}.npz", **found)
"""
_SECONDS = 600  # that a first compilation may take on a busy machine


def verify(path: Path, read: str, trained: Trained) -> float:
    """Return the largest difference of a file's outputs from the model's, as `Task.difference` has it.

    Args:
        path: the file.
        read: Python that reads a file called `path`, and defines `call`.
        trained: the model.

    Raises:
        RunFolderError: the file cannot be run, or has other outputs.
    """
    trained = trained._replace(familiarity=None)  # of which such a file has nothing
    images, worst = drawn_images(trained.form.image_shape), 0.0
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "images.npy"), Path(folder, "out")
        np.save(given, images)
        words = [sys.executable, "-c", _SCRIPT.format(read=read), str(path), str(given), str(out)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
            raise RunFolderError("the exported file does not run", where=path, found=last)
        for count in (len(images), 1):
            with np.load(f"{out}-{count}.npz") as found:
                worst = max(worst, trained.task.difference(dict(found), trained.predictions(images[:count])))
    if not worst <= TOLERANCE:
        raise RunFolderError(
            "the exported file has other outputs",
            where=path,
            expected=f"the same to {TOLERANCE:g}",
            found=f"{worst:.1e}",
        )
    return worst
