"""Which of five classical architectures classifies small images best: LeNet-5, AlexNet, VGG-16, GoogLeNet or ResNet-18?

    flaxcnn study architectures fashion_mnist
    flaxcnn study architectures cifar10:FOLDER --training.epochs 10

FOLDER has CIFAR-10 in its binary format (`cifar10:` in docs/data.md); Fashion-MNIST is in four IDX files
(`idx:FOLDER`). All but LeNet-5 are in the forms for images of 32 pixels. The survey's study [12] compares the same five
on both sets. Two epochs with one rate for all are a small budget: `--training.epochs` gives all of them more.
"""

from flaxcnn import Study
from flaxcnn.config import Experiment, Model, Optimizer, Schedule, Training

study = Study(
    base=Experiment(
        model=Model(normalization="dataset"),
        optimizer=Optimizer(name="adamw", weight_decay=0.01),
        schedule=Schedule(name="one_cycle"),
        training=Training(epochs=2, batch_size=128),
    ),
    entries={
        "lenet5": {"model.name": "lenet5"},
        "alexnet": {"model.name": "alexnet_32px"},
        "vgg16": {"model.name": "vgg16_bn_32px"},
        "googlenet": {"model.name": "googlenet_32px"},
        "resnet18": {"model.name": "resnet18_32px"},
    },
    seeds=(0, 1, 2),
    search={"all": {"optimizer.learning_rate": (5e-4, 2e-3)}},
)
