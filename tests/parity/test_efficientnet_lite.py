"""EfficientNet-Lite0 beside its reference code, with the weights published for ImageNet and with drawn ones.

The reference needs a Python of its own that has PyTorch and the packages that `efficientnet_lite_reference.py` names:
FLAXCNN_EFFICIENTNET_LITE_PYTHON. Its logits of the drawn weights are kept (`kept_logits.npz`), and those of the
published ones, as "efficientnet_lite0/published".
"""

import json
import os
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.models import MODELS, create
from flaxcnn.models.weights.convert import places, to_ours
from tests.parity.cases import Case
from tests.parity.drawn import images
from tests.parity.test_torchvision import HERE, KEPT, WRITE, ours, same, statistics

NAME = "efficientnet_lite0"
PYTHON = os.environ.get("FLAXCNN_EFFICIENTNET_LITE_PYTHON")
LAST = {"stage1": 0, "stage2": 2, "stage3": 4, "stage4": 10, "stage5": 15}  # the last block of each stage
CASE = Case(
    "efficientnet-lite0",
    {stage: f"_blocks.{block}" for stage, block in LAST.items()},
    momentum=0.01,
    layout="efficientnet_pytorch",
    gain=0.8,
)


def published(tensors):
    """Our model with the published weights: the model, its variables, and the names of theirs."""
    model, layout = create(NAME, 1000), MODELS[NAME].layouts[CASE.layout]
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32))
    return model, to_ours(tensors, layout, shapes, NAME), places(layout, shapes)


@pytest.mark.parity
@pytest.mark.parametrize("weights", ["published", "drawn"])
def test_it_is_its_reference(weights, tmp_path):
    if PYTHON is None:
        pytest.skip("set FLAXCNN_EFFICIENTNET_LITE_PYTHON to a Python that has the reference")
    request = {
        "images": [CASE.images, *CASE.size, 3],
        "endpoints": CASE.endpoints,
        "gain": CASE.gain,
        "modes": ["evaluation", "training"],
    }
    (tmp_path / "request.json").write_text(json.dumps(request))
    words = [PYTHON, HERE / "efficientnet_lite_reference.py", weights, tmp_path / "out.npz", tmp_path / "request.json"]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = dict(np.load(tmp_path / "out.npz"))
    tensors = {name.removeprefix("weights/"): each for name, each in theirs.items() if name.startswith("weights/")}
    model, variables, named = published(tensors) if tensors else ours(NAME, CASE)
    x = jnp.asarray(images(CASE.images, *CASE.size))
    assert theirs["parameters"] == MODELS[NAME].parameters

    logits, endpoints = jax.jit(model.apply)(variables, x)
    for stage in CASE.endpoints:
        same(endpoints[stage], theirs[f"evaluation/{stage}"], CASE.tolerance, stage)
    same(logits, theirs["evaluation/logits"], CASE.tolerance, "logits")
    still = model.clone(drop_path=0.0)
    trained = jax.jit(lambda v, x: still.apply(v, x, train=True, dropout=0.0, mutable=["batch_stats"]))
    (logits, _), updated = trained(variables, x)
    same(logits, theirs["training/logits"], 10 * CASE.tolerance, "logits in training")
    statistics(NAME, CASE, model, variables, updated, named, theirs)
    if WRITE:
        key = NAME if weights == "drawn" else f"{NAME}/published"
        kept = dict(np.load(KEPT)) if KEPT.exists() else {}
        np.savez_compressed(KEPT, **{**kept, key: theirs["evaluation/logits"]})


@pytest.mark.slow
def test_its_logits_are_those_that_the_reference_gave():
    model, variables, _ = ours(NAME, CASE)
    logits, _ = jax.jit(model.apply)(variables, jnp.asarray(images(CASE.images, *CASE.size)))
    same(logits, np.load(KEPT)[NAME], CASE.tolerance, "logits")
