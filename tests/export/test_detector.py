"""A detector in a file: what it finds, or what each place says, and the page that draws it."""

import jax
import numpy as np
import onnx
import pytest

from flaxcnn import config
from flaxcnn.errors import ConfigError
from flaxcnn.export import stablehlo
from flaxcnn.export.function import at_all_places
from flaxcnn.export.onnx import document
from flaxcnn.export.verify import verify
from flaxcnn.export.web.form import form_of_page
from flaxcnn.prediction.trained import Trained
from flaxcnn.runs.folder.form import ModelForm
from flaxcnn.tasks import Classification, Detection
from tests.detectors import Small

pytestmark = pytest.mark.usefixtures("light_programs")

SIDE = 96
FORMATS = {".onnx": (document.write_onnx, document.READ), ".stablehlo": (stablehlo.write_stablehlo, stablehlo.READ)}
NAMES = {"boxes": ("y0", "x0", "y1", "x1"), "classes": ("red", "green"), "scale": ("scale",)}


@pytest.fixture(scope="module")
def detector(light_programs):
    """With drawn weights, large enough that its places disagree."""
    model, targets = Small(), {"boxes": np.zeros((1, 1, 4)), "classes": np.zeros((1, 1)), "scale": np.ones(1)}
    variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, SIDE, SIDE, 3), np.float32))
    variables["params"]["head"]["class"]["kernel"] *= 300
    variables["params"]["head"]["box"]["kernel"] *= 60
    constants = {"scale": np.float32(255), "thresholds": np.float32([0.5, 0.4]), "objects": np.float32(1)}
    form = ModelForm((SIDE, SIDE, 3), NAMES, targets)
    experiment = config.Experiment(task=config.Task("detection"))
    return Trained(experiment, Detection(classes=2), form, model, {**variables, "constants": constants}, {}, None)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("suppression", ["class", "any", "none"])
def test_a_file_finds_what_the_model_finds(detector, suffix, suppression, tmp_path):
    chosen = detector._replace(task=Detection(classes=2, suppression=suppression))
    write, read = FORMATS[suffix]
    write(tmp_path / f"model{suffix}", chosen)
    assert verify(tmp_path / f"model{suffix}", read, chosen) < 1e-5
    said = chosen.predictions(np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8))
    if suppression == "none":
        assert said["scores"].shape == (2, 12 * 12 + 6 * 6, 2)
    else:
        assert 5 < ((said["scores"] > 0).sum(1)).min() <= 100


def test_suppression_is_one_loop_of_onnx(detector, tmp_path):
    document.write_onnx(tmp_path / "inside.onnx", detector)
    document.write_onnx(tmp_path / "outside.onnx", at_all_places(detector))
    inside, outside = (
        [node.op_type for node in onnx.load(tmp_path / f"{name}.onnx").graph.node] for name in ("inside", "outside")
    )
    assert (inside.count("Loop"), inside.count("TopK")) == (1, 2)
    assert not {"Loop", "TopK"} & set(outside)


def test_a_classifier_has_no_boxes_to_leave_where_they_are(detector):
    with pytest.raises(ConfigError, match="--nms outside: not for this task; expected detection, found classification"):
        at_all_places(detector._replace(task=Classification()))


def test_the_page_knows_names_and_thresholds(detector):
    form = form_of_page(detector, "as_trained")
    thresholds = [0.5, pytest.approx(0.4)]
    assert form["answer"] == {"kind": "detection", "names": ["red", "green"], "thresholds": thresholds}
