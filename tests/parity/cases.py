"""What is held against torchvision: one row a model."""

from typing import NamedTuple


class Case(NamedTuple):
    """A model of torchvision beside ours.

    Attributes:
        function: torchvision's, or one of `torchvision_reference.OTHERS`.
        endpoints: our endpoint to the module of theirs whose output it is.
        size: height and width of the images.
        images: how many.
        options: of the function.
        momentum: the share that an update of running statistics takes from the batch; None without normalisation.
        gradient: whether the gradient of the images is held too.
        layout: of our row, by whose names weights are drawn.
        gain: by which kernels are multiplied, 0.8 where activations would grow with depth so far that float32 fails:
            without it PyTorch's EfficientNet-B7 is 0.6 of the largest logit from itself in float64, with it 1e-6.
        tolerance: largest difference, relative to the largest number.
    """

    function: str
    endpoints: dict
    size: tuple = (224, 224)
    images: int = 2
    options: dict = {}  # noqa: RUF012 -- read only
    momentum: float | None = 0.1
    gradient: bool = False
    layout: str = "torchvision"
    gain: float = 1.0
    tolerance: float = 1e-5


def vgg(*indices):
    """The last ReLU of each stage."""
    return {f"stage{stage}": f"features.{index}" for stage, index in enumerate(indices, 1)}


INCEPTION = {"aux_logits": False, "transform_input": True, "init_weights": False}
RESNET = {f"stage{stage}": f"layer{stage}" for stage in range(1, 5)}
EFFICIENTNET = {f"stage{stage}": f"features.{row}" for stage, row in enumerate((1, 2, 3, 5, 7), 1)}
MOBILENET_SMALL = {f"stage{stage}": f"features.{block}" for stage, block in enumerate((1, 3, 8, 11), 1)}
MOBILENET_LARGE = {f"stage{stage}": f"features.{block}" for stage, block in enumerate((1, 3, 6, 12, 15), 1)}
DENSENET = {**{f"stage{block}": f"features.denseblock{block}" for block in (1, 2, 3)}, "stage4": "features.norm5"}
CONVNEXT = {"stem": "features.0", **{f"stage{stage}": f"features.{2 * stage - 1}" for stage in range(1, 5)}}
MAXVIT = {"stem": "stem", **{f"stage{stage}": f"blocks.{stage - 1}" for stage in range(1, 5)}}
CASES = {
    "lenet5": Case(
        "lenet5", {"stage1": "relu1", "stage2": "relu2"}, (28, 28), momentum=None, gradient=True, layout="pytorch"
    ),
    "alexnet": Case(
        "alexnet",
        {"stage1": "features.1", "stage2": "features.4", "stage3": "features.11"},
        (259, 240),  # 7×6 before the adaptive pool
        momentum=None,
        gradient=True,
    ),
    "vgg16": Case("vgg16", vgg(3, 8, 15, 22, 29), (160, 224), momentum=None),
    "vgg16_bn": Case("vgg16_bn", vgg(5, 12, 22, 32, 42), (160, 224)),
    "googlenet": Case(
        "googlenet",
        {
            "stem": "conv1",
            "stage1": "conv3",
            "stage2": "inception3b",
            "stage3": "inception4e",
            "stage4": "inception5b",
        },
        (210, 227),  # where a last window is whole by what pads it, and where it is so by itself
        options=INCEPTION,
    ),
    "inception_v3": Case(
        "inception_v3",
        {
            "stem": "Conv2d_2b_3x3",
            "stage1": "Conv2d_4a_3x3",
            "stage2": "Mixed_5d",
            "stage3": "Mixed_6e",
            "stage4": "Mixed_7c",
        },
        (299, 299),
        options=INCEPTION,
    ),
    "resnet18": Case("resnet18", RESNET, gradient=True),
    "resnet34": Case("resnet34", RESNET),
    "resnet50": Case("resnet50", RESNET),
    "resnet101": Case("resnet101", RESNET),
    "efficientnet_b0": Case("efficientnet_b0", EFFICIENTNET, gradient=True, gain=0.8),
    "efficientnet_b1": Case("efficientnet_b1", EFFICIENTNET, (240, 240), gain=0.8),
    "efficientnet_b2": Case("efficientnet_b2", EFFICIENTNET, (288, 288), gain=0.8),
    "efficientnet_b3": Case("efficientnet_b3", EFFICIENTNET, (150, 150), gain=0.8),
    "efficientnet_b4": Case("efficientnet_b4", EFFICIENTNET, (190, 190), gain=0.8),
    "efficientnet_b5": Case("efficientnet_b5", EFFICIENTNET, (228, 228), momentum=0.01, gain=0.8),
    "efficientnet_b6": Case("efficientnet_b6", EFFICIENTNET, (128, 160), momentum=0.01, gain=0.8),
    "efficientnet_b7": Case("efficientnet_b7", EFFICIENTNET, (160, 128), momentum=0.01, gain=0.8),
    "mobilenet_v3_small": Case("mobilenet_v3_small", MOBILENET_SMALL, momentum=0.01, gradient=True, gain=0.8),
    "mobilenet_v3_large": Case("mobilenet_v3_large", MOBILENET_LARGE, momentum=0.01, gain=0.8),
    "shufflenet_v2_x1_0": Case("shufflenet_v2_x1_0", {f"stage{stage}": f"stage{stage + 1}" for stage in (1, 2, 3)}),
    "densenet121": Case("densenet121", {"stem": "features.relu0", **DENSENET}),
    "maxvit_t": Case("maxvit_t", MAXVIT, momentum=0.99, gradient=True, gain=0.7),
    "convnext_tiny": Case("convnext_tiny", CONVNEXT, momentum=None, gradient=True),
}
