"""Which place of a detector finds which object, by hand."""

import jax.numpy as jnp
import numpy as np

from flaxcnn.tasks.detection.assignment import assign

SIDE, STRIDES = 64, (8, 16, 32)
PLACES = [
    (s * (row + 0.5), s * (column + 0.5), s) for s in STRIDES for row in range(SIDE // s) for column in range(SIDE // s)
]


def assigned(boxes, classes):
    """The places that find something, (row, column, stride), each with the class and the box."""
    places = jnp.float32([each[:2] for each in PLACES])
    found = assign(places, jnp.float32([each[2] for each in PLACES]), jnp.float32(boxes), jnp.int32(classes))
    return {
        PLACES[place]: (int(found.classes[place]), tuple(np.asarray(found.boxes[place]).tolist()))
        for place in np.flatnonzero(found.found)
    }


def test_an_object_is_found_by_the_places_around_its_middle():
    box = (8.0, 8.0, 24.0, 24.0)  # its middle is 16, 16: places 12 and 20 lie within 12 pixels, 4 and 28 do not
    assert assigned([box], [2]) == {(row, column, 8): (2, box) for row in (12.0, 20.0) for column in (12.0, 20.0)}


def test_of_two_objects_a_place_finds_the_smaller():
    large, small = (4.0, 4.0, 36.0, 36.0), (18.0, 18.0, 22.0, 23.0)
    found = assigned([large, small], [0, 1])
    assert found[(20.0, 20.0, 8)] == (1, small)
    assert found[(12.0, 12.0, 8)] == (0, large)
    assert set(found) == {(row, column, 8) for row in (12.0, 20.0, 28.0) for column in (12.0, 20.0, 28.0)}


def test_a_large_object_is_found_on_a_coarse_level():
    box = (-40.0, -40.0, 104.0, 104.0)  # from its middle 72 pixels to each side: more than the 64 of stride 8
    found = assigned([box], [0])
    assert {stride for _, _, stride in found} == {16}
    assert {place[:2] for place in found} == {(row, column) for row in (24.0, 40.0) for column in (24.0, 40.0)}


def test_an_object_between_the_places_is_found_by_the_nearest():
    box = (13.0, 13.0, 15.0, 15.0)  # of no place; (12, 12) is nearest to its middle
    assert assigned([box], [1]) == {(12.0, 12.0, 8): (1, box)}


def test_what_is_no_object_is_found_by_none():
    assert assigned([(np.nan,) * 4, (8.0, 8.0, 24.0, 24.0)], [-1, -1]) == {}
