"""The boxes that are left are those that torchvision's `nms` and `batched_nms` leave.

Where there is no torchvision, what an earlier run of it left stands for it (`kept_suppression.npz`).
"""

import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from flaxcnn.layers.suppression import suppressed
from tests.parity.drawn_boxes import DRAWS, THRESHOLDS, drawn_boxes
from tests.parity.test_torchvision import PYTHON, WRITE, has_torchvision

HERE = Path(__file__).parent
KEPT = HERE / "kept_suppression.npz"


def require_same(kept):
    run = jax.jit(suppressed, static_argnums=2)
    for seed in range(DRAWS):
        boxes, _, classes = drawn_boxes(seed)
        size = 400  # one program for all: the boxes that are missing have no area
        given = np.pad(boxes, [(0, size - len(boxes)), (0, 0)])
        named = np.pad(classes, (0, size - len(boxes)), constant_values=9)
        for threshold in THRESHOLDS:
            for kind, asked in (("any", None), ("class", named)):
                found = np.flatnonzero(np.asarray(run(given, asked, threshold))[: len(boxes)])
                np.testing.assert_array_equal(found, kept[f"{kind} {seed} {threshold}"])
                assert 0 < len(found) < len(boxes)


@pytest.mark.parity
def test_boxes_that_are_left_are_torchvisions(tmp_path):
    if not has_torchvision():
        pytest.skip(f"{PYTHON} has no torchvision: apt install python3-torchvision")
    out = KEPT if WRITE else tmp_path / "out.npz"
    done = subprocess.run([PYTHON, HERE / "suppression_reference.py", out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    require_same(np.load(out))


def test_boxes_that_are_left_are_those_that_torchvision_left():
    require_same(np.load(KEPT))
