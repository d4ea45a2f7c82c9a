"""How the files here were made, once: `python3 make.py` with PyTorch 1.13, then with safetensors, then with Keras 3.

The same numbers are in all; `test_weight_files.py` has them too.
"""

import collections
import sys


def torch_files():
    import torch

    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    tensors = collections.OrderedDict(
        whole=base,
        turned=base.t(),
        part=base[1:3, ::2],
        half=torch.tensor([0.5, -2.0, 1e-4]).half(),
        brain=torch.tensor([[0.5, -2.0], [3.0, 1e30]]).bfloat16(),
        number=torch.tensor(5),
        double=torch.tensor([0.1, 0.2], dtype=torch.float64),
        truth=torch.tensor([True, False]),
        parameter=torch.nn.Parameter(torch.ones(2)),
        empty=torch.empty(0, 3),
    )
    torch.save(tensors, "torch_1_6.pth")
    torch.save(tensors, "torch_0_4.pth", _use_new_zipfile_serialization=False)
    inside = {f"module.{name}": tensor for name, tensor in tensors.items()}
    optimizer = {"state": {0: {"moment": torch.zeros(3)}}, "rate": 0.1}
    torch.save({"epoch": 3, "state_dict": inside, "optimizer": optimizer}, "checkpoint.pth")
    torch.save(torch.nn.Linear(1, 1), "whole_model.pth")


def safetensors_file():
    import numpy as np
    from safetensors.numpy import save_file

    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    half, double = np.array([0.5, -2.0, 1e-4], np.float16), np.array([0.1, 0.2])
    save_file({"whole": base, "half": half, "double": double, "number": np.array(5)}, "safe.safetensors", {"a": "b"})


def keras_files():
    import keras

    given = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(3, 2, use_bias=False, name="first")(given)
    x = keras.layers.BatchNormalization(scale=False, name="norm")(x)
    x = keras.layers.Conv2D(2, 1, name="second")(x)
    model = keras.Model(given, keras.layers.Dense(2, name="predictions")(keras.layers.Flatten()(x)))
    for place, variable in enumerate(model.weights):
        variable.assign(keras.ops.full(variable.shape, place))
    model.save_weights("keras.weights.h5")


if __name__ == "__main__":
    {"torch": torch_files, "safetensors": safetensors_file, "keras": keras_files}[sys.argv[1]]()
