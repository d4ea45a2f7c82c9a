"""A mosaic is made of parts of four images, and boxes go with their pixels."""

import jax
import numpy as np
import pytest

from flaxcnn.errors import ConfigError
from flaxcnn.layers.augmentation import Mosaic, tiled
from flaxcnn.tasks import Detection, Regression

pytestmark = pytest.mark.usefixtures("light_programs")

BATCH, HEIGHT, WIDTH, MOST = 12, 60, 80, 3


def drawn(seed=0):
    """Images of rectangles, each in a colour of its own: their number over a thousand."""
    random = np.random.default_rng(seed)
    images = np.zeros((BATCH, HEIGHT, WIDTH, 1), np.float32)
    boxes = np.full((BATCH, MOST, 4), np.nan, np.float32)
    classes = np.full((BATCH, MOST), -1, np.int32)
    for number, image in enumerate(images):
        for place in range(1 + number % MOST):
            y, x = (random.integers(0, side - 14) for side in (HEIGHT, 25))
            x += 26 * place  # beside each other, so that none covers another
            height, width = random.integers(6, 14, 2)
            image[y : y + height, x : x + width] = (1 + number * MOST + place) / 1000
            boxes[number, place], classes[number, place] = (y, x, y + height, x + width), place
    return images, {"boxes": boxes, "classes": classes, "scale": np.ones(BATCH, np.float32)}


def made(probability, seed=3):
    images, targets = drawn()
    mosaics, tiles = jax.jit(tiled)(Mosaic(probability), jax.random.key(seed), images)
    parts = [{name: np.roll(array, -part, axis=0) for name, array in targets.items()} for part in range(4)]
    return images, targets, np.asarray(mosaics), jax.vmap(Detection(classes=MOST).tile)(parts, tiles), tiles


def test_every_box_is_around_its_pixels_and_no_object_is_without_a_box():
    _, targets, mosaics, found, _ = made(1.0)
    boxes, classes = np.asarray(found["boxes"]), np.asarray(found["classes"])
    assert boxes.shape == (BATCH, 4 * MOST, 4)
    sizes = (targets["boxes"][..., 2:] - targets["boxes"][..., :2]).prod(-1)
    seen = 0
    for number in range(BATCH):
        colours = set(np.unique(mosaics[number])) - {0}
        for place in np.flatnonzero(classes[number] >= 0):
            part, own = divmod(place, MOST)
            source = (number + part) % BATCH
            assert classes[number, place] == targets["classes"][source, own]
            colour = np.float32((1 + source * MOST + own) / 1000)
            rows, columns = np.nonzero(mosaics[number, ..., 0] == colour)
            around = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
            np.testing.assert_array_equal(boxes[number, place], around)
            assert len(rows) >= 0.3 * sizes[source, own]
            colours.discard(colour)
            seen += 1
        for colour in colours:  # what is left without a box is less than 0.3 of an object
            source, own = divmod(round(colour * 1000) - 1, MOST)
            assert (mosaics[number] == colour).sum() < 0.3 * sizes[source, own]
    assert seen > BATCH


def test_parts_meet_at_a_point_in_the_middle_half():
    images = np.broadcast_to(np.arange(BATCH, dtype=np.float32)[:, None, None, None], (BATCH, HEIGHT, WIDTH, 3))
    mosaics, tiles = tiled(Mosaic(1.0), jax.random.key(1), images)
    for number, mosaic in enumerate(np.asarray(mosaics)):
        y, x = np.asarray(tiles.areas)[number, 0, 2:]
        assert HEIGHT / 4 <= y <= 3 * HEIGHT / 4
        assert WIDTH / 4 <= x <= 3 * WIDTH / 4
        parts = [mosaic[:y, :x], mosaic[:y, x:], mosaic[y:, :x], mosaic[y:, x:]]
        assert [set(np.unique(part)) for part in parts] == [{(number + part) % BATCH} for part in range(4)]


def test_an_image_that_is_no_mosaic_keeps_its_bits():
    images, targets, mosaics, found, _ = made(0.0)
    np.testing.assert_array_equal(mosaics, images)
    np.testing.assert_array_equal(found["boxes"][:, :MOST], targets["boxes"])
    assert (np.asarray(found["classes"])[:, MOST:] == -1).all()
    half = made(0.5)[2]
    same = (half == images).all((1, 2, 3)).sum()
    assert 0 < same < BATCH


def test_a_task_that_names_mosaics_and_makes_none_is_told_in_a_line():
    _, targets, _, _, tiles = made(1.0)
    with pytest.raises(ConfigError, match=r"regression\.tile: the task regression names mosaic.*Write the method"):
        Regression().tile([targets] * 4, tiles)
