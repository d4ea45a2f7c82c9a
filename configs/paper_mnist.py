"""The paper's run: its MNIST CNN for one epoch of Adam in batches of 50 ("Exploration and Research of CNNs", Table 1).

python train.py paper_mnist
"""

from flaxcnn.config import Data, Experiment, Logging, Model, Optimizer, Training

experiment = Experiment(
    data=Data(source="mnist"),
    model=Model(name="paper_cnn"),
    optimizer=Optimizer(learning_rate=0.001),
    training=Training(epochs=1, batch_size=50),
    logging=Logging(every=50, test_examples=2000),
)

# Step, train loss, test accuracy on the first 2,000 images. These rows of the 24 are the ones on record here.
published = (
    (0, 2.3034, 0.12),
    (1 * 50, None, 0.83),
    (5 * 50, None, 0.94),
    (18 * 50, None, 0.98),
    (19 * 50, None, 0.98),
    (20 * 50, None, 0.98),
    (21 * 50, None, 0.98),
    (22 * 50, None, 0.98),
    (23 * 50, 0.0188, 0.97),
)
