"""Copies of photographs are found whatever common change was made to them; different photographs are not."""

import io

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage

from flaxcnn.data.inspection.perceptual import near_pairs, similarity, usual_similarity
from flaxcnn.data.inspection.signatures import signatures
from tests.data.photographs import photographs, square

SIDE = 128


@pytest.fixture(scope="module")
def pictures():
    return photographs()


def stacked(pictures):
    return np.stack([np.asarray(picture) for picture in pictures])


def recompressed(picture, quality):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return PIL.Image.open(file).convert("RGB")


def resized(picture, side):
    return picture.resize((side, side), PIL.Image.Resampling.BICUBIC).resize((SIDE, SIDE))


def mirrored(picture):
    return picture.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)


def brighter(picture):
    return picture.point(lambda value: round(0.7 * value + 40))


CHANGES = {
    "recompressed": lambda picture: recompressed(square(picture, SIDE), 30),
    "resized": lambda picture: resized(square(picture, SIDE), 48),
    "mirrored": lambda picture: mirrored(square(picture, SIDE)),
    "brighter": lambda picture: brighter(square(picture, SIDE)),
    "shifted": lambda picture: square(picture, SIDE, (0.05, -0.05)),
    "shifted, mirrored and recompressed": lambda picture: recompressed(
        mirrored(square(picture, SIDE, (-0.03, 0.04))), 60
    ),
}


def test_different_photographs_are_no_near_duplicates(pictures):
    assert near_pairs(signatures(stacked([square(picture, SIDE) for picture in pictures]))) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_each_photograph_is_found(pictures, change):
    images = [square(picture, SIDE) for picture in pictures] + [CHANGES[change](picture) for picture in pictures]
    found = near_pairs(signatures(stacked(images)))
    assert {(pair.first, pair.second) for pair in found} == {(k, len(pictures) + k) for k in range(len(pictures))}
    assert {pair.mirrored for pair in found} == {"mirrored" in change}


def test_the_shift_is_that_from_the_first_image_to_the_second(pictures):
    # The window of the second moves up and to the right, so what is in it moves down and to the left.
    pair = stacked([square(pictures[1], SIDE), square(pictures[1], SIDE, (-0.0625, 0.03125))])
    (found,) = near_pairs(signatures(pair))
    assert found.shift == pytest.approx((4 / 64, -2 / 64), abs=1 / 64)


def test_similarity_is_one_for_copies_and_zero_for_images_of_one_colour():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    flat = np.full((64, 64, 3), 90, np.uint8)
    signed = signatures(np.stack([image, image, flat, flat]))
    first, second = np.asarray([0, 2, 0]), np.asarray([1, 3, 2])
    similarities, shifts = similarity(signed, first, second)
    assert similarities == pytest.approx([1, 0, 0], abs=1e-6)
    assert shifts[0].tolist() == [0, 0]


def test_without_a_shift_similarity_is_the_correlation_of_differences_of_gaussians():
    rng = np.random.default_rng(3)
    smooth = ndimage.gaussian_filter(rng.normal(0, 400, (2, 64, 64)), (0, 2, 2))
    one, noise = smooth
    images = np.clip(np.stack([one, one + 0.4 * noise]) + 128, 0, 255).astype(np.uint8)
    outlines = [
        ndimage.gaussian_filter(image.astype(float), 1) - ndimage.gaussian_filter(image.astype(float), 3)
        for image in images
    ]
    expected = (outlines[0] * outlines[1]).sum() / np.sqrt((outlines[0] ** 2).sum() * (outlines[1] ** 2).sum())
    found, shifts = similarity(signatures(images[..., None]), np.asarray([0]), np.asarray([1]))
    assert shifts.tolist() == [[0, 0]]
    assert found[0] == pytest.approx(expected, abs=0.01)


def test_written_digits_that_resemble_each_other_are_no_near_duplicates(small_split):
    images, _ = small_split
    assert len(near_pairs(signatures(images))) <= 2


def test_the_frames_of_a_fixed_camera_resemble_each_other_and_are_no_near_duplicates(pictures):
    background = np.asarray(square(pictures[0], SIDE), np.float32)
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(12):  # something of a quarter of the picture is elsewhere each time
        frame = background.copy()
        top, left = rng.integers(0, SIDE - 48, 2)
        frame[top : top + 48, left : left + 48] = rng.integers(0, 256, (6, 6, 3)).repeat(8, 0).repeat(8, 1)
        frames.append(frame.astype(np.uint8))
    signed = signatures(np.stack(frames))
    assert usual_similarity(signed) > 0.3
    assert near_pairs(signed) == []


@pytest.mark.slow
def test_thousands_of_images_that_differ_in_one_bit_take_no_more_memory_than_others():
    images = np.repeat(np.random.default_rng(5).integers(0, 255, (1, 8, 8, 1), np.uint8), 3000, axis=0)
    images[np.arange(3000), 0, np.arange(3000) % 8, 0] += 1
    assert 2990 <= len(near_pairs(signatures(images))) <= 8 * 3000


def test_an_image_alone_has_no_pairs():
    signed = signatures(np.zeros((1, 20, 30, 1), np.uint8))
    assert (near_pairs(signed), usual_similarity(signed)) == ([], 0.0)
