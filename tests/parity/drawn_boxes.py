"""Random boxes on which two libraries are asked what overlaps; NumPy only, since both import it."""

import numpy as np

DRAWS, THRESHOLDS = 8, (0.3, 0.5, 0.6, 0.75)


def drawn_boxes(seed):
    """Boxes (y0, x0, y1, x1) of 20 to 400 places in clusters, with falling scores and classes of five."""
    random = np.random.default_rng(seed)
    count = int(random.integers(20, 400))
    middles = random.uniform(0, 320, (12, 2))[random.integers(0, 12, count)] + random.normal(0, 8, (count, 2))
    sizes = random.uniform(10, 90, (count, 2))
    boxes = np.concatenate([middles - sizes / 2, middles + sizes / 2], 1).astype(np.float32)
    scores = np.sort(random.uniform(0.01, 1, count).astype(np.float32))[::-1].copy()
    return boxes, scores, random.integers(0, 5, count)
