"""What a model of Keras' applications computes, as .npz: run by a Python that has keras and jax.

    python keras_reference.py MODEL WEIGHTS.npz OUT.npz REQUEST.json

The weights are named as in a file of Keras, through which the model reads them. The request: `images` (count, height,
width, channels) and `endpoints` (our name to the layer of theirs whose output it is).
"""

import importlib
import json
import os
import pathlib
import sys
import tempfile

os.environ["KERAS_BACKEND"] = "jax"

import h5py
import keras
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent))
drawing = importlib.import_module("drawn")


def arrays_of(path):
    """The arrays of a file of weights, by their paths in it."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, each: found.update({name: each[()]}) if isinstance(each, h5py.Dataset) else None)
    return found


def load(model, weights, path):
    """Let the model read a file of these weights; it has to have just these names and shapes."""
    model.save_weights(path)
    shapes = {name: array.shape for name, array in arrays_of(path).items()}
    assert shapes == {name: array.shape for name, array in weights.items()}, set(shapes) ^ set(weights)
    with h5py.File(path, "r+") as file:
        for name, array in weights.items():
            file[name][()] = array
    model.load_weights(path)


def main():
    name, weights, out, request = sys.argv[1:]
    asked = json.loads(pathlib.Path(request).read_text())
    model = getattr(keras.applications, name)(weights=None, classifier_activation=None)
    outputs = {ours: model.get_layer(theirs).output for ours, theirs in asked["endpoints"].items()}
    reading = keras.Model(model.input, {**outputs, "logits": model.output})
    images = drawing.images(*asked["images"])
    found = {"parameters": np.asarray(sum(int(np.prod(each.shape)) for each in model.trainable_weights))}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "given.weights.h5")
        load(model, dict(np.load(weights)), path)
        for ours, each in reading(images, training=False).items():
            found[f"evaluation/{ours}"] = np.asarray(each)
        found["training/logits"] = np.asarray(model(images, training=True))
        model.save_weights(path)
        found.update({f"statistics/{name}": each for name, each in arrays_of(path).items() if each.ndim == 1})
    np.savez(out, **found)


if __name__ == "__main__":
    main()
