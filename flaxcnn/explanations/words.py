"""What is said of an explanation: as JSON, in a picture, and of sums that are not complete."""

from collections.abc import Sequence
from typing import Any

from flaxcnn.explanations.explaining import Explanation
from flaxcnn.explanations.integrated_gradients import TOLERANCE
from flaxcnn.explanations.options import MOST_STEPS, MethodName


def said_of(explanation: Explanation, place: int, method: MethodName) -> dict[str, Any]:
    """Return what an image's explanation explains, as JSON has it.

    `endpoint` is None for the pixels; `completeness_error`, a fraction, and `steps` are there for integrated gradients.
    """
    said: dict[str, Any] = {
        "method": method,
        "endpoint": explanation.endpoint,
        "of": explanation.of[place],
        "value": float(explanation.values[place]),
    }
    if explanation.errors is not None and explanation.steps is not None:
        said["completeness_error"] = float(explanation.errors[place])
        said["steps"] = int(explanation.steps[place])
    return said


def lines_of(explanation: Explanation, place: int, method: MethodName) -> list[str]:
    """Return what a picture says of an image's explanation: what is explained, and how."""
    at = "" if explanation.endpoint is None else f" at {explanation.endpoint}"
    return [f"explained: {explanation.of[place]}, {explanation.values[place]:.4g}", f"{method}{at}"]


def incomplete(errors: Sequence[float]) -> str:
    """Return a line on integrated gradients whose sums are not the change of the number; "" where all are.

    >>> incomplete([0.002, 0.03])
    'not complete to 1 % within 2,048 steps: 1 of 2 images, the worst to 3.0 %'
    """
    over = [error for error in errors if error > TOLERANCE]
    if not over:
        return ""
    some = f"{len(over):,} of {len(errors):,} images, the worst to {100 * max(over):.1f} %"
    return f"not complete to {100 * TOLERANCE:g} % within {MOST_STEPS:,} steps: {some}"
