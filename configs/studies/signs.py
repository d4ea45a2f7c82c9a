"""Which traffic sign is in a small, often dark photograph, and what is a random split of a camera's frames worth?

    flaxcnn study signs csv:SIGNS/labels.csv

SIGNS/labels.csv has the columns `file`, `stage2` (the sign) and `track`: frames of a track show the same sign while the
camera comes closer, so that each track is on one side. Signs are not mirrored.

Expected of 928 frames of 12 signs, accuracy, ± over three seeds: finetuned 0.958 ± 0.014, scratch 0.943 ± 0.010, probe
0.789; with frames of a track on both sides the same probe reports 0.922. 49 minutes on two CPU cores of an AMD EPYC,
which did other work beside it.
"""

from flaxcnn import Study
from flaxcnn.config import Augmentation, Data, Experiment, Training
from flaxcnn.studies import Probe

study = Study(
    base=Experiment(
        data=Data(size=(96,), channels="rgb", target=("stage2",), group="track"),
        augmentation=Augmentation(brightness=0.5, contrast=0.5, rotate=10, scale=0.15, shift=6),
        training=Training(epochs=12, batch_size=32),
    ),
    entries={
        "finetuned": {
            "model.name": "efficientnet_lite0",
            "recipe": "finetune",
            "optimizer.learning_rate": 3e-3,  # letters and numerals are far from what the weights were trained on
            "optimizer.rates": (),
            "training.head_epochs": 1,
            "training.norm_momentum": None,
        },
        "probe": Probe("efficientnet_lite0"),
        "random_split": Probe("efficientnet_lite0", groups="divided"),
        "border_alone": Probe("efficientnet_lite0", sees="border"),
        "scratch": {
            "model.name": "small_cnn",
            "model.normalization": "dataset",
            "data.size": (64,),
            "training.epochs": 40,
            "recipe": "scratch",
        },
    },
    folds=5,
    seeds=(0, 1, 2),
)
