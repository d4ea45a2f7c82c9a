"""Drawn digits become as MNIST's are: their box, their mass and their shades by hand."""

import io

import numpy as np
import PIL.Image
import pytest

from flaxcnn.errors import DataError
from flaxcnn.prediction.digits import decode_digit


def encoded(pixels, form="PNG", **more):
    file = io.BytesIO()
    PIL.Image.fromarray(np.asarray(pixels, np.uint8)).save(file, form, **more)
    return file.getvalue()


def bar(height, width, top, left, tall, wide, ink=30, paper=220):
    page = np.full((height, width), paper)
    page[top : top + tall, left : left + wide] = ink
    return page


def test_a_bar_fills_20_pixels_in_height_and_stands_in_the_middle():
    """100×20 becomes 20×4, its middle at 14: rows 4 to 23, columns 12 to 15."""
    wanted = np.zeros((28, 28, 1), np.uint8)
    wanted[4:24, 12:16] = 255
    for page in (bar(300, 400, 17, 250, 100, 20), 255 - bar(120, 60, 10, 3, 100, 20), bar(101, 21, 1, 1, 100, 20)):
        np.testing.assert_array_equal(decode_digit(encoded(page), "x"), wanted)


def test_colours_and_turned_photographs_are_the_same_digit():
    page = bar(300, 400, 17, 250, 100, 20)
    upright = decode_digit(encoded(page), "x")
    blue_ink = np.stack([page, page, np.full_like(page, 220)], axis=2)
    np.testing.assert_allclose(decode_digit(encoded(blue_ink), "x").astype(int), upright.astype(int), atol=1)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    turned = np.ascontiguousarray(np.rot90(page))
    np.testing.assert_array_equal(decode_digit(encoded(turned, "PNG", exif=exif), "x"), upright)


def test_the_centre_of_mass_is_in_the_middle_not_that_of_the_box():
    """An L of two bars of 20×4 and 4×16: its mass at row (80 · 10 + 64 · 18) / 144 = 13.56, column 5.56 of its box."""
    page = bar(200, 200, 40, 60, 100, 20)
    page[120:140, 80:160] = 30
    digit = decode_digit(encoded(page), "x")[:, :, 0].astype(float)
    rows, columns = np.indices((28, 28)) + 0.5
    assert abs((digit * rows).sum() / digit.sum() - 14) <= 0.5
    assert abs((digit * columns).sum() / digit.sum() - 14) <= 0.5
    ink = np.argwhere(digit > 0)
    assert np.ptp(ink, axis=0).tolist() == [19, 19]  # a box of 20×20
    assert ink.min(0).tolist() == [28 // 2 - 14, 28 // 2 - 6]


def test_a_page_that_is_lit_from_one_side_and_noisy_still_has_clean_paper():
    page = bar(300, 400, 100, 150, 100, 20) + np.linspace(-30, 0, 400)
    page = page + np.random.default_rng(0).normal(0, 4, page.shape)
    digit = decode_digit(encoded(np.clip(page, 0, 255), "JPEG", quality=80), "x")[:, :, 0]
    assert (digit[:, :11] == 0).all()
    assert (digit[:, 17:] == 0).all()
    assert digit[5:23, 13:15].min() > 200


@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_empty_page_is_said(value):
    with pytest.raises(DataError, match=r"paper\.png: nothing is written on it"):
        decode_digit(encoded(np.full((50, 50), value)), "paper.png")


def test_what_is_no_image_is_an_error_and_no_page_is_too_small():
    with pytest.raises(DataError, match="no image"):
        decode_digit(b"seven", "x")
    tiny = np.array([[255, 0, 255]])
    assert decode_digit(encoded(tiny), "x").shape == (28, 28, 1)
