"""A learning rate and a schedule for one epoch of the paper's CNN that beat the paper's own, by validation.

    flaxcnn sweep mnist_lr --confirm 5
"""

from flaxcnn.config import Data, Experiment, Logging
from flaxcnn.sweeps import ASHA, Choice, Float, Sobol, Sweep

experiment = Experiment(
    data=Data(source="mnist", validation=0.1),
    logging=Logging(every=180, test_examples=0),
)

sweep = Sweep(
    space={
        "schedule.name": Choice("constant", "cosine", "one_cycle"),
        "optimizer.learning_rate": Float(3e-4, 3e-2, log=True),
    },
    searcher=Sobol(),
    scheduler=ASHA(),
    trials=24,
)
