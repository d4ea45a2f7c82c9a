"""A trained model as an ONNX file, for any runtime: uint8 images in, the task's predictions out, any number of images.

    session = onnxruntime.InferenceSession("model.onnx")
    session.run(["logits"], {"images": images})     # uint8 (B, H, W, C), as decoded and fitted by the run

Normalisation is inside; scaling a photograph to the model's size is not, and the file says how the run does it.
"""

import importlib.util
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from flaxcnn.errors import ConfigError
from flaxcnn.export.function import function_of, of_any_batch
from flaxcnn.jax_settings import pinned
from flaxcnn.prediction.trained import Trained
from flaxcnn.tasks.calibration import DISTANCE

SUFFIX = ".onnx"
READ = (
    "import onnxruntime; session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider']);"
    "names = [each.name for each in session.get_outputs()];"
    "call = lambda images: dict(zip(names, session.run(names, {'images': images})))"
)
"""Python that reads such a file, called `path`, and defines `call`."""
_OPSET, _IR = 18, 8  # which runtimes read since 2023


def write_onnx(path: Path, trained: Trained) -> None:
    """Write a trained model as ONNX; an existing file is replaced, not atomically.

    Raises:
        ConfigError: onnx or onnxruntime is not installed; or the model has an operation that is not written as ONNX.
        OSError: it cannot be written.
    """
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            fix = "install it with: pip install 'flaxcnn[export]'"
            raise ConfigError(f"{package} is not installed", where=SUFFIX, expected="the extra export", fix=fix)
    from onnx import TensorProto, checker, helper

    from flaxcnn.export.onnx.graph import IMAGES, Graph
    from flaxcnn.export.onnx.traced import added

    (batch,) = export.symbolic_shape("B", constraints=["B >= 1"])
    shape = (batch, *trained.form.image_shape)
    with pinned():
        function = function_of(trained)
        images = jax.ShapeDtypeStruct(shape, jnp.uint8)
        trace = partial(jax.make_jaxpr(function, return_shape=True), images)
        traced, results = of_any_batch(trained, trace, SUFFIX)
        graph = Graph(batch)
        values = added(graph, traced, [graph.value(IMAGES, shape, np.uint8)])
    outputs = []
    for name, value in zip(sorted(results), values, strict=True):  # as JAX orders a dictionary
        graph.rename(graph.ordered(graph.whole(value)), name)
        sizes = ["B" if not isinstance(size, int) else size for size in value.shape]
        outputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), sizes))
    given = helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["B", *trained.form.image_shape])
    made = helper.make_graph(graph.nodes, "flaxcnn", [given], outputs, graph.initializers)
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR, producer_name="flaxcnn"
    )
    helper.set_model_props(model, {name: json.dumps(value) for name, value in _said(trained).items()})
    checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _said(trained: Trained) -> dict[str, object]:
    """Return what a reader of the file has to know: names, and how photographs become images."""
    height, width, channels = trained.form.image_shape
    return {
        "task": trained.task.name,
        "names": trained.form.target_names,
        "images": {
            "height": height,
            "width": width,
            "channels": "gray" if channels == 1 else "rgb",
            "fit": trained.experiment.data.fit,
        },
        "calibration": {name: each for name, each in trained.calibration.items() if name != DISTANCE},
    }
