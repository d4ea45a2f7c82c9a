"""Every model beside torchvision's: logits, stages, training mode and statistics, with weights that a formula draws.

`make test-parity` runs all, with Debian's python3-torchvision in a process of its own. Where there is none, logits that
an earlier run kept stand for it (`kept_logits.npz`).
"""

import functools
import json
import os
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.contracts import derive_contract
from flaxcnn.models import MODELS
from flaxcnn.models.weights.convert import places, to_ours
from tests.parity.cases import CASES
from tests.parity.drawn import drawn, images

HERE = Path(__file__).parent
KEPT = HERE / "kept_logits.npz"
PYTHON = os.environ.get("FLAXCNN_TORCHVISION_PYTHON", "/usr/bin/python3")
WRITE = os.environ.get("FLAXCNN_KEEP_LOGITS") == "1"


@functools.cache
def has_torchvision():
    tried = subprocess.run([PYTHON, "-c", "import torchvision"], capture_output=True, check=False)
    return tried.returncode == 0


def given(name, case):
    """The shape of a case's images: how many, height, width, channels."""
    return (case.images, *case.size, MODELS[name].size[2])


def ours(name, case):
    """Our model with drawn weights: the model, its variables, and the names of theirs."""
    variant = MODELS[name]
    layout = variant.layouts[case.layout]
    model = variant.create(classes=variant.classes, dtype=jnp.float32, **layout.fields)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(given(name, case), jnp.float32))
    named = places(layout, shapes)
    tensors = {place.name: drawn(place.name, place.shape, case.gain) for place in named.values()}
    return model, to_ours(tensors, layout, shapes, name), named


def same(found, expected, tolerance, what):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, what
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    print(f"{what}: {difference:.2e} of the largest")
    assert difference <= tolerance, f"{what}: {difference:.2e} of the largest"


@pytest.mark.parity
@pytest.mark.parametrize("name", CASES)
def test_a_model_is_torchvisions(name, tmp_path):
    if not has_torchvision():
        pytest.skip(f"{PYTHON} has no torchvision: apt install python3-torchvision")
    case = CASES[name]
    modes = ["evaluation", *(["training"] if case.momentum else []), *(["gradient"] if case.gradient else [])]
    request = {
        "options": case.options,
        "gain": case.gain,
        "images": given(name, case),
        "endpoints": case.endpoints,
        "modes": modes,
    }
    (tmp_path / "request.json").write_text(json.dumps(request))
    words = [PYTHON, HERE / "torchvision_reference.py", case.function, tmp_path / "out.npz", tmp_path / "request.json"]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = np.load(tmp_path / "out.npz")
    model, variables, named = ours(name, case)
    x = jnp.asarray(images(*given(name, case)))
    assert MODELS[name].parameters == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    if not case.options.get("aux_logits"):
        assert MODELS[name].parameters == theirs["parameters"]

    logits, endpoints = jax.jit(model.apply)(variables, x)
    for ours_called in case.endpoints:
        same(endpoints[ours_called], theirs[f"evaluation/{ours_called}"], case.tolerance, ours_called)
    same(logits, theirs["evaluation/logits"], case.tolerance, "logits")
    if case.gradient:
        gradient = jax.jit(jax.grad(lambda x: (model.apply(variables, x)[0] ** 2).sum()))(x)
        same(gradient, theirs["gradient"], case.tolerance, "gradient of the images")
    if case.momentum:
        still = model.clone(drop_path=0.0) if hasattr(model, "drop_path") else model
        trained = jax.jit(lambda v, x: still.apply(v, x, train=True, dropout=0.0, mutable=["batch_stats"]))
        (logits, _), updated = trained(variables, x)
        same(logits, theirs["training/logits"], 10 * case.tolerance, "logits in training")
        statistics(name, case, model, variables, updated, named, theirs)
    if WRITE:
        kept = dict(np.load(KEPT)) if KEPT.exists() else {}
        np.savez_compressed(KEPT, **{**kept, name: theirs["evaluation/logits"]})


def statistics(name, case, model, variables, updated, named, theirs):
    """Hold the updated running statistics against theirs, whose variance of the batch is n / (n - 1) of ours."""
    contract = derive_contract(model, given(name, case)[1:])
    outputs = {layer.path: layer.outputs[0] for layer in contract.layers if layer.inputs is not None}
    for path, place in named.items():
        if path[0] != "batch_stats":
            continue
        found, old = updated, variables
        for key in path:
            found, old = found[key], old[key]
        expected = theirs[f"statistics/{place.name}"]
        if path[-1] == "var":
            shape = outputs["/".join(path[1:-1])]
            n = case.images * int(np.prod([int(str(length)) for length in shape[1:-1]]))
            kept = (1 - case.momentum) * np.asarray(old)
            expected = (expected - kept) * (n - 1) / n + kept
        same(found, expected, 10 * case.tolerance, place.name)


LARGE = 3e7  # parameters, whose drawing takes longer than the model


@pytest.mark.parametrize(
    "name",
    [
        name
        if name == "lenet5"
        else pytest.param(name, marks=pytest.mark.zoo if MODELS[name].parameters > LARGE else pytest.mark.slow)
        for name in CASES
    ],
)
def test_its_logits_are_those_that_torchvision_gave(name):
    case = CASES[name]
    model, variables, _ = ours(name, case)
    logits, _ = jax.jit(model.apply)(variables, jnp.asarray(images(*given(name, case))))
    same(logits, np.load(KEPT)[name], case.tolerance, "logits")
