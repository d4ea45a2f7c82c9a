"""What torchvision's model computes, as .npz: run by a Python that has torchvision (Debian's python3-torchvision).

    /usr/bin/python3 torchvision_reference.py MODEL OUT.npz REQUEST.json

The request: `options` of the function, `gain` of its drawn weights, `images` (count, height, width, channels),
`endpoints` (our name to the module of theirs whose output it is), `modes`: of "evaluation", "training" and "gradient".
"""

import collections
import importlib
import json
import pathlib
import sys

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent))
drawing = importlib.import_module("drawn")


def lenet5(weights=None):
    """The network of PyTorch's tutorial "Neural Networks", for 28×28 pixels, which it pads to 32×32."""
    named = {
        "conv1": torch.nn.Conv2d(1, 6, 5, padding=2),
        "relu1": torch.nn.ReLU(),
        "pool1": torch.nn.MaxPool2d(2),
        "conv2": torch.nn.Conv2d(6, 16, 5),
        "relu2": torch.nn.ReLU(),
        "pool2": torch.nn.MaxPool2d(2),
        "flat": torch.nn.Flatten(),
        "fc1": torch.nn.Linear(400, 120),
        "relu3": torch.nn.ReLU(),
        "fc2": torch.nn.Linear(120, 84),
        "relu4": torch.nn.ReLU(),
        "fc3": torch.nn.Linear(84, 10),
    }
    return torch.nn.Sequential(collections.OrderedDict(named))


OTHERS = {"lenet5": lenet5}  # models that torchvision has not


def with_drawn_weights(model, gain):
    """Give every parameter and statistic the values that its name draws."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(np.asarray(drawing.drawn(name, tuple(tensor.shape), gain))))
    return model


def last_axis(tensor):
    """NCHW activations as NHWC."""
    array = tensor.detach().numpy()
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array


def without_randomness(model):
    """Dropout and stochastic depth off: what they draw differs between libraries."""
    for module in model.modules():
        if "Dropout" in type(module).__name__ or type(module).__name__ == "StochasticDepth":
            module.p = 0.0


def answer(model, asked, out):
    """Save what is asked for of a model with its weights."""
    torch.set_num_threads(2)
    without_randomness(model)
    images = torch.from_numpy(drawing.images(*asked["images"]).transpose(0, 3, 1, 2).copy())
    found = {"parameters": np.asarray(sum(each.numel() for each in model.parameters()))}
    modules, seen = dict(model.named_modules()), {}
    for ours, theirs in asked["endpoints"].items():
        modules[theirs].register_forward_hook(lambda module, given, result, ours=ours: seen.update({ours: result}))

    def logits():
        result = model(images)
        return result if isinstance(result, torch.Tensor) else result[0]  # auxiliary heads come after

    if "evaluation" in asked["modes"]:
        model.eval()
        with torch.no_grad():
            found["evaluation/logits"] = logits().numpy()
        found.update({f"evaluation/{ours}": last_axis(each) for ours, each in seen.items()})
    if "gradient" in asked["modes"]:
        model.eval()
        images.requires_grad_(True)
        (logits() ** 2).sum().backward()
        found["gradient"] = last_axis(images.grad)
        images.requires_grad_(False)
    if "training" in asked["modes"]:
        model.train()
        with torch.no_grad():
            found["training/logits"] = logits().numpy()
        for key, tensor in model.state_dict().items():
            if key.endswith(("running_mean", "running_var")):
                found[f"statistics/{key}"] = tensor.numpy()
    np.savez(out, **found)


def main():
    name, out, request = sys.argv[1:]
    with open(request) as file:
        asked = json.load(file)
    function = OTHERS.get(name) or getattr(importlib.import_module("torchvision").models, name)
    answer(with_drawn_weights(function(weights=None, **asked["options"]), asked["gain"]), asked, out)


if __name__ == "__main__":
    main()
