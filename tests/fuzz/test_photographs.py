"""Image files of every format: headers and pixels."""

import io

import numpy as np
import PIL.Image
import pytest

from flaxcnn.data.photographs.decoding import Shape, decode_file, inspect
from tests.fuzz.mutations import count, hold, mutated_bytes

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
SEEDS = {
    "JPEG": (
        {},
        {"progressive": True},
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
    ),
    "PNG": ({}, {"compress_level": 0}),
    "BMP": ({},),
    "GIF": ({},),
    "TIFF": ({}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}),
    "WEBP": ({}, {"lossless": True}),
    "PPM": ({},),
}


def encoded(kind, options):
    file = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", SEEDS)
def test_no_image_file_is_answered_with_anything_but_pixels_or_a_line(kind):
    def run(data):
        info = inspect(data, "x")
        assert min(info.height, info.width) >= 1
        for fit in ("crop", "letterbox", "pad", "stretch", "imagenet"):
            pixels = decode_file(data, Shape(10, 8, 3, fit), "x")
            assert pixels.shape == (10, 8, 3)
            assert pixels.dtype == np.uint8

    seeds = [encoded(kind, options) for options in SEEDS[kind]]
    for seed in seeds:
        run(seed)  # unmutated it is sound
    hold(run, mutated_bytes(seeds, count(2)))
