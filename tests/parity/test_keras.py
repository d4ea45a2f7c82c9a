"""Inception-ResNet-v2 beside Keras' on JAX, in a process of its own, through a file of weights in Keras' own form.

FLAXCNN_KERAS_PYTHON names a Python that has keras and jax; without it, logits that an earlier run kept stand for Keras.
"""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.models import MODELS, create
from flaxcnn.models.weights.convert import places, to_ours
from tests.parity.drawn import drawn, images
from tests.parity.test_torchvision import KEPT, WRITE, same

HERE = Path(__file__).parent
PYTHON = os.environ.get("FLAXCNN_KERAS_PYTHON", sys.executable)
NAME, FUNCTION, IMAGES = "inception_resnet_v2", "InceptionResNetV2", (2, 299, 299, 3)
ENDPOINTS = {
    "stem": "activation_2",
    "stage1": "activation_4",
    "stage2": "block35_10_ac",
    "stage3": "block17_20_ac",
    "stage4": "conv_7b_ac",
    "features": "avg_pool",
}


@functools.cache
def has_keras():
    words = [PYTHON, "-c", "import os; os.environ['KERAS_BACKEND'] = 'jax'; import keras"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def ours():
    """Our model, its variables as drawn by their own paths, the arrays by Keras' names, and the names."""
    model, layout = create(NAME, 1000), MODELS[NAME].layouts["keras"]
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(IMAGES, jnp.float32))
    named = places(layout, shapes)
    tensors = {place.name: drawn("/".join(path[1:]), place.shape) for path, place in named.items()}
    return model, to_ours(tensors, layout, shapes, NAME), tensors, named


@pytest.mark.parity
def test_the_model_is_keras(tmp_path):
    if not has_keras():
        pytest.skip(f"{PYTHON} has no keras and jax; name one that has in FLAXCNN_KERAS_PYTHON")
    model, variables, tensors, named = ours()
    np.savez(tmp_path / "weights.npz", **tensors)
    (tmp_path / "request.json").write_text(json.dumps({"images": IMAGES, "endpoints": ENDPOINTS}))
    files = [tmp_path / name for name in ("weights.npz", "out.npz", "request.json")]
    words = [PYTHON, HERE / "keras_reference.py", FUNCTION, *files]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = np.load(tmp_path / "out.npz")
    assert MODELS[NAME].parameters == theirs["parameters"]
    x = jnp.asarray(images(*IMAGES))
    logits, endpoints = jax.jit(model.apply)(variables, x)
    for name in ENDPOINTS:
        same(endpoints[name], theirs[f"evaluation/{name}"], 1e-5, name)
    same(logits, theirs["evaluation/logits"], 1e-5, "logits")
    trained = jax.jit(lambda v, x: model.apply(v, x, train=True, dropout=0.0, mutable=["batch_stats"]))
    (logits, _), updated = trained(variables, x)
    same(logits, theirs["training/logits"], 1e-4, "logits in training")
    statistics = [path for path in named if path[0] == "batch_stats"]
    assert statistics
    for path in statistics:
        found = functools.reduce(lambda tree, key: tree[key], path, updated)
        same(found, theirs[f"statistics/{named[path].name}"], 1e-4, named[path].name)
    if WRITE:
        np.savez_compressed(KEPT, **{**np.load(KEPT), NAME: theirs["evaluation/logits"]})


@pytest.mark.zoo
def test_its_logits_are_those_that_keras_gave():
    model, variables, _, _ = ours()
    logits, _ = jax.jit(model.apply)(variables, jnp.asarray(images(*IMAGES)))
    same(logits, np.load(KEPT)[NAME], 1e-5, "logits")
