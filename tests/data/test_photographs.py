"""Image files of every format, depth, mode and orientation decode to the pixels that other tools give."""

import io
import itertools
import zlib

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_sample_image

from flaxcnn.data.photographs.decoding import FORMATS, MAX_PIXELS, Shape, decode_file, inspect
from flaxcnn.errors import DataError

PHOTOGRAPH = load_sample_image("china.jpg")[:256, :384]  # 256×384 RGB


def encoded(pixels, kind="PNG", **options):
    file = io.BytesIO()
    picture = pixels if isinstance(pixels, PIL.Image.Image) else PIL.Image.fromarray(pixels)
    picture.save(file, kind, **options)
    return file.getvalue()


def same_size(pixels, channels=3):
    return Shape(*pixels.shape[:2], channels)


def decode(data, shape):
    return decode_file(data, shape, "x")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_a_lossless_format_keeps_every_pixel(kind):
    data = encoded(PHOTOGRAPH, kind)
    assert inspect(data, "x") == (kind, 256, 384, False, 8)
    np.testing.assert_array_equal(decode(data, same_size(PHOTOGRAPH)), PHOTOGRAPH)


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95}), ("GIF", {})])
def test_a_lossy_format_comes_near(kind, options):
    data = encoded(PHOTOGRAPH, kind, **options)
    assert inspect(data, "x")[:3] == (kind, 256, 384)
    difference = np.abs(decode(data, same_size(PHOTOGRAPH)).astype(int) - PHOTOGRAPH)
    assert difference.mean() < (12 if kind == "GIF" else 3)  # 256 colours


def test_of_an_animation_the_first_frame_is_decoded():
    frames = [np.full((8, 8), value, np.uint8) for value in (10, 200)]
    first, *others = map(PIL.Image.fromarray, frames)
    for kind in ("GIF", "TIFF", "WEBP"):
        data = encoded(
            first, kind, save_all=True, append_images=others, **({"lossless": True} if kind == "WEBP" else {})
        )
        np.testing.assert_allclose(decode(data, Shape(8, 8, 1))[..., 0], frames[0], atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exifs_orientation_makes_an_image_upright(orientation):
    # What EXIF 2.32 says of each: where the stored row 0 and column 0 are in the upright image.
    upright = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[:, :][::-1],
        7: upright.T[::-1, ::-1],
        8: upright.T[:, ::-1],
    }[orientation]
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    data = encoded(np.ascontiguousarray(stored), "PNG", exif=exif)
    assert inspect(data, "x")[1:3] == (4, 6)
    np.testing.assert_array_equal(decode(data, Shape(4, 6, 1))[..., 0], upright)


def test_damaged_exif_is_no_reason_to_refuse_an_image():
    data = encoded(PHOTOGRAPH, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    assert decode(data, same_size(PHOTOGRAPH)).shape == PHOTOGRAPH.shape


def test_sixteen_bits_become_eight_by_rounding():
    values = np.asarray([[0, 128, 129, 256, 257, 385, 386, 65407, 65535]], np.uint16)
    expected = [[round(int(value) / 257) for value in values[0]]]
    for kind in ("PNG", "TIFF"):
        data = encoded(values, kind)
        assert inspect(data, "x") == (kind, 1, 9, True, 16)
        np.testing.assert_array_equal(decode(data, Shape(1, 9, 1))[..., 0], expected)
    pgm = b"P5 9 1 65535\n" + values.astype(">u2").tobytes()
    assert inspect(pgm, "x") == ("PPM", 1, 9, True, 16)
    np.testing.assert_array_equal(decode(pgm, Shape(1, 9, 1))[..., 0], expected)


def test_palettes_alpha_and_cmyk_become_colours():
    picture = PIL.Image.fromarray(PHOTOGRAPH)
    palette = picture.quantize(64)
    np.testing.assert_array_equal(
        decode(encoded(palette, "PNG"), same_size(PHOTOGRAPH)), np.asarray(palette.convert("RGB"))
    )
    alpha = np.dstack([PHOTOGRAPH, np.zeros(PHOTOGRAPH.shape[:2], np.uint8)])
    np.testing.assert_array_equal(decode(encoded(alpha), same_size(PHOTOGRAPH)), PHOTOGRAPH)  # as torchvision's loader
    cmyk = decode(encoded(picture.convert("CMYK"), "JPEG", quality=95), same_size(PHOTOGRAPH))
    assert np.abs(cmyk.astype(int) - PHOTOGRAPH).mean() < 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
def test_gray_is_known_by_its_mode_and_its_palette(mode):
    gray = PIL.Image.fromarray(PHOTOGRAPH).convert("L")
    picture = gray.quantize(16).convert("L").convert("P") if mode == "P" else gray.convert(mode)
    assert inspect(encoded(picture), "x").gray
    assert not inspect(encoded(PHOTOGRAPH), "x").gray


def squares():
    """A picture of 40×80: a red square of 40 in the middle, blue at both sides."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :, 2] = 255
    pixels[:, 20:60] = (255, 0, 0)
    return encoded(pixels)


def test_crop_keeps_the_middle_letterbox_everything_and_stretch_the_corners():
    cropped, boxed, stretched = (decode(squares(), Shape(20, 20, 3, fit)) for fit in ("crop", "letterbox", "stretch"))
    assert (cropped[:, 2:-2] == (255, 0, 0)).all()  # the filter sees the pixels beside the crop
    assert (boxed[:5] == 114).all()
    assert (boxed[15:] == 114).all()
    assert (boxed[5:15, :4] == (0, 0, 255)).all()
    assert (boxed[5:15, 7:13] == (255, 0, 0)).all()
    assert (stretched[:, :4] == (0, 0, 255)).all()
    assert (stretched[:, 7:13] == (255, 0, 0)).all()
    assert cropped.shape == boxed.shape == stretched.shape == (20, 20, 3)


def test_pad_keeps_the_scale_of_what_lies_within():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 13, 3), np.uint8)
    padded = decode(encoded(pixels), Shape(20, 21, 3, "pad"))
    np.testing.assert_array_equal(padded[6:14, 4:17], pixels)
    large = np.random.default_rng(0).integers(0, 256, (40, 80, 3), np.uint8)
    found, boxed = (decode(encoded(large), Shape(20, 20, 3, fit))[5:15] for fit in ("pad", "letterbox"))
    np.testing.assert_array_equal(found, boxed)


@pytest.mark.parametrize("channels", [1, 3])
def test_pad_goes_on_with_the_background(channels):
    background, thing, speck = np.array([[200, 210, 220], [10, 20, 30], [255, 0, 0]], np.uint8)[:, :channels]
    pixels = np.broadcast_to(background, (8, 13, channels)).copy()
    pixels[2:6, 2:9] = thing
    pixels[0, :5] = speck  # less than half of the border
    padded = decode(encoded(pixels.squeeze()), Shape(20, 21, channels, "pad")).copy()
    padded[6:14, 4:17] = background
    assert (padded == background).all()


def test_the_fit_of_imagenet_is_the_middle_224_of_256_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (256, 300, 3), np.uint8)
    found = decode(encoded(pixels), Shape(224, 224, 3, "imagenet"))
    np.testing.assert_array_equal(found, pixels[16:240, 38:262])
    small = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    grown = PIL.Image.fromarray(small).resize((224, 224), PIL.Image.Resampling.BICUBIC, box=(14, 14, 210, 210))
    np.testing.assert_array_equal(decode(encoded(small), Shape(224, 224, 3, "imagenet")), np.asarray(grown))


@pytest.mark.parametrize(
    ("height", "width", "fit"),
    list(itertools.product((1, 7, 64), (1, 9, 200), ("crop", "letterbox", "pad", "stretch", "imagenet"))),
)
def test_any_size_fits_into_any_other(height, width, fit):
    for source in ((1, 1), (3, 500), (500, 3), (33, 47)):
        data = encoded(np.full((*source, 3), 114, np.uint8))
        np.testing.assert_allclose(decode(data, Shape(height, width, 3, fit)), 114, atol=1)


def test_a_reduced_jpeg_is_resized_as_the_whole_one_is():
    large = np.asarray(PIL.Image.fromarray(load_sample_image("flower.jpg")).resize((1280, 854)))
    data = encoded(large, "JPEG", quality=95)
    whole = PIL.Image.open(io.BytesIO(data)).resize((96, 64), PIL.Image.Resampling.BICUBIC)
    reduced = decode(data, Shape(64, 96, 3, "stretch"))
    difference = np.abs(reduced.astype(int) - np.asarray(whole))
    assert difference.mean() < 0.2
    assert difference.max() <= 3


def bomb():
    """A PNG of some bytes that says it has 12,000 × 12,000 pixels."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (12_000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no image"),
        (b"hello", "no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),  # Pillow would start Ghostscript
        (bomb(), f"image too large; expected at most {MAX_PIXELS:,} pixels, found 12000×12000"),
        (encoded(np.zeros((4, 4), np.float32), "TIFF"), "not 8 or 16 bits a channel"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(data, message):
    with pytest.raises(DataError, match=f"^x: {message}"):
        inspect(data, "x")


@pytest.mark.parametrize("kind", [each for each in FORMATS if each not in ("GIF",)])
def test_a_truncated_file_is_damaged(kind):
    data = encoded(PHOTOGRAPH, kind)
    with pytest.raises(DataError, match=r"^x: (damaged|no) image"):
        decode(data[: len(data) // 2], same_size(PHOTOGRAPH))
