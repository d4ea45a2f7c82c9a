"""What is found twice: which of overlapping boxes are left, or how much less sure each becomes."""

import jax
import jax.numpy as jnp
from jax import lax

from flaxcnn.layers.boxes import overlaps

SPREAD = 0.5
"""How fast Soft-NMS lowers scores with the overlap, as its authors choose it."""


def suppressed(boxes_Nx4: jax.Array, classes_N: jax.Array | None, threshold: float) -> jax.Array:
    """Return which boxes are left when each that overlaps a better one that is left is taken away, bool (N,).

    Greedy non-maximum suppression: of two boxes that overlap by more than the threshold, the first is left, as
    torchvision's `nms` and `batched_nms` do it.

    Args:
        boxes_Nx4: sorted, the best first.
        classes_N: of the boxes; only boxes of one class suppress each other. None where all do.
        threshold: the greatest overlap (intersection over union) of two that are left.
    """
    over_NxN = overlaps(boxes_Nx4[:, None], boxes_Nx4[None]) > threshold
    if classes_N is not None:
        over_NxN &= classes_N[:, None] == classes_N[None]
    places = jnp.arange(len(boxes_Nx4))
    over_NxN &= places[:, None] < places[None]  # the better one takes the other away

    def judge(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        left_N, _ = state
        return ~(over_NxN & left_N[:, None]).any(0), left_N

    # A box is judged by better ones alone. So the first box is right from the start, after a round also each that only
    # it could take away, and so on: rounds are as many as the longest chain of overlaps, not as many as boxes.
    every_N = jnp.ones(len(boxes_Nx4), bool)
    return lax.while_loop(lambda state: (state[0] != state[1]).any(), judge, (every_N, ~every_N))[0]


def softened(
    boxes_Nx4: jax.Array, scores_N: jax.Array, classes_N: jax.Array | None, spread: float = SPREAD
) -> jax.Array:
    """Return scores that are lowered by how much each box overlaps surer ones, (N,).

    Box after box, the surest that was not yet taken lowers the others by exp(-overlap² / spread): none is taken away.

    Source: N. Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", ICCV 2017, the Gaussian
    form.

    Args:
        boxes_Nx4: in any order.
        scores_N: of the boxes, at least 0.
        classes_N: of the boxes; only boxes of one class lower each other. None where all do.
        spread: the square of an overlap at which a score becomes 0.37 of what it was.
    """
    lowered_NxN = jnp.exp(-(overlaps(boxes_Nx4[:, None], boxes_Nx4[None]) ** 2) / spread)
    if classes_N is not None:
        lowered_NxN = jnp.where(classes_N[:, None] == classes_N[None], lowered_NxN, 1)

    def take(_: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        scores_N, taken_N = state
        surest = jnp.where(taken_N, -1, scores_N).argmax()
        taken_N = taken_N.at[surest].set(True)
        return jnp.where(taken_N, scores_N, scores_N * lowered_NxN[surest]), taken_N

    return lax.fori_loop(0, len(scores_N), take, (scores_N, jnp.zeros(len(scores_N), bool)))[0]
