"""A data set's page is well-formed, shows hostile names as text, and needs nothing from elsewhere."""

import base64
import io
import re

import numpy as np
import PIL.Image
import pytest

from flaxcnn.data import Dataset, Split, from_arrays
from flaxcnn.data.inspection.examples import Examples
from flaxcnn.data.inspection.findings import Finding, Item, find_all
from flaxcnn.data.inspection.page import page
from flaxcnn.pages.charts import histogram
from flaxcnn.pages.pictures import data_uri
from tests.pages import Parsed

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "=cmd()", "\x1b[2J\u202e", "\udcff&amp;")
SHOWN = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "=cmd()", "\\x1b[2J\\u202e", "\\udcff&amp;")


def images(count, side=16):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


@pytest.fixture(scope="module")
def hostile():
    """The page of a data set whose source, classes, notes and file names are hostile."""
    labels = (np.arange(30) % 5).astype(np.int32)
    names = tuple(f"{HOSTILE[number % 5]} {number}.jpg" for number in range(30))
    every = images(30)
    every[20] = every[1]
    train = Split(every[:20], labels[:20], None, names[:20])
    test = Split(every[20:], labels[20:], None, names[20:])
    dataset = Dataset(f"folder:{HOSTILE[0]}", train, test, HOSTILE, notes=(f"note {HOSTILE[1]}",))
    examples = Examples(dataset)
    findings = [*find_all(examples), Finding(f"kind {HOSTILE[1]}", 1, HOSTILE[0], (Item(HOSTILE[1], (3,)),))]
    assert "exact duplicates across splits" in [finding.what for finding in findings]
    return page(examples, findings)


def test_the_page_is_well_formed_and_declares_itself(hostile):
    parsed = Parsed(hostile)
    assert hostile.startswith(b"<!doctype html>")
    assert parsed.values("meta", "charset") == ["utf-8"]
    assert "width=device-width, initial-scale=1" in parsed.values("meta", "content")
    assert parsed.tags.count("main") == 1


def test_hostile_names_are_text(hostile):
    parsed = Parsed(hostile)
    assert not {"script", "iframe", "object", "link", "base", "form"} & set(parsed.tags)
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on")]
    texts = parsed.shown()
    for name in SHOWN:
        assert name in texts
    assert f"folder:{SHOWN[0]}" in texts
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e\ud800-\udfff]", hostile.decode("utf-8"))


def test_the_page_refers_to_nothing_outside_itself(hostile):
    parsed = Parsed(hostile)
    anchors = {value for _, name, value in parsed.attributes if name == "id"}
    for _, name, value in parsed.attributes:
        if name == "src":
            assert value.startswith("data:image/")
        if name == "href":
            assert value.startswith("#")
            assert value[1:] in anchors
        assert name not in ("srcset", "action", "background", "xlink:href")
    styles = "".join(text for tag, text in parsed.texts if tag == "style")
    assert not re.search(r"url\(|@import|expression", styles)
    assert "prefers-color-scheme: dark" in styles
    assert not re.search(rb"""(?:src|href)=["']?(?:https?:|file:|//)""", hostile)


def test_every_picture_is_a_small_image(hostile):
    parsed = Parsed(hostile)
    sources = parsed.values("img", "src")
    assert len(sources) > 30
    for source in sources:
        picture = PIL.Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
        picture.load()
        assert max(picture.size) <= 128
    assert all(parsed.values("img", "alt"))


def test_a_page_counts_the_classes_of_each_split_and_their_imbalance():
    labels = ["cat"] * 12 + ["dog"] * 3
    test = np.arange(15) % 3 == 2
    parsed = Parsed(page(Examples(from_arrays(images(15), labels, test=test)), []))
    numbers = [text for tag, text in parsed.texts if tag == "td"]
    assert numbers[:6] == ["8", "4", "12", "2", "1", "3"]
    assert "The most frequent has 4 times the images of the rarest." in parsed.shown()
    assert "Nothing suspicious was found." in parsed.shown()


def test_a_page_shows_the_distribution_of_numbers_and_what_is_missing():
    weights = np.asarray([1.0, 2.0, 3.0, 6.0, np.nan, 4.0, 8.0, 12.0])
    targets = {"weight": weights, "marks": np.arange(16).reshape(8, 2) % 3 == 0}
    dataset = from_arrays(
        images(8), targets, test=np.arange(8) >= 5, target_names={"weight": ("mg",), "marks": ("a", "b")}
    )
    shown = Parsed(page(Examples(dataset), [])).shown()
    assert "training: mean 3, median 2.5, 1 missing" in shown
    assert "test: mean 8, median 8" in shown
    assert "Labels: marks" in shown
    assert "mg" in shown


def test_the_mean_and_deviation_of_channels_are_shown():
    flat = np.zeros((4, 8, 8, 3), np.uint8)
    flat[:, ::2, :, 0] = 255  # half of the red: mean 0.5, deviation 0.5
    flat[..., 1] = 51  # one fifth
    flat[:, :, ::2, 1] = 153  # and three fifths: mean 0.4, deviation 0.2
    parsed = Parsed(page(Examples(from_arrays(flat, [0, 1, 0, 1], test=np.arange(4) >= 2)), []))
    assert parsed.shown().count("0.500 ± 0.500") == 2
    assert parsed.shown().count("0.400 ± 0.200") == 2


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_images_of_any_number_of_channels_have_a_page(channels):
    every = np.random.default_rng(1).integers(0, 256, (6, 9, 7, channels), np.uint8)
    Parsed(page(Examples(from_arrays(every, [0, 1] * 3, test=np.arange(6) >= 4)), []))


def test_a_small_image_is_kept_as_it_is_and_a_large_one_is_reduced():
    small = images(1, 20)[0]
    kept = PIL.Image.open(io.BytesIO(base64.b64decode(data_uri(small).partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(kept), small)
    large = np.full((300, 150, 3), 77, np.uint8)
    reduced = PIL.Image.open(io.BytesIO(base64.b64decode(data_uri(large).partition(",")[2])))
    assert reduced.size == (64, 128)


def test_the_bars_of_a_histogram_are_as_high_as_their_counts():
    bars = re.findall(r'height="([0-9.]+)"', histogram([0, 0, 0, 0, 1, 1, 3, np.nan], 0, 4, bins=4))
    assert list(map(float, bars)) == [80.0, 40.0, 20.0]
