"""ONNX: the model's outputs in ONNX Runtime, in a process of its own, for every task, family and batch size."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from flax import linen
from jax import export, lax
from onnx import TensorProto, helper

import flaxcnn
from flaxcnn import config, data, models
from flaxcnn.errors import ConfigError
from flaxcnn.export.onnx.document import write_onnx
from flaxcnn.export.onnx.graph import Graph
from flaxcnn.export.onnx.traced import added
from flaxcnn.kernels.pooling import Windows, window_maxima
from flaxcnn.layers.suppression import suppressed
from flaxcnn.prediction.loading import load


def session_of(function, *shape, dtype=np.float32):
    """Return an ONNX Runtime session of a function of one array (B, *shape), and the graph."""
    (batch,) = export.symbolic_shape("B", constraints=["B >= 1"])
    graph = Graph(batch)
    traced = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((batch, *shape), dtype))
    values = added(graph, traced, [graph.value("images", (batch, *shape), dtype)])
    outputs = []
    for place, value in enumerate(values):
        graph.rename(graph.ordered(graph.whole(value)), f"out{place}")
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        outputs.append(helper.make_tensor_value_info(f"out{place}", kind, [None] * len(value.shape)))
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    given = helper.make_tensor_value_info("images", kind, ["B", *shape])
    made = helper.make_graph(graph.nodes, "test", [given], outputs, graph.initializers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session, graph


IMAGES = np.random.default_rng(0).normal(size=(3, 8, 6, 4)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
KERNEL = np.random.default_rng(2).normal(size=(3, 3, 2, 6)).astype(np.float32)


def grouped(x):
    return lax.conv_general_dilated(
        x, KERNEL, (2, 1), ((1, 0), (2, 2)), rhs_dilation=(1, 2), feature_group_count=2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


def attention(x):
    tokens = x.reshape(-1, 48, 4)
    weights = jax.nn.softmax(jnp.einsum("bic,bjc->bij", tokens, tokens))
    return jnp.einsum("bij,bjc->bic", weights, tokens)


def after_a_convolution(x):
    y = grouped(x)
    return y.mean((1, 2)), jnp.concatenate([y, y[:, ::-1]], 1)[:, 1:3], y + jnp.arange(6.0), jnp.stack([y, 2 * y])


OPERATIONS = {
    "elementwise": lambda x: jnp.exp(-jnp.abs(x)) + jnp.sin(x) * jnp.tanh(x) - jnp.floor(x) / (1 + x**2),
    "more elementwise": lambda x: jnp.log1p(x**2) + jnp.expm1(-(x**2)) + jnp.exp2(x) + lax.rsqrt(1 + x * x) + x**3,
    "activations": lambda x: jax.nn.gelu(x, approximate=False) + jax.nn.silu(x) + jax.nn.hard_swish(x),
    "clip": lambda x: jnp.clip(x, -0.5, 0.5) + lax.clamp(jnp.full((4,), -1.0), x.sum((0, 1, 2)), jnp.full((4,), 0.2)),
    "comparisons": lambda x: jnp.where((x > 0) & ~(x >= 1) | (x != x), x, jnp.minimum(x, 2.0)),
    "cast": lambda x: (x * 100).astype(jnp.int32) + 1,
    "weights alone": lambda x: x @ (jnp.asarray(WEIGHTS) * jnp.linspace(0, 1, 5)),
    "broadcast": lambda x: x.mean((1, 2), keepdims=True) * x + x.max(-1, keepdims=True),
    "sums": lambda x: (x.sum((0, 1)), x.prod(3), x.min((1, 3)), x.max(2), x.sum()),
    "places": lambda x: (x.argmax(-1), x.argmin(1)),
    "parts": lambda x: (x[:, 1:7:2, :-1], x[..., 0], x[:, ::-1], x[:, 2]),
    "a part that is moved inside": lambda x: lax.dynamic_slice(x.sum(0), (9, 1, 0), (3, 4, 4)),
    "chosen": lambda x: x[:, jnp.asarray([5, 0, 0, 7])],
    "joined": lambda x: jnp.concatenate([x, x * 2, jnp.ones_like(x)], axis=3),
    "stacked": lambda x: jnp.stack([x, -x], axis=2),
    "divided": lambda x: jnp.split(x, (1, 3), axis=3),
    "padded": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 3), (0, 0)), constant_values=0.5),
    "axes": lambda x: (x.transpose(0, 3, 1, 2), x.reshape(-1, 192), x[:, None], x.mean(1).transpose(2, 0, 1)),
    "divided into windows": lambda x: x.reshape(-1, 2, 4, 2, 3, 4).swapaxes(2, 3).reshape(-1, 12, 4).sum(1),
    "attention": attention,
    "convolution": grouped,
    "convolution, turned": lambda x: lax.conv(x.transpose(0, 3, 1, 2), KERNEL.T[:, [0, 1, 0, 1]], (1, 1), "SAME"),
    "overlapping maxima": lambda x: window_maxima(x, Windows((3, 3), (2, 2), ((1, 1), (1, 0)))),
    "Flax's pools": lambda x: (linen.max_pool(x, (2, 2), (2, 2)), linen.avg_pool(x, (3, 3), (1, 1), "SAME")),
    "after a convolution": after_a_convolution,
    "loop": lambda x: lax.scan(lambda total, row: (total + row, total * row), x[:, 0], x.swapaxes(0, 1), reverse=True),
    "the surest": lambda x: lax.top_k(jnp.floor(x).reshape(-1, 192), 7),  # with ties
    "rows of each image": jax.vmap(lambda x: x[lax.top_k(x[:, 0, 0], 3)[1]]),
    "remainders": lambda x: ((x * 100).astype(jnp.int32) % 7, lax.rem(x, 0.3), (x * 100).astype(jnp.int32) // 5),
    "chosen truths": lambda x: jnp.where(x > 0, x < 1, x.sum(-1, keepdims=True) > 0),
    "any and all": lambda x: ((x > 1).any((1, 2)), (x > -2).all(-1)),
    "as long as": lambda x: lax.while_loop(lambda y: (y < 9).any(), lambda y: y + jnp.abs(x) + 0.1, x),
    "as long as, of each image": jax.vmap(lambda x: lax.while_loop(lambda y: y.sum() < 9, lambda y: y + jnp.abs(x), x)),
    "without overlaps": jax.vmap(lambda x: suppressed(jnp.concatenate([x[:, 0, :2], x[:, 0, :2] + 2], -1), None, 0.3)),
    "no images in it": lambda x: (jnp.zeros((x.shape[0], 2)) + jnp.arange(2.0), jnp.ones(3)),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_gives_what_jax_gives(name):
    """The expected values are JAX's own; one image, too, since a batch of one must not be taken for a broadcast."""
    session, _ = session_of(OPERATIONS[name], *IMAGES.shape[1:])
    for images in (IMAGES, IMAGES[:2]):
        found = session.run(None, {"images": images})
        wanted = jax.tree.leaves(jax.jit(OPERATIONS[name])(images))
        assert [array.shape for array in found] == [array.shape for array in wanted]
        for one, other in zip(found, wanted, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda x: jnp.sort(x), "sort"),
        (jax.vmap(lambda x: x[:, lax.top_k(x[0, :, 0], 3)[1]].sum()), "gather at places that depend on the images"),
        (lambda x: x[1], "dim_as_value"),
        (lambda x: jnp.fft.fft(x).real, "fft"),
        (lambda x: lax.conv_transpose(x, KERNEL[:, :, [0, 1, 0, 1]], (2, 2), "SAME"), "transposed convolution"),
        (jax.vmap(lambda image: window_maxima(image[None], Windows((2, 2), (2, 2)))), "vmap"),
    ],
)
def test_an_operation_that_is_not_written_is_named(function, found):
    with pytest.raises(ConfigError, match=f"no ONNX for an operation of this model; found .*{found}.*stablehlo"):
        session_of(function, *IMAGES.shape[1:])


def test_the_papers_network_is_as_many_nodes_as_it_has_operations(tmp_path):
    """By hand: cast, division, 2 × (convolution, pool, ReLU), flattening, product, bias; images are turned once."""
    experiment = config.Experiment(training=config.Training(epochs=1, batch_size=10), model=config.Model("paper_cnn"))
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1), np.uint8)
    own = data.from_arrays(images, np.arange(40) % 10, test_fraction=0.25)
    path = tmp_path / "paper.onnx"
    write_onnx(path, load(flaxcnn.train(experiment, dataset=own, out=tmp_path / "run", quiet=True).folder))
    model = onnx.load(path)
    operators = [node.op_type for node in model.graph.node]
    assert operators == [
        *("Cast", "Div", "Transpose", "Conv", "MaxPool", "Relu", "Conv", "MaxPool", "Relu"),
        *("Transpose", "Reshape", "MatMul", "Add", "Identity"),
    ]  # fmt: skip
    assert sum(int(np.prod(each.dims)) for each in model.graph.initializer) == 28_938 + 1 + 2  # 255, and a shape
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    said = {each.key: each.value for each in model.metadata_props}
    assert said["images"] == '{"height": 28, "width": 28, "channels": "gray", "fit": "crop"}'


ZOO = {  # one of each family; the sizes of images are the least that they take, or what keeps a test short
    "paper_cnn_bn": 28,
    "small_cnn": 32,
    "lenet5": 32,
    "efficientnet_lite0": 64,
    "mobilenet_v3_small": 64,
    "shufflenet_v2_x1_0": 64,
    "alexnet": 96,
    "alexnet_32px": 32,
    "wide_resnet10_1": 32,
    "vgg16_bn": 64,
    "vgg16_sk": 64,
    "googlenet": 64,
    "inception_v3": 96,
    "inception_resnet_v2": 96,
    "resnet18": 64,
    "resnet50_32px": 32,
    "densenet121": 64,
    "efficientnet_b0": 64,
    "convnext_tiny": 64,
    "maxvit_t": 224,
    "maxvit_base_tf_224": 224,
}
QUICK, IN_CI = 3, 4  # so many of them in every run of the tests, and in those of CI; all by `make test-export`


def marks(place):
    return () if place < QUICK else pytest.mark.slow if place < IN_CI else pytest.mark.zoo


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(place)) for place, name in enumerate(ZOO)])
def test_a_family_has_the_same_outputs(name):
    side = ZOO[name]
    model = models.create(name, classes=5)
    images = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)
    variables = jax.jit(lambda key, images: model.init(key, images, train=False))(jax.random.key(0), images)
    rng = np.random.default_rng(1)  # no statistics of a fresh model
    louder = 8 if name == "googlenet" else 1  # whose first weights let an image fade away
    variables = jax.tree.map(
        lambda a: np.asarray(a * rng.uniform(0.8, 1.2, a.shape) * (louder if a.ndim > 1 else 1), a.dtype), variables
    )

    def outputs(variables, images):
        return model.apply(variables, images, train=False)[0]

    wanted = np.asarray(jax.jit(outputs)(variables, images))
    session, graph = session_of(lambda images: outputs(variables, images), side, side, 3)
    found = np.concatenate([session.run(None, {"images": images[place : place + 1]})[0] for place in range(2)])
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
    apart = np.ptp(wanted, axis=0).max()  # what the images make of it
    assert np.abs(found - wanted).max() < 0.1 * apart
    turned = sum(node.op_type == "Transpose" for node in graph.nodes)
    assert turned <= 1 or name not in ("efficientnet_lite0", "resnet18")
