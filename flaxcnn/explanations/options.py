"""The method of an explanation and its options, checked."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from flaxcnn.config.checks import require
from flaxcnn.errors import ConfigError

MethodName: TypeAlias = Literal["gradcam", "integrated_gradients", "occlusion"]
Baseline: TypeAlias = Literal["zero", "black", "white"]

METHODS: tuple[MethodName, ...] = ("gradcam", "integrated_gradients", "occlusion")
BASELINES: tuple[Baseline, ...] = ("zero", "black", "white")
STEPS = 32
"""Of integrated gradients, where nothing else is said."""
MOST_STEPS = 2048
"""Up to which steps are doubled."""

_USED = {
    "baseline": ("integrated_gradients", "occlusion"),
    "steps": ("integrated_gradients",),
    "patch": ("occlusion",),
    "stride": ("occlusion",),
}


@dataclass(frozen=True)
class How:
    """A method and its options; None for an option's default.

    Attributes:
        method: gradcam, integrated_gradients or occlusion.
        endpoint: the activation at which it explains; None for Grad-CAM's last one with rows and columns, and for the
            pixels in the other two.
        of: what is explained: the name of a class, a label, a number or a head; None for what was answered.
        baseline: of integrated gradients, where the path begins; of occlusion, what a covered part shows. zero: what
            the model's first layer takes as 0, which is the mean colour where pixels are standardised, else black.
        steps: of integrated gradients at first, 2 to 2048; doubled while an image's sum is not complete to 1 %.
        patch: of occlusion, the covered square's side, in pixels, or in cells of the endpoint.
        stride: of occlusion, from one square to the next, at most the patch.
    """

    method: MethodName = "gradcam"
    endpoint: str | None = None
    of: str | None = None
    baseline: Baseline | None = None
    steps: int | None = None
    patch: int | None = None
    stride: int | None = None

    def __post_init__(self) -> None:
        require(self.method in METHODS, "method", f"one of {', '.join(METHODS)}", self.method)
        for option, users in _USED.items():
            given = getattr(self, option)
            if given is not None and self.method not in users:
                raise ConfigError(
                    f"{self.method} does not use it", where=option, expected=" or ".join(users), fix="leave it out"
                )
        known = self.baseline is None or self.baseline in BASELINES
        require(known, "baseline", f"one of {', '.join(BASELINES)}", self.baseline)
        require(self.steps is None or 2 <= self.steps <= MOST_STEPS, "steps", f"2 to {MOST_STEPS:,}", self.steps)
        require(self.patch is None or self.patch >= 1, "patch", "at least 1", self.patch)
        require(self.stride is None or self.stride >= 1, "stride", "at least 1", self.stride)
