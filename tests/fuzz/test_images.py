"""Encoded images: whatever Pillow makes of their bytes."""

import io

import numpy as np
import PIL.Image

from flaxcnn.data.sources.decoding import FORMATS, decode
from tests.fuzz.mutations import count, hold, mutated_bytes

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)


def encoded(form, mode, **options):
    buffer = io.BytesIO()
    PIL.Image.fromarray(PIXELS).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def seeds():
    for form in FORMATS:
        for mode in ("L", "RGB", "P", "1", "RGBA", "CMYK"):
            try:
                yield encoded(form, mode)
            except (OSError, ValueError):
                continue  # the format has no such mode
    yield encoded("JPEG", "RGB", progressive=True)
    yield encoded("GIF", "P", save_all=True, append_images=[PIL.Image.fromarray(PIXELS[::-1])])
    yield encoded("PNG", "P", transparency=0)
    yield encoded("MPO", "RGB", save_all=True, append_images=[PIL.Image.fromarray(PIXELS)])


def test_no_image_is_answered_with_anything_but_a_line():
    def run(data):
        decode(data, 3, "here")
        decode(data, 1, "here", (9, 8, 1))

    hold(run, mutated_bytes(list(seeds()), count()))
