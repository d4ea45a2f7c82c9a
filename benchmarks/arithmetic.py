"""What the paper's run needs at least, counted by hand: operations of its products, and bytes of its arrays.

The network with its filters multiplied by `width`: a 5×5 convolution 28×28×1 → 28×28×16w, pooled to 14×14; another,
14×14×16w → 14×14×32w, pooled to 7×7; and a dense layer, 1568w → 10.
"""

from benchmarks.jobs import Convolution

FLOAT = 4  # bytes


def forward_flops(width: int = 1) -> dict[str, int]:
    """Return the operations of each layer's product for an image, a multiplication and an addition counting as two.

    >>> sum(forward_flops().values())
    5676160
    """
    first, second = 16 * width, 32 * width
    return {
        "conv1": 2 * (28 * 28 * first) * (5 * 5 * 1),
        "conv2": 2 * (14 * 14 * second) * (5 * 5 * first),
        "dense": 2 * 10 * (7 * 7 * second),
    }


def training_flops(images: int, width: int = 1) -> int:
    """Return the operations of the products with which so many images are trained on.

    A layer's gradients cost as much as its output each: with respect to its kernel, and to its input. The first layer's
    input needs none.

    >>> training_flops(60_000)
    984076800000
    """
    layers = forward_flops(width)
    return images * (3 * sum(layers.values()) - layers["conv1"])


def evaluation_flops(images: int, width: int = 1) -> int:
    """Return the operations of the products with which so many images are evaluated."""
    return images * sum(forward_flops(width).values())


def convolution_flops(job: Convolution) -> int:
    """Return the operations of a convolution's products, three times as many with both gradients.

    >>> convolution_flops(Convolution(50, 14, 16, 5, 32)) == 50 * forward_flops()["conv2"]
    True
    """
    products = job.batch * job.output_size**2 * job.filters * job.kernel**2 * job.channels // job.groups
    return 2 * products * (3 if job.gradients else 1)


def parameters() -> int:
    """Return the number of parameters.

    >>> parameters()
    28938
    """
    return (5 * 5 * 1 + 1) * 16 + (5 * 5 * 16 + 1) * 32 + (1568 + 1) * 10


def memory_bound(data_bytes: int, batch_size: int = 50) -> int:
    """Return the bytes that a training may take beyond its imports: 1.2 × data + 3 × (what a step works on).

    A step works on the parameters, Adam's state, which is two numbers a parameter and a count, and the activations of a
    batch: what the convolutions, the pools and the dense layer give.

    Args:
        data_bytes: of all images and labels, as they are stored.
        batch_size: images a step.
    """
    activations = 28 * 28 * 16 + 14 * 14 * 16 + 14 * 14 * 32 + 7 * 7 * 32 + 10
    step = FLOAT * (parameters() + 2 * parameters() + 1 + batch_size * activations)
    return round(1.2 * data_bytes) + 3 * step
