"""Where in a photograph is which fruit, and how many are there?

    flaxcnn study fruit_detection coco:FRUIT

FRUIT has `train.json` and `test.json` in COCO's format, with boxes of apples, bananas and oranges, and the photographs
beside them. The survey's system [1] names and places the main fruit of 98 % of its photographs, with one training. Here
the thresholds are chosen by a part of the training photographs.
"""

from flaxcnn import Study
from flaxcnn.config import Augmentation, Data, Experiment, Task, Training

study = Study(
    base=Experiment(
        data=Data(size=(320,), channels="rgb", fit="letterbox", target=("boxes",), validation=0.1),
        task=Task("detection"),
        augmentation=Augmentation(flip=0.5, scale=0.5, shift=40, brightness=0.3, contrast=0.3, saturation=0.3),
        training=Training(epochs=30, batch_size=16),
    ),
    entries={
        "finetuned": {"model.name": "efficientnet_lite0", "recipe": "finetune"},
        "with_mosaics": {"model.name": "efficientnet_lite0", "recipe": "finetune", "augmentation.mosaic": 0.5},
    },
    seeds=(0, 1, 2),
)
