"""What a data set's report says of boxes: counted and measured in pixels of the original images."""

import base64
import io
import json
import re

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxcnn.cli.datasets import data
from flaxcnn.data import Options, load
from flaxcnn.data.image_files import FileInfo, FileObjects, ImageFiles
from flaxcnn.data.inspection.box_checks import odd_boxes
from flaxcnn.data.inspection.boxes import boxes_of, ious, overlaps
from flaxcnn.data.inspection.examples import Examples
from flaxcnn.data.inspection.findings import find_all
from flaxcnn.data.inspection.page import page
from flaxcnn.pages.charts import heat_map
from tests.pages import Parsed

# Images of 300 × 200 pixels; category, x, y, width, height.
TRAIN = {
    "a.png": [(1, 0, 0, 20, 20), (1, 100, 100, 32, 32), (2, 0, 0, 150, 100)],  # 400, 1024 and 15,000 pixels
    "b.png": [(1, 50, 50, 95, 97), (1, 50, 70, 95, 97), (2, -10, 20, 40, 20)],  # 9,215 pixels, by 20 of 97 rows apart
    "c.png": [],
}
TEST = {"d.png": [(2, 10, 10, 100, 100), (2, 11, 10, 100, 100), (1, 10, 10, 100, 100)]}
NAMES = ("ant", "<b>bee</b>", "wasp")


@pytest.fixture
def folder(tmp_path):
    for seed, (split, files) in enumerate((("train", TRAIN), ("test", TEST))):
        (tmp_path / split).mkdir()
        images, annotations = [], []
        for number, (name, boxes) in enumerate(files.items()):
            images.append({"id": number, "file_name": name, "width": 300, "height": 200})
            annotations += [{"image_id": number, "category_id": of, "bbox": list(box)} for of, *box in boxes]
            pixels = np.random.default_rng((seed, number)).integers(0, 256, (200, 300, 3), np.uint8)
            PIL.Image.fromarray(pixels).save(tmp_path / split / name)
        categories = [{"id": 1 + n, "name": name} for n, name in enumerate(NAMES)]
        told = {"images": images, "annotations": annotations, "categories": categories}
        (tmp_path / f"{split}.json").write_text(json.dumps(told))
    return tmp_path


@pytest.fixture
def dataset(folder):
    return load(f"coco:{folder}", Options(size=(64,), on_bad="skip", cache=False))


def test_boxes_are_those_of_the_files_whatever_they_are_fitted_to(dataset):
    boxes = boxes_of(dataset.files)
    assert boxes.areas.tolist() == [400, 1024, 15000, 9215, 9215, 30 * 20, 10000, 10000, 10000]  # one is clipped
    assert boxes.numbers.tolist() == [0, 0, 1, 0, 0, 1, 1, 1, 0]
    assert boxes.places.tolist() == [1, 2, 3, 1, 2, 3, 1, 2, 3]
    assert [list(dataset.files.headers)[file] for file in boxes.files[[0, 3, 6]]] == [
        *("train/a.png", "train/b.png", "test/d.png"),
    ]
    assert boxes.shares[2] == 15000 / 60000
    assert boxes.middles[1].tolist() == [116 / 200, 116 / 300]


def test_overlaps_are_with_boxes_of_the_same_class_in_the_same_image(dataset):
    greatest, doubled = overlaps(boxes_of(dataset.files))
    apart, close = 77 / (97 + 20), 99 / 101  # of rows that both have, to rows that one has
    np.testing.assert_allclose(greatest, [0, 0, 0, apart, apart, 0, close, close, 0])
    assert [pair[:2] for pair in doubled] == [(6, 7)]


def test_the_findings_name_file_and_annotation(dataset):
    assert {what: found for what, _, found in odd_boxes(dataset.files)} == {
        "boxes that reach out of their image": [("train/b.png", "box 3, <b>bee</b>, y 20 to 40, x -10 to 30")],
        "doubled boxes": [
            (
                "test/d.png",
                "box 1, <b>bee</b>, y 10 to 110, x 10 to 110, and box 2, <b>bee</b>, y 10 to 110, x 11 to 111",
            )
        ],
    }
    found = {finding.what: finding for finding in find_all(Examples(dataset), duplicates=False)}
    assert [item.text for item in found["classes without a box"].items] == ["wasp"]
    (item,) = found["doubled boxes"].items
    assert [Examples(dataset).name_of(number) for number in item.examples] == ["test/d.png"]


def test_boxes_of_less_than_a_pixel_are_found(folder):
    told = json.loads((folder / "train.json").read_text())
    told["annotations"][0]["bbox"] = [5, 5, 0.75, 9]
    (folder / "train.json").write_text(json.dumps(told))
    files = load(f"coco:{folder}", Options(cache=False)).files
    found = {what: items for what, _, items in odd_boxes(files)}
    assert found["boxes of less than a pixel"] == [("train/a.png", "box 1, ant, y 5 to 14, x 5 to 5.75")]


@pytest.mark.parametrize("target", [(), ("boxes",), ("counts",)])
def test_the_page_counts_measures_and_shows_the_boxes(folder, target):
    dataset = load(f"coco:{folder}", Options(size=(64,), target=target, cache=False))
    content = page(Examples(dataset), [])
    parsed = Parsed(content)
    shown = parsed.shown()
    assert "9 boxes of 3 classes in 3 images." in shown
    assert "1 images have no box: they are kept, as images without objects." in shown
    assert any(text.startswith("44.4% of the boxes") and "1 pairs are doubled" in text for text in shown)  # 4 of 9
    text = content.decode()
    rows = re.findall(r"<tr><th>([^<]*)</th>(.*?)</tr>", text[text.index('id="boxes"') :])
    cells = {name: re.findall(r'<td class="number[^"]*">([^<]*)</td>', row) for name, row in rows}
    # training, test, all, images, median side; of sizes 20, 32 and twice 96 (but one pixel) and 100; overlapping
    assert cells["ant"] == ["4", "1", "5", "3", "96", "20%", "60%", "20%", "40%"]
    assert cells["&lt;b&gt;bee&lt;/b&gt;"] == ["2", "2", "4", "3", "100", "25%", "0%", "75%", "50%"]
    assert cells["wasp"] == ["0", "0", "0", "0", *["–"] * 5]
    assert [text for text in shown if text.startswith("boxes an image")] == [
        "boxes an image, training: mean 2, median 3, most 3",
        "boxes an image, test: mean 3, median 3, most 3",
    ]
    # Each picture has its boxes over it, in pixels of its file.
    assert parsed.values("svg", "viewbox").count("0 0 300 200") == 3
    assert "20 x 20" not in shown
    assert ('rect", "width", "150.0"') in str(parsed.attributes).replace("'", '"')
    names = [text for inside, text in parsed.texts if inside == "text"]
    assert sorted(names) == ["<b>bee</b>"] * 4 + ["ant"] * 5
    pictures = [base64.b64decode(uri.partition(",")[2]) for uri in parsed.values("img", "src")]
    sizes = [PIL.Image.open(io.BytesIO(picture)).size for picture in pictures]
    assert sizes.count((300, 200)) == 3


def test_a_page_of_images_without_boxes_says_so(folder):
    for split in ("train", "test"):
        told = json.loads((folder / f"{split}.json").read_text())
        (folder / f"{split}.json").write_text(json.dumps({**told, "annotations": []}))
    shown = Parsed(page(Examples(load(f"coco:{folder}", Options(cache=False))), [])).shown()
    assert "0 boxes of 3 classes in 0 images." in shown
    assert "4 images have no box: they are kept, as images without objects." in shown


def test_crowds_are_counted_apart(folder):
    told = json.loads((folder / "test.json").read_text())
    told["annotations"][1]["iscrowd"] = 1
    (folder / "test.json").write_text(json.dumps(told))
    dataset = load(f"coco:{folder}", Options(cache=False))
    assert boxes_of(dataset.files).places.tolist()[-2:] == [1, 3]
    shown = Parsed(page(Examples(dataset), [])).shown()
    assert "1 crowds, regions of several objects, are not counted." in shown
    assert not [what for what, _, _ in odd_boxes(dataset.files) if what == "doubled boxes"]


def test_the_command_prints_the_findings_and_is_strict(folder, tmp_path, capsys):
    assert data([f"coco:{folder}", "--report", str(tmp_path / "page.html"), "--no_duplicates"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        "1  boxes that reach out of their image, such as train/b.png: box 3, <b>bee</b>, y 20 to 40, x -10 to 30"
        in lines
    )
    assert "1  classes without a box, such as wasp" in lines
    assert 'id="boxes"' in (tmp_path / "page.html").read_text()
    with pytest.raises(Exception, match=r"1 boxes that reach out of their image, 1 doubled boxes"):
        data([f"coco:{folder}", "--strict", "--no_duplicates"])


def test_a_heat_map_has_a_square_for_each_count():
    counts = np.asarray([[1, 4, 0], [0, 1, 4]])
    drawn = heat_map(counts)
    squares = re.findall(r'x="(\d)" y="(\d)" width="1" height="1" fill-opacity="([0-9.]+)"', drawn)
    assert squares == [("0", "0", "0.25"), ("1", "0", "1"), ("1", "1", "0.25"), ("2", "1", "1")]


corners = st.tuples(*[st.integers(0, 12)] * 4).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]) + 1, max(c[1], c[3]) + 1)
)


@given(st.lists(corners, min_size=1, max_size=4), st.lists(corners, min_size=1, max_size=4))
def test_intersection_over_union_is_that_of_the_pixels(one, other):
    def pixels(box):
        grid = np.zeros((14, 14), bool)
        grid[box[0] : box[2], box[1] : box[3]] = True
        return grid

    found = ious(np.asarray(one, float), np.asarray(other, float))
    expected = [[(pixels(a) & pixels(b)).sum() / (pixels(a) | pixels(b)).sum() for b in other] for a in one]
    np.testing.assert_allclose(found, expected)


@given(st.lists(st.tuples(corners, st.integers(0, 1), st.integers(0, 2)), max_size=12))
def test_overlaps_are_those_of_each_pair_by_itself(drawn):
    """Boxes with their class and file, compared one by one."""
    drawn = sorted(drawn, key=lambda each: each[2])
    counts = np.bincount([file for *_, file in drawn], minlength=3)
    objects = FileObjects(
        ("a", "b"),
        counts,
        np.asarray([box for box, *_ in drawn], float).reshape(-1, 4),
        np.asarray([of for _, of, _ in drawn], np.int32),
        np.zeros(len(drawn), bool),
    )
    headers = {str(n): FileInfo("PNG", 14, 14, True, 8) for n in range(3)}
    greatest, doubled = overlaps(boxes_of(ImageFiles(None, headers, {}, objects)))
    table = ious(objects.boxes_K4, objects.boxes_K4)
    for k, (_, of, file) in enumerate(drawn):
        others = [table[k, j] for j, (_, at, of_file) in enumerate(drawn) if j != k and (at, of_file) == (of, file)]
        assert greatest[k] == pytest.approx(max(others, default=0))
    same = [
        (j, k) for k, b in enumerate(drawn) for j, a in enumerate(drawn[:k]) if a[1:] == b[1:] and table[j, k] >= 0.95
    ]
    assert sorted(pair[:2] for pair in doubled) == sorted(same)
