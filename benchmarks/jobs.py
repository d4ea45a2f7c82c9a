"""What a program that stays alive is asked to do, as one line of JSON between the harness and the program.

NumPy and the standard library are all that this module needs, so that it runs in another library's environment too.
"""

import json
from typing import Any, NamedTuple

import numpy as np

RESNET18, MOBILENET_BLOCK = "resnet18", "mobilenet_v3_block"  # the networks
CLASSES, ZOO_CLASSES = 10, 1000  # of a network that classifies, and of one of the zoo
LEARNING_RATE, MOMENTUM = 0.01, 0.9  # of its training, by stochastic gradient descent


class Job(NamedTuple):
    """Train or evaluate the paper's network.

    Attributes:
        task: "train" makes `steps` steps from fresh weights; "evaluate" looks at every test image once.
        steps: of a training.
        batch_size: images a step.
        width: multiplies the paper's 16 and 32 filters.
        evaluate_every: a training evaluates at the steps 0, evaluate_every, …, each after its update; 0 for never.
        evaluated: test images that such an evaluation looks at, the first ones.
    """

    task: str
    steps: int = 0
    batch_size: int = 50
    width: int = 1
    evaluate_every: int = 0
    evaluated: int = 2000

    def evaluates(self, step: int) -> bool:
        """Return whether the training evaluates after a step."""
        return self.evaluate_every > 0 and step % self.evaluate_every == 0

    def at_most(self, steps: int) -> "Job":
        """Return the job with no more steps than that."""
        return self._replace(steps=min(self.steps, steps)) if self.task == "train" else self


class Convolution(NamedTuple):
    """Call one convolution of square images several times; each side is padded by half the kernel.

    Attributes:
        batch: images.
        size: their height and width.
        channels: their channels.
        kernel: its height and width.
        filters: channels of the output.
        stride: in both directions.
        groups: of channels that are convolved separately.
        gradients: whether a call also computes the gradients of images and kernel, for a given gradient of the output.
        calls: in one measurement, which reports the seconds of one of them.
    """

    batch: int
    size: int
    channels: int
    kernel: int
    filters: int
    stride: int = 1
    groups: int = 1
    gradients: bool = False
    calls: int = 20

    @property
    def padding(self) -> int:
        """Return the zeros on each side of an image."""
        return self.kernel // 2

    @property
    def output_size(self) -> int:
        """Return the height and width of the output."""
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what every program convolves: images (B, H, W, C), kernel (H, W, C / groups, F), output's gradient."""
        random = np.random.default_rng(0)
        shapes = (
            (self.batch, self.size, self.size, self.channels),
            (self.kernel, self.kernel, self.channels // self.groups, self.filters),
            (self.batch, self.output_size, self.output_size, self.filters),
        )
        images, kernel, gradient = (random.standard_normal(shape, np.float32) for shape in shapes)
        return images, kernel, gradient

    def at_most(self, calls: int) -> "Convolution":
        """Return the job with no more calls than that."""
        return self._replace(calls=min(self.calls, calls))


class Network(NamedTuple):
    """Call a network several times.

    Attributes:
        network: RESNET18, in its form for small images, or MOBILENET_BLOCK; or of the zoo, its name in
            `flaxcnn.models`, which is torchvision's name, too.
        task: "train" makes steps from fresh weights; "forward" computes the output as in evaluation; "gradients" the
            output as in training, and the gradients of all parameters and of the input for a given one of the output.
        batch: images.
        size: their height and width.
        channels: their channels.
        calls: or steps, in one measurement, which reports the seconds of one of them.
        zoo: whether it is a network of the zoo, with ZOO_CLASSES outputs.
    """

    network: str
    task: str
    batch: int
    size: int
    channels: int
    calls: int = 5
    zoo: bool = False

    @property
    def classes(self) -> int:
        """Return the number of classes of a network that classifies."""
        return ZOO_CLASSES if self.zoo else CLASSES

    def images(self) -> np.ndarray:
        """Return a batch of float32 (B, H, W, C), the same for every program."""
        shape = (self.batch, self.size, self.size, self.channels)
        return np.random.default_rng(0).standard_normal(shape, np.float32)

    def examples(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what every program trains on, in order: uint8 images (N, H, W, C) and int32 labels (N,), random."""
        random, count = np.random.default_rng(0), self.batch * self.calls
        images = random.integers(0, 256, (count, self.size, self.size, self.channels), np.uint8)
        return images, random.integers(0, self.classes, count, np.int32)

    def at_most(self, calls: int) -> "Network":
        """Return the job with no more calls than that."""
        return self._replace(calls=min(self.calls, calls))


AnyJob = Job | Convolution | Network
_KINDS = {kind.__name__: kind for kind in (Job, Convolution, Network)}


def as_fields(job: AnyJob) -> dict[str, Any]:
    """Return a job as it is written as JSON."""
    return {"kind": type(job).__name__, **job._asdict()}


def from_line(line: str) -> AnyJob:
    """Return the job whose fields a line of JSON has."""
    fields = json.loads(line)
    return _KINDS[fields.pop("kind")](**fields)
