"""Fashion-MNIST by a small CNN with batch normalisation, 162,874 parameters: 93 % and no GPU.

    apt-get install dataset-fashion-mnist    # Debian's copy of the data set, in MNIST's format
    flaxcnn reproduce fashion_mnist --seeds 3

14 to 25 minutes a seed on one CPU core; test accuracy 0.9330 ± 0.0023 over seeds.

25 epochs of mirrored and slightly moved images, AdamW on half a cosine, dropout before the dense layer, averaged
weights. Where the data lie elsewhere: `flaxcnn train fashion_mnist --data.source idx:FOLDER`.
"""

from flaxcnn.config import Augmentation, Checkpoint, Data, Experiment, Logging, Model, Optimizer, Schedule, Training

experiment = Experiment(
    data=Data(source="idx:/usr/share/datasets/fashion-mnist"),
    augmentation=Augmentation(flip=0.5, shift=1.0),
    model=Model(name="small_cnn", dropout=0.2),
    optimizer=Optimizer(name="adamw", learning_rate=4e-3, weight_decay=0.05),
    schedule=Schedule(name="cosine", warmup_epochs=1.0),
    training=Training(epochs=25, batch_size=100, ema_decay=0.998),
    logging=Logging(every=600, test_examples=0),
    checkpoint=Checkpoint(every=3000),
)

expected = (("test_accuracy", 0.93),)
