"""Does a network see the weather in a photograph, and does it help to begin with ImageNet's weights?

    flaxcnn study weather_images folder:PHOTOS
    flaxcnn study weather_images folder:PHOTOS --data.size 224 --training.epochs 20

PHOTOS has a folder of photographs for each kind of weather, such as `cloudy`, `rain`, `shine` and `sunrise`.

Expected of 480 photographs, accuracy, ± over three seeds: finetuned 0.960 ± 0.020, probe 0.946, scratch 0.881 ± 0.005.
The border of the images alone reaches 0.958: the sky is the background. 23 minutes on two CPU cores of an AMD EPYC,
which did other work beside it.
"""

from flaxcnn import Study
from flaxcnn.config import Augmentation, Data, Experiment, Training
from flaxcnn.studies import Probe

study = Study(
    base=Experiment(
        data=Data(size=(160,), channels="rgb"),
        augmentation=Augmentation(flip=0.5, resized_crop=0.35),
        training=Training(epochs=8, batch_size=32),
    ),
    entries={
        "finetuned": {
            "model.name": "efficientnet_lite0",
            "recipe": "finetune",
            "optimizer.learning_rate": 1e-3,
            "optimizer.rates": (),
            "training.head_epochs": 1,
            "training.norm_momentum": None,
        },
        "probe": Probe("efficientnet_lite0"),
        "border_alone": Probe("efficientnet_lite0", sees="border"),
        "file_facts": Probe("efficientnet_lite0", sees="facts"),
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
