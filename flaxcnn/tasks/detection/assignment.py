"""Which object each place of a detector learns to find.

Source: Z. Tian et al., "FCOS: A Simple and Strong Anchor-Free Object Detector", TPAMI 2020, section 3.1 and its
"center sampling".
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from flaxcnn.layers.boxes import areas

REACH = 8.0
"""Of a level's objects: the farthest side from a place is 4 to 8 strides away, but on the outermost levels."""
_RADIUS = 1.5  # strides from an object's middle within which a place finds it


class Assigned(NamedTuple):
    """What each place is to find.

    Attributes:
        found: whether it is to find an object, bool (L,).
        classes: class of the object, int32 (L,); 0 where there is none.
        boxes: of the object, (L, 4); of no object, the place itself.
    """

    found: jax.Array
    classes: jax.Array
    boxes: jax.Array


def assign(places_Lx2: jax.Array, strides_L: jax.Array, boxes_Mx4: jax.Array, classes_M: jax.Array) -> Assigned:
    """Return which object of one image each place is to find: of those that it may find, the smallest.

    A place may find an object in whose box it lies, within 1.5 strides of its middle, and of a size for its level. An
    object without such a place is found by the place of its level that is nearest to its middle: none is left out.

    Args:
        places_Lx2: rows and columns of the places, in pixels.
        strides_L: of the places' levels.
        boxes_Mx4: of the objects; anything where there is none.
        classes_M: of the objects; -1 where there is none.
    """
    there_M = classes_M >= 0
    boxes_Mx4 = jnp.where(there_M[:, None], boxes_Mx4, 0)
    middles_Mx2 = (boxes_Mx4[:, :2] + boxes_Mx4[:, 2:]) / 2
    before = places_Lx2[:, None] - boxes_Mx4[None, :, :2]
    behind = boxes_Mx4[None, :, 2:] - places_Lx2[:, None]
    sides_LxMx4 = jnp.concatenate([before, behind], axis=-1)
    away_LxM = jnp.abs(places_Lx2[:, None] - middles_Mx2[None]).max(-1)
    farthest_LxM = sides_LxMx4.max(-1)
    least_L = jnp.where(strides_L == strides_L.min(), 0, strides_L * REACH / 2)
    most_L = jnp.where(strides_L == strides_L.max(), jnp.inf, strides_L * REACH)
    of_level_LxM = (farthest_LxM >= least_L[:, None]) & (farthest_LxM <= most_L[:, None])
    may_LxM = (sides_LxMx4.min(-1) > 0) & (away_LxM < _RADIUS * strides_L[:, None]) & of_level_LxM
    level_M = jnp.max(boxes_Mx4[:, 2:] - boxes_Mx4[:, :2], axis=-1) / 2  # the farthest side, seen from the middle
    own_LxM = (level_M >= least_L[:, None]) & (level_M <= most_L[:, None])
    nearest_M = jnp.argmin(jnp.where(own_LxM, away_LxM, jnp.inf), axis=0)
    lone_M = there_M & ~may_LxM.any(0)
    may_LxM |= lone_M & (jnp.arange(len(places_Lx2))[:, None] == nearest_M)
    area_LxM = jnp.where(may_LxM & there_M, areas(boxes_Mx4), jnp.inf)
    chosen_L = jnp.argmin(area_LxM, axis=1)
    found_L = jnp.isfinite(area_LxM.min(1))
    own_Lx4 = jnp.concatenate([places_Lx2, places_Lx2], axis=-1)
    return Assigned(
        found_L,
        jnp.where(found_L, classes_M[chosen_L], 0),
        jnp.where(found_L[:, None], boxes_Mx4[chosen_L], own_Lx4),
    )
