"""An image's bytes may come from anybody: four formats are decoded, of a bounded size, and no program is started."""

import io
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import PIL.EpsImagePlugin
import PIL.features
import PIL.Image
import pytest

from flaxcnn.data.sources.decoding import MAX_PIXELS, decode
from flaxcnn.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 5\n%%EndComments\n0 0 4 5 rectfill\n%%EOF\n"


def encoded(form, pixels=PIXELS, **options):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def png(width, height, rows=b""):
    """A PNG file in gray whose header says what it likes."""

    def part(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = part(b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + part(b"IDAT", zlib.compress(rows, 9)) + part(b"IEND", b"")


def refusal(data, channels=3, shape=None):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError) as refused:
            decode(data, channels, "here", shape)
    line = str(refused.value)
    assert line.startswith("here: ")
    return line.removeprefix("here: ")


@pytest.mark.parametrize(("form", "exact"), [("PNG", True), ("BMP", True), ("GIF", False), ("JPEG", False)])
def test_the_four_formats_are_decoded(form, exact):
    pixels = decode(encoded(form), 3, "here")
    assert (pixels.shape, pixels.dtype) == ((5, 4, 3), np.uint8)
    if exact:
        np.testing.assert_array_equal(pixels, PIXELS)
    assert decode(encoded(form), 1, "here").shape == (5, 4, 1)


def test_a_gif_is_its_first_frame():
    frames = [PIL.Image.fromarray(np.full((5, 4), shade, np.uint8)) for shade in (10, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert (decode(buffer.getvalue(), 1, "here") == 10).all()


@pytest.mark.parametrize("form", ["TIFF", "PPM", "TGA", "ICO", "PCX", "WEBP", "SGI", "DDS", "PDF"])
def test_any_other_format_is_refused(form):
    if form == "WEBP" and not PIL.features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    assert refusal(encoded(form)) == "no image; expected a PNG, JPEG, BMP or GIF file, found an unknown format"


def test_postscript_starts_no_ghostscript(tmp_path, monkeypatch):
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(PIL.EpsImagePlugin, "gs_binary", None)
    with pytest.raises(OSError, match="image file"):
        PIL.Image.open(io.BytesIO(EPS)).load()
    assert (tmp_path / "started").exists()  # so Pillow does when it is asked for any format
    (tmp_path / "started").unlink()
    refusal(EPS)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(("width", "height"), [(2**31 - 1, 2**31 - 1), (20_000, 20_000), (MAX_PIXELS + 1, 1)])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(width, height, monkeypatch):
    for limit in (PIL.Image.MAX_IMAGE_PIXELS, None):  # whatever the rest of the program told Pillow
        monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", limit)
        tracemalloc.start()
        refusal(png(width, height, bytes(1000)), 1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**22


def test_an_image_of_another_size_is_refused_before_it_is_decoded():
    assert refusal(png(9000, 9000), 1, (28, 28, 1)) == (
        "images of different sizes; expected 28×28×1 as in example 0, found 9000×9000×1. "
        "Prepare the data set with images of one size"
    )


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "JPEG"])
def test_a_file_that_is_cut_is_refused(form):
    data = encoded(form, np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8))
    for length in (1, 10, 30, len(data) // 2):
        # Of one byte nobody knows what it was.
        assert refusal(data[:length]).startswith(("damaged image; ", "no image; "))


def test_a_text_that_inflates_within_an_image_is_not_kept():
    text = b"zTXt" + b"a\0\0" + zlib.compress(bytes(2**27), 1)
    part = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    image = png(4, 5, bytes(25))
    tracemalloc.start()
    refusal(image[:33] + part + image[33:], 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**25
