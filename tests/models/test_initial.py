"""Weights of other libraries become a model's and back; what does not fit is named."""

import dataclasses
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from flaxcnn.errors import ConfigError, ContractError, DataError
from flaxcnn.models import MODELS, create
from flaxcnn.models.variant import Layout
from flaxcnn.models.weights.convert import places, to_theirs
from flaxcnn.models.weights.initial import converted, flattened, read_converted, read_initial
from flaxcnn.models.weights.writing import WRITERS, write_npz
from tests.parity.cases import CASES
from tests.parity.drawn import drawn
from tests.parity.test_torchvision import PYTHON, has_torchvision

NAMES = {**{f"conv{n}": f"features.conv{n}" for n in (1, 2, 3)}, **{f"norm{n}": f"features.norm{n}" for n in (1, 2, 3)}}
LAYOUTS = {
    "torchvision": Layout(lambda: {**NAMES, "head": "classifier"}, flattened={"head": (7, 7)}, unused=("aux.",)),
    "timm": Layout(lambda: {**{ours: theirs[9:] for ours, theirs in NAMES.items()}, "head": "head.fc"}),
}


@pytest.fixture(autouse=True)
def layouts(monkeypatch):
    """The small CNN as if it were another library's too."""
    monkeypatch.setitem(MODELS, "small_cnn", dataclasses.replace(MODELS["small_cnn"], layouts=LAYOUTS))


def variables(classes=10):
    shapes = jax.eval_shape(create("small_cnn", classes).init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    return jax.tree_util.tree_map_with_path(lambda path, leaf: drawn(jax.tree_util.keystr(path), leaf.shape), shapes)


def head_of(outputs):
    """A new head of small_cnn."""
    return {"kernel": np.zeros((6272, outputs), np.float32), "bias": np.zeros(outputs, np.float32)}


def same(found, expected):
    found, expected = flattened(found), flattened(expected)
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ending", WRITERS)
def test_what_is_saved_by_another_librarys_names_is_read_back(tmp_path, layout, ending):
    ours = variables(classes=7)
    WRITERS[ending](tmp_path / f"w{ending}", to_theirs(ours, LAYOUTS[layout]))
    found = read_converted(tmp_path / f"w{ending}", "small_cnn")
    assert (found.layout, found.classes) == (layout, 7)
    same(found.variables, ours)


def test_what_pytorch_counts_and_heads_that_are_not_used_are_left_out():
    ours = variables()
    theirs = to_theirs(ours, LAYOUTS["torchvision"])
    extra = {"features.norm1.num_batches_tracked": np.array(7), "aux.weight": np.zeros(3, np.float32)}
    same(converted({**theirs, **extra}, "small_cnn", "w").variables, ours)


def test_what_does_not_fit_is_named():
    theirs = to_theirs(variables(), LAYOUTS["torchvision"])
    less = {name: array for name, array in theirs.items() if name != "features.norm2.bias"}
    for tensors, match in [
        (less, r"missing: features\.norm2\.bias.*left over: none"),
        ({**theirs, "extra.weight": theirs["classifier.bias"]}, r"missing: none.*left over: extra\.weight"),
        ({**theirs, "features.norm2.bias": np.zeros(3)}, r"norm2\.bias: a tensor of another shape"),
        ({**theirs, "features.norm2.bias": np.full(64, np.nan)}, "not finite"),
        ({"other.weight": np.zeros(3)}, "no small_cnn.*names of torchvision, timm.*other"),
        ({}, "no weights that flaxcnn saved"),
        ({"params/head/kernel": np.zeros((6272, 10))}, "another type.*float32"),
    ]:
        with pytest.raises(DataError, match=match):
            converted(tensors, "small_cnn", "w")
    with pytest.raises(ConfigError, match=r"no such layout.*timm"):
        converted(theirs, "small_cnn", "w", "timn")
    with pytest.raises(DataError, match="names are not known of paper_cnn"):
        converted(theirs, "paper_cnn", "w")


def test_our_own_file_of_another_model_is_refused(tmp_path):
    shapes = jax.eval_shape(create("paper_cnn", 10).init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    write_npz(tmp_path / "w.npz", flattened(jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)))
    with pytest.raises(DataError, match="another model"):
        read_converted(tmp_path / "w.npz", "small_cnn")


@pytest.mark.parametrize("outputs", [10, 3])
def test_a_new_head_begins_at_zero(tmp_path, outputs):
    ours, key = variables(), jax.random.key(4)
    write_npz(tmp_path / "weights.npz", {**flattened(ours), "constants/pixel_mean": np.zeros(1, np.float32)})
    model = create("small_cnn", outputs)
    found = read_initial(tmp_path, "small_cnn", model, outputs, (28, 28, 1), key)
    new = head_of(3)
    expected = {**ours, "params": {**ours["params"], **({"head": new} if outputs == 3 else {})}}
    same(found.variables, expected)
    assert ("the head is new: it has 10 outputs there, and 3 here" in found.line) == (outputs == 3)
    assert len(found.digest) == 64


def test_layers_that_the_weights_have_not_are_new(tmp_path, monkeypatch):
    trunk = Layout(lambda: NAMES, unused=("classifier.",), new=("head",))
    monkeypatch.setitem(MODELS, "small_cnn", dataclasses.replace(MODELS["small_cnn"], layouts={"torchvision": trunk}))
    ours, model, key = variables(), create("small_cnn", 3), jax.random.key(4)
    WRITERS[".pth"](tmp_path / "w.pth", to_theirs(ours, LAYOUTS["torchvision"]))
    found = read_initial(tmp_path / "w.pth", "small_cnn", model, 3, (28, 28, 1), key)
    new = head_of(3)
    same(found.variables, {**ours, "params": {**ours["params"], "head": new}})
    assert found.line.endswith("with the names of torchvision; new are head")
    with pytest.raises(DataError, match="not all of small_cnn's layers"):
        read_converted(tmp_path / "w.pth", "small_cnn")


def test_weights_for_a_model_of_other_fields_say_so(tmp_path, monkeypatch):
    other = dataclasses.replace(LAYOUTS["torchvision"], fields={"dtype": "float64"})
    monkeypatch.setitem(MODELS, "small_cnn", dataclasses.replace(MODELS["small_cnn"], layouts={"torchvision": other}))
    WRITERS[".pth"](tmp_path / "w.pth", to_theirs(variables(), LAYOUTS["torchvision"]))
    model = create("small_cnn", 10)
    found = read_initial(tmp_path / "w.pth", "small_cnn", model, 10, (28, 28, 1), jax.random.key(0))
    assert "published for dtype='float64', which this model has not" in found.line


def test_a_model_of_other_sizes_is_refused(tmp_path):
    write_npz(tmp_path / "w.npz", flattened(variables()))
    with pytest.raises(ContractError, match="trunk differs"):
        read_initial(tmp_path / "w.npz", "x", create("paper_cnn", 3), 3, (28, 28, 1), jax.random.key(0))


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        pytest.param(name, layout, marks=pytest.mark.slow if variant.parameters > 1e7 else ())
        for name, variant in MODELS.items()
        for layout in variant.layouts
    ],
)
def test_every_layout_names_each_tensor_once(name, layout):
    variant = MODELS[name]
    images = jax.ShapeDtypeStruct((1, *variant.size), jnp.float32)
    shapes = jax.eval_shape(variant.create(classes=variant.classes).init, jax.random.key(0), images)
    named = [place.name for place in places(variant.layouts[layout], shapes).values()]
    new = variant.layouts[layout].new
    assert len(set(named)) == len(named)
    assert len(named) == sum(
        not f"{'/'.join(path[1:])}/".startswith(tuple(f"{each}/" for each in new) or "\0")
        for path in flatten_dict(shapes)
    )


_STRICT = """
import sys, torch, torchvision
model = getattr(torchvision.models, sys.argv[1])(weights=None, **eval(sys.argv[3]))
model.load_state_dict(torch.load(sys.argv[2]), strict=True)
"""


@pytest.mark.parity
@pytest.mark.parity
@pytest.mark.parametrize("name", [name for name in CASES if "torchvision" in MODELS[name].layouts])
def test_torchvision_loads_what_is_saved_by_its_names(name, tmp_path):
    if not has_torchvision():
        pytest.skip(f"{PYTHON} has no torchvision")
    variant, case = MODELS[name], CASES[name]
    images = jax.ShapeDtypeStruct((1, *variant.size), jnp.float32)
    shapes = jax.eval_shape(variant.create(classes=variant.classes).init, jax.random.key(0), images)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    WRITERS[".pth"](tmp_path / "w.pth", to_theirs(zeros, variant.layouts["torchvision"]))
    words = [PYTHON, "-c", _STRICT, case.function, str(tmp_path / "w.pth"), repr(dict(case.options))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
