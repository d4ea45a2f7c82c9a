"""Which microalgae are in a culture, and how concentrated are they, on recordings that were not learned of?

    flaxcnn study microalgae csv:FRAMES/labels.csv
    flaxcnn study microalgae csv:FRAMES/labels.csv --data.size 224

FRAMES/labels.csv has the columns `file`, `class`, `concentration_percent` (empty where it is not known) and `session`.
Class and concentration are learned together. Frames of one session are nearly the same image, so that each session is
on one side. The surveyed studies report accuracies above .99, and R² as high, on random splits: the entry
`random_split` divides sessions too, to show what that is worth.

Expected of 648 frames of 54 sessions, ± over three seeds: accuracy of the class finetuned 0.926 ± 0.013, scratch
0.912 ± 0.020, probe 0.883, border alone 0.866, random split 1.000; R² of the concentration finetuned 0.937 ± 0.016,
scratch 0.965 ± 0.037, probe 0.724, random split 0.981. 76 minutes on two CPU cores of an AMD EPYC, which did other work
for most of it.
"""

from flaxcnn import Study
from flaxcnn.config import Augmentation, Data, Experiment, Task, Training
from flaxcnn.studies import Probe

study = Study(
    base=Experiment(
        data=Data(size=(128,), channels="rgb", target=("class", "concentration_percent"), group="session"),
        task=Task("several", heads=("class=classification", "concentration_percent=regression")),
        augmentation=Augmentation(flip=0.5, crop_padding=4),
        training=Training(epochs=8, batch_size=16),
    ),
    entries={
        "finetuned": {
            "model.name": "efficientnet_lite0",
            "recipe": "finetune",
            "optimizer.learning_rate": 1e-3,
            "optimizer.layer_decay": 1.0,
            "optimizer.rates": (),
            "training.norm_momentum": 0.9,
        },
        "probe": Probe("efficientnet_lite0"),
        "random_split": Probe("efficientnet_lite0", groups="divided"),
        "border_alone": Probe("efficientnet_lite0", sees="border"),
        "file_facts": Probe("efficientnet_lite0", sees="facts"),
        "scratch": {
            "model.name": "small_cnn",
            "model.normalization": "dataset",
            "data.size": (64,),
            "training.epochs": 20,
            "recipe": "scratch",
        },
    },
    folds=9,
    seeds=(0, 1, 2),
)
