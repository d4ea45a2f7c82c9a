"""How well does a network measure the size of an organism, from which its biomass follows?

    flaxcnn study plankton_biomass csv:PLANKTON/measurements.csv

PLANKTON/measurements.csv has the columns `file` and `area_px`, the measured area. Biomass grows with a power of the
size, so that the logarithm of the area is learned. An image is scaled to one size, which hides how large its organism
is: `letterbox` keeps its shape, and what is left to see is the blur of what was small.
"""

from flaxcnn import Study
from flaxcnn.config import Augmentation, Data, Experiment, Task, Training
from flaxcnn.studies import Probe

study = Study(
    base=Experiment(
        data=Data(size=(96,), channels="rgb", target=("log(area_px)",)),
        task=Task("regression"),
        augmentation=Augmentation(flip=0.5),
        training=Training(epochs=8, batch_size=32),
    ),
    entries={
        "finetuned": {"model.name": "efficientnet_lite0", "recipe": "finetune"},
        "probe": Probe("efficientnet_lite0"),
        "scratch": {
            "model.name": "small_cnn",
            "model.normalization": "dataset",
            "data.size": (64,),
            "training.epochs": 20,
            "recipe": "scratch",
        },
    },
    folds=5,
    seeds=(0, 1, 2),
)
