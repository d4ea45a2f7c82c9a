"""How far the detections of two programs of one model are apart."""

import math
from collections.abc import Mapping

import numpy as np

_SHARE = 0.95  # of the detections, by which they are compared


def apart(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> float:
    """Return by how much 0.95 of the detections differ, at most; infinity where more have no counterpart.

    A detection's counterpart is the one of the same class in the other program's, for the same image, that is nearest
    in box and score. Rounding changes these by little. But where two boxes overlap by just the limit, one program may
    take the second away and the other not, and so what is found instead of it: a few may differ whatever they are.

    Args:
        found: "boxes" (N, D, 4), "scores" (N, D) and "classes" (N, D) of one program.
        wanted: the same of the other. Differences of boxes are fractions of its largest coordinate.
    """
    scale = max(1.0, float(np.abs(wanted["boxes"]).max(initial=0)))
    away = []
    for image in range(len(wanted["scores"])):
        one, other = (
            {name: array[image].astype(np.float64) for name, array in each.items()} for each in (found, wanted)
        )
        boxes_DxD = np.abs(one["boxes"][:, None] - other["boxes"][None]).max(-1) / scale
        scores_DxD = np.abs(one["scores"][:, None] - other["scores"][None])
        same_DxD = one["classes"][:, None] == other["classes"][None]
        away_DxD = np.where(same_DxD, np.maximum(boxes_DxD, scores_DxD), math.inf)
        away += [away_DxD.min(0), away_DxD.min(1)]
    found_apart = float(np.quantile(np.concatenate(away), _SHARE, method="higher"))
    return math.inf if math.isnan(found_apart) else found_apart
