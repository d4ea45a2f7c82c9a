"""An ONNX file whose products and convolutions are of whole numbers of 8 bits, by ONNX Runtime's static quantization.

Weights are quantized a channel at a time, activations by the least and the largest value that they have on images for
calibration (QDQ, https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html). Weights take 7 of the
8 bits: without VNNI, an x86 processor adds two products in 16 bits, which full weights overflow, so that a file would
answer one thing where its accuracy was measured and another elsewhere.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from flaxcnn.export.onnx.folding import fold
from flaxcnn.export.onnx.graph import IMAGES

_WEIGHED = ("Conv", "Gemm", "MatMul")
_ALONG = ("Add", "AveragePool", "Clip", "Concat", "GlobalAveragePool", "MaxPool", "Relu", "Reshape", "Transpose")
"""What lies between products and may stay in whole numbers; a softmax or a norm is more sensitive than it is slow."""
_BATCH = 32


def write_int8(path: Path, given: Path, images_NHWC: npt.NDArray[np.uint8]) -> None:
    """Write an ONNX file that `write_onnx` wrote again, quantized; an existing file is replaced, not atomically.

    What comes before the first product, the normalisation of pixels, and what follows the last, such as a bias or a
    number's unit, stay as they are: an output has more values than 256.

    Args:
        path: the new file.
        given: the one to quantize.
        images_NHWC: to calibrate with, uint8, as the model takes them.

    Raises:
        OSError: it cannot be written.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        folded, shaped = onnx.load(given), Path(folder, "shaped.onnx")
        fold(folded)
        quant_pre_process(folded, shaped, skip_symbolic_shape=True, skip_optimization=True)
        quantize_static(
            shaped,
            path,
            _Calibration(images_NHWC),
            quant_format=QuantFormat.QDQ,
            calibrate_method=CalibrationMethod.MinMax,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=[*_WEIGHED, *_ALONG],
            nodes_to_exclude=_around_products(folded.graph),
            extra_options={"OpTypesToExcludeOutputQuantization": list(_WEIGHED)[1:]},  # a bias follows, or the answer
        )


class _Calibration:
    """Gives images in batches, as ONNX Runtime asks for them."""

    def __init__(self, images_NHWC: npt.NDArray[np.uint8]):
        self._parts: Iterator[Any] = iter(np.split(images_NHWC, range(_BATCH, len(images_NHWC), _BATCH)))

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        """Return the next batch by the name of the graph's input; None after the last."""
        part = next(self._parts, None)
        return None if part is None else {IMAGES: part}

    def __iter__(self) -> "_Calibration":
        return self

    def __next__(self) -> dict[str, npt.NDArray[np.uint8]]:
        part = self.get_next()
        if part is None:
            raise StopIteration
        return part


def _around_products(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes that come before every product and convolution, or that none of them follows.

    Args:
        graph: nodes in an order in which each comes before what uses it.
    """
    made: set[str] = set()  # values that depend on some product
    needed: set[str] = set()  # values that some product depends on
    between = set()
    for node in graph.node:
        if node.op_type in _WEIGHED or made.intersection(node.input):
            made.update(node.output)
            between.add(node.name)
    for node in reversed(graph.node):
        if node.op_type in _WEIGHED or needed.intersection(node.output):
            needed.update(node.input)
        else:
            between.discard(node.name)
    return [node.name for node in graph.node if node.name not in between]
