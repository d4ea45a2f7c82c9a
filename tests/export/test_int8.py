"""int8: smaller files with the same outputs and nearly the same answers, measured on a run's own images."""

import re
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from flaxcnn.data import load as load_data
from flaxcnn.evaluation.predictions import load_predictions
from flaxcnn.export.compared import Comparison, Value, Worth
from flaxcnn.export.onnx.document import write_onnx
from flaxcnn.export.onnx.folding import fold
from flaxcnn.export.onnx.int8 import _around_products, write_int8
from flaxcnn.prediction.loading import load
from flaxcnn.tasks import Metric


def outputs_of(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def test_the_outputs_of_each_task_are_nearly_the_same_in_a_smaller_file(trained, tmp_path):
    """The outputs keep names, shapes and dtypes, take any number of images, and are not clipped to 256 values."""
    whole, small = tmp_path / "whole.onnx", tmp_path / "small.onnx"
    write_onnx(whole, trained)
    images = np.random.default_rng(1).integers(0, 256, (300, 12, 12, 3), np.uint8)
    write_int8(small, whole, images[:70])
    wanted, found = outputs_of(whole, images), outputs_of(small, images)
    assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
        name: (array.shape, array.dtype) for name, array in wanted.items()
    }
    for name in wanted:
        assert np.abs(found[name] - wanted[name]).max() < 0.2 * np.ptp(wanted[name])
        assert len(np.unique(found[name])) > 256
    assert small.stat().st_size < 0.5 * whole.stat().st_size
    of_arrays = [each.data_type for each in onnx.load(small).graph.initializer if len(each.dims) > 1]
    weights = {node.input[1] for node in onnx.load(whole).graph.node if node.op_type in ("Conv", "MatMul")}
    assert of_arrays.count(TensorProto.INT8) == len(weights)  # once, also where two views are looked at
    assert of_arrays.count(TensorProto.UINT8) == 0  # as the pixels' mean would be


def test_weights_take_7_of_8_bits(trained, tmp_path):
    """So that two products of unsigned activations fit into 16 bits: 2 × 255 × 64 < 2^15 < 2 × 255 × 128."""
    write_onnx(tmp_path / "whole.onnx", trained)
    images = np.random.default_rng(1).integers(0, 256, (40, 12, 12, 3), np.uint8)
    write_int8(tmp_path / "small.onnx", tmp_path / "whole.onnx", images)
    for each in onnx.load(tmp_path / "small.onnx").graph.initializer:
        if each.data_type == TensorProto.INT8 and len(each.dims) > 1:
            assert 32 < np.abs(onnx.numpy_helper.to_array(each)).max() <= 64


def test_what_comes_before_and_after_all_products_is_known():
    nodes = [
        helper.make_node(operator, inputs, [output], name=output)
        for operator, inputs, output in (
            ("Cast", ["images"], "cast"),
            ("Conv", ["cast", "kernel"], "conv"),
            ("Relu", ["conv"], "relu"),
            ("MatMul", ["relu", "weights"], "product"),
            ("Relu", ["relu"], "beside"),
            ("Add", ["product", "bias"], "sum"),
            ("Identity", ["sum"], "logits"),
        )
    ]
    graph = helper.make_graph(nodes, "test", [], [])
    assert set(_around_products(graph)) == {"cast", "beside", "sum", "logits"}


KERNEL = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
CHANNELS = np.asarray([0.5, -2, 3, 1], np.float32).reshape(1, 4, 1, 1)


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([("Add", "y", "c"), ("Sub", "y", "c"), ("Mul", "y", "c"), ("Div", "y", "c"), ("Add", "y", "one")], ["Conv"]),
        ([("Add", "c", "y"), ("Mul", "one", "y")], ["Conv"]),
        ([("Sub", "c", "y")], ["Conv", "Sub"]),  # turns the sign; no model has it
        ([("Add", "y", "y")], ["Conv", "Add"]),
        ([("Mul", "y", "everywhere"), ("Add", "y", "c")], ["Conv", "Mul", "Add"]),
    ],
)
def test_what_is_folded_into_a_convolution_changes_no_output(steps, left):
    made = [helper.make_node("Conv", ["images", "kernel"], ["y0"], name="conv")]
    for place, (operator, *operands) in enumerate(steps):
        operands = [each.replace("y", f"y{place}") if each == "y" else each for each in operands]
        made.append(helper.make_node(operator, operands, [f"y{place + 1}"], name=f"step{place}"))
    arrays = {"kernel": KERNEL, "c": CHANNELS, "one": np.float32(3), "everywhere": KERNEL[:1, :1, :, :]}
    graph = helper.make_graph(
        made, "test",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["B", 3, 5, 5])],
        [helper.make_tensor_value_info(f"y{len(steps)}", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    images = np.random.default_rng(1).normal(size=(2, 3, 5, 5)).astype(np.float32)

    def outputs():
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {"images": images})[0]

    wanted = outputs()
    fold(model)
    assert [node.op_type for node in model.graph.node] == left
    np.testing.assert_allclose(outputs(), wanted, rtol=1e-4, atol=1e-4)


def comparison(before, after, *, higher=True):
    worths = [Worth({"score": Value(*each)}, 2048, [1.0, 2.0, 3.0]) for each in (before, after)]
    return Comparison(*worths, {"score": Metric(higher_is_better=higher)}, 1200)


def test_a_metric_that_is_worse_than_its_interval_is_warned_of():
    before = (0.9, 0.88, 0.92)
    assert comparison(before, (0.885, 0.8, 0.9)).warnings() == []
    assert comparison(before, (0.95, 0.9, 0.99)).warnings() == []
    (line,) = comparison(before, (0.8712, 0.8, 0.9)).warnings()
    assert line == (
        "warning: int8 costs more than chance: score 0.9000 becomes 0.8712, below its 95 % interval, 0.8800 to 0.9200"
    )
    assert comparison(before, (0.8, 0.7, 0.9), higher=False).warnings() == []
    (line,) = comparison(before, (0.93, 0.9, 0.95), higher=False).warnings()
    assert "above its 95 % interval" in line
    nan = (float("nan"),) * 3
    assert comparison(nan, nan).warnings() == []
    table = comparison(nan, before).lines()
    assert table[1] == "score           not defined        0.9000 (0.8800 to 0.9200)  1,200 test images, 95 % intervals"
    assert table[2] == "file            2.0 KiB            2.0 KiB"
    assert table[3].startswith("an image alone  2 ms (1.2 to 2.8)")


@pytest.mark.slow
def test_a_run_whose_images_are_gone_is_one_line_and_with_their_new_place_a_file(shapes_run, flaxcnn, tmp_path):
    folder, _ = shapes_run
    done = flaxcnn("export", folder, "--to", "small.onnx", "--quantize", "int8")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "flaxcnn: --quantize int8: int8 is calibrated and measured with the run's images, which cannot"
    )
    assert "Say where they are with --data" in line
    assert not (tmp_path / "small.onnx").exists()
    shutil.copytree(folder.parent / "elsewhere", tmp_path / "photos")
    done = flaxcnn("export", folder, "--to", "small.onnx", "--quantize", "int8", "--data", "folder:photos")
    assert done.returncode == 0, done.stderr
    assert re.search(r"small\.onnx  0\.\d MiB, int8, calibrated with \d+ validation images", done.stdout)
    assert (tmp_path / "small.onnx").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "a.fcnn", "--quantize", "int8"), "--quantize: not for this format"),
        (("--to", "a.onnx", "--quantize", "int4"), "int4"),
        (("--to", "a.onnx", "--runtime", "."), "--runtime: not for this format"),
        (("--to", "a.onnx", "--prepare", "digits"), "--prepare digits: not for this format"),
        (("--to", "a.txt"), "in no known format; expected a name that ends in .fcnn, .onnx, .stablehlo, or in /"),
    ],
)
def test_options_that_are_not_for_a_format_are_one_line(flaxcnn, tmp_path, words, said):
    done = flaxcnn("export", "run", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_papers_network_loses_no_more_than_chance(commands, flaxcnn, tmp_path):
    """What the command says of the float32 file is what the run says of itself; of the other, what NumPy counts."""
    run = tmp_path / "run"
    words = ["train", "--training.steps", "400", "--data.validation", "0.1", "--out", run]
    done = commands.run(words, tmp_path)
    assert done.returncode == 0, done.stderr
    done = flaxcnn("export", run, "--to", "digits.onnx", "--quantize", "int8")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "calibrated with 512 validation images" in done.stdout
    (line,) = re.findall(r"^accuracy .*", done.stdout, re.MULTILINE)
    before, low, high, after, *_ = map(float, re.findall(r"0\.\d{4}", line))
    test = load_data("mnist").test
    logits = load_predictions(run / "predictions.npz").predictions["logits"]
    assert before == pytest.approx((logits.argmax(1) == test.targets).mean(), abs=5e-4)
    found = outputs_of(tmp_path / "digits.onnx", np.asarray(test.images))["logits"]
    assert after == pytest.approx((found.argmax(1) == test.targets).mean(), abs=1e-4)
    assert low < after < high
    assert (found.argmax(1) == logits.argmax(1)).mean() > 0.99
    whole = tmp_path / "whole.onnx"
    write_onnx(whole, load(run))
    assert (tmp_path / "digits.onnx").stat().st_size < whole.stat().st_size - 2 * 28_938  # 3 of 4 bytes of a weight
