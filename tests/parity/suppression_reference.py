"""Which boxes torchvision leaves, as .npz: run by a Python that has torchvision.

    /usr/bin/python3 suppression_reference.py OUT.npz

For each of the draws of `drawn_boxes.py` and each threshold the places of the boxes that `nms` and `batched_nms` leave.
"""

import importlib
import pathlib
import sys

import numpy as np
import torch
from torchvision.ops import batched_nms, nms

sys.path.insert(0, str(pathlib.Path(__file__).parent))
drawing = importlib.import_module("drawn_boxes")

found = {}
for seed in range(drawing.DRAWS):
    boxes, scores, classes = map(torch.from_numpy, drawing.drawn_boxes(seed))
    corners = boxes[:, [1, 0, 3, 2]]  # theirs are x before y
    for threshold in drawing.THRESHOLDS:
        found[f"any {seed} {threshold}"] = nms(corners, scores, threshold).numpy()
        found[f"class {seed} {threshold}"] = batched_nms(corners, scores, classes, threshold).numpy()
np.savez_compressed(sys.argv[1], **{name: np.sort(places).astype(np.uint16) for name, places in found.items()})
