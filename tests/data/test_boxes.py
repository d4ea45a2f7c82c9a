"""Boxes in the formats of COCO, Pascal VOC and YOLO become targets that follow the pixels."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from flaxcnn.data import Dataset, Options, Split, describe, describe_absent, load
from flaxcnn.data.photographs.decoding import Shape, decode_file, placement
from flaxcnn.data.targets import row_text, target_rows
from flaxcnn.errors import ConfigError, DataError

# Two classes; of each image its size and its objects: class, x, y, width, height in pixels.
CLASSES = ("ant", "bee")
IMAGES = {
    "a.png": ((20, 40), [("ant", 10, 5, 20, 10), ("bee", 30, 0, 10, 10)]),
    "b.png": ((20, 40), [("bee", 12, 4, 8, 8), ("bee", 20, 10, 10, 10)]),
    "c.png": ((20, 40), []),
    "d.png": ((20, 40), [("ant", 15, 0, 5, 5)]),
}
TRAIN = ("a.png", "b.png", "c.png")


def picture(path, size, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(path)


def coco_of(names, first=1):
    """What COCO's format has of images; ids in descending order, so that nothing relies on it."""
    images = [
        {"id": 100 - place, "file_name": name, "height": IMAGES[name][0][0], "width": IMAGES[name][0][1]}
        for place, name in enumerate(names)
    ]
    objects = [
        {"image_id": image["id"], "category_id": first + CLASSES.index(of), "bbox": list(box), "iscrowd": 0}
        for image in images
        for of, *box in IMAGES[image["file_name"]][1]
    ]
    objects = [
        {**one, "id": place, "area": one["bbox"][2] * one["bbox"][3]} for place, one in enumerate(objects, start=1)
    ]
    categories = [{"id": first + number, "name": name} for number, name in reversed(list(enumerate(CLASSES)))]
    return {"images": images, "annotations": objects, "categories": categories}


@pytest.fixture
def coco(tmp_path):
    """COCO's own layout: annotations/instances_*.json, train2017/, val2017/."""
    (tmp_path / "annotations").mkdir()
    for split, names in (("train2017", TRAIN), ("val2017", ("d.png",))):
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(json.dumps(coco_of(names)))
        for seed, name in enumerate(names):
            picture(tmp_path / split / name, IMAGES[name][0], seed)
    return tmp_path


@pytest.fixture
def voc(tmp_path):
    """The development kit's layout, in its coordinates: the first pixel is 1, the last belongs to the box."""
    lists = tmp_path / "ImageSets" / "Main"
    for folder in (lists, tmp_path / "Annotations"):
        folder.mkdir(parents=True)
    for seed, (name, ((height, width), objects)) in enumerate(IMAGES.items()):
        picture(tmp_path / "JPEGImages" / name, (height, width), seed)
        parts = "".join(
            f"<object><name>{of}</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + across}</xmax>"
            f"<ymax>{y + down}</ymax></bndbox></object>"
            for of, x, y, across, down in objects
        )
        text = f"<annotation><size><width>{width}</width><height>{height}</height></size>{parts}</annotation>"
        (tmp_path / "Annotations" / name.replace("png", "xml")).write_text(text)
    (lists / "train.txt").write_text("a\nb\nc\n")
    (lists / "val.txt").write_text("d\n")
    return tmp_path


@pytest.fixture
def yolo(tmp_path):
    (tmp_path / "data.yaml").write_text(
        "train: ../images/train\nval: images/val\ntest: # none\nnc: 2\nnames: [ant, bee]\n"
    )
    for seed, (name, ((height, width), objects)) in enumerate(IMAGES.items()):
        split = "train" if name in TRAIN else "val"
        picture(tmp_path / "images" / split / name, (height, width), seed)
        lines = [
            f"{CLASSES.index(of)} {(x + across / 2) / width} {(y + down / 2) / height} {across / width} {down / height}"
            for of, x, y, across, down in objects
        ]
        if lines:  # an image without objects has no file of labels
            (tmp_path / "labels" / split).mkdir(parents=True, exist_ok=True)
            (tmp_path / "labels" / split / name.replace("png", "txt")).write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture(params=["coco", "voc", "yolo"])
def source(request):
    return f"{request.param}:{request.getfixturevalue(request.param)}"


def boxes_of(split, name):
    """The boxes of an image with their classes, without padding."""
    (position,) = (place for place, path in enumerate(split.names) if path.endswith(name))
    boxes, classes = split.targets["boxes"][position], split.targets["classes"][position]
    assert (np.isnan(boxes).all(axis=1) == (classes == -1)).all()
    return [(*map(float, box), int(number)) for box, number in zip(boxes, classes, strict=True) if number >= 0]


def load_boxes(source, **options):
    return load(source, Options(target=("boxes",), **options))


def test_boxes_of_images_that_keep_their_size_are_those_of_the_files(source):
    dataset = load_boxes(source)
    assert dataset.image_shape == (20, 40, 3)
    assert boxes_of(dataset.train, "a.png") == [(5, 10, 15, 30, 0), (0, 30, 10, 40, 1)]
    assert boxes_of(dataset.train, "b.png") == [(4, 12, 12, 20, 1), (10, 20, 20, 30, 1)]
    assert boxes_of(dataset.train, "c.png") == []
    assert boxes_of(dataset.test, "d.png") == [(0, 15, 5, 20, 0)]
    boxes, classes = dataset.train.targets["boxes"], dataset.train.targets["classes"]
    assert (boxes.dtype, boxes.shape, classes.dtype, classes.shape) == (np.float32, (3, 2, 4), np.int32, (3, 2))
    assert dataset.target_names["classes"] == CLASSES
    assert dataset.image_shape == (20, 40, 3)


def test_stretched_boxes_are_scaled_in_each_direction(source):
    dataset = load_boxes(source, size=(40, 20), fit="stretch")
    assert boxes_of(dataset.train, "a.png") == [(10, 5, 30, 15, 0), (0, 15, 20, 20, 1)]


def test_letterboxed_boxes_move_by_the_padding(source):
    # 20×40 becomes 10×20 within 20×20: halved, and 5 rows down.
    dataset = load_boxes(source, size=(20,), fit="letterbox")
    assert boxes_of(dataset.train, "a.png") == [(7.5, 5, 12.5, 15, 0), (5, 15, 10, 20, 1)]


def test_cropped_boxes_are_clipped_and_those_whose_centre_is_cropped_away_are_left_out(source):
    # Of 20×40, 20×20 remain, columns 10 to 30. The bee of a.png has its centre at 35; no column of b.png's is lost.
    dataset = load_boxes(source, size=(20,), fit="crop")
    assert boxes_of(dataset.train, "a.png") == [(5, 0, 15, 20, 0)]
    assert boxes_of(dataset.train, "b.png") == [(4, 2, 12, 10, 1), (10, 10, 20, 20, 1)]
    assert [note for note in dataset.notes if note.startswith("1 of 5 objects are left out")]
    counts = load(source, Options(size=(20,), target=("count",)))
    assert sorted(counts.train.targets.tolist()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("fit", "size", "scale"),
    [
        ("letterbox", (20,), 0.5),  # 40 columns become 20
        ("letterbox", (60, 90), 2.25),  # 40 become 90; 20 × 2.25 rows lie within 60
        ("pad", (60, 90), 1.0),  # never enlarged
        ("pad", (20,), 0.5),
        ("crop", (10,), 0.5),  # 20 rows become 10
        ("imagenet", (7,), 0.4),  # 7/8 of 20 rows, 17.5, become 7
        ("stretch", (40, 10), np.sqrt(2 * 0.25)),  # so that areas are scaled by its square, 1/2
    ],
)
def test_the_scale_says_how_many_pixels_one_of_the_file_becomes(coco, fit, size, scale):
    dataset = load_boxes(f"coco:{coco}", fit=fit, size=size)
    assert dataset.target_names["scale"] == ("scale",)
    for split in dataset.splits.values():
        scales = split.targets["scale"]
        assert (scales.dtype, scales.shape) == (np.float32, (len(split),))
        np.testing.assert_allclose(scales, scale, rtol=1e-6)


def test_areas_by_the_scale_are_those_of_the_files(coco):
    """COCO's ranges of sizes are of original pixels: what lies whole within the fitted image has its area again."""
    picture(coco / "val2017" / "d.png", (77, 301), 3)
    change(
        coco / "annotations" / "instances_val2017.json",
        lambda told: (
            told["images"][0].update(height=77, width=301) or told["annotations"][0].update(bbox=[9, 5, 32, 31])
        ),
    )
    for fit in ("letterbox", "pad", "stretch"):
        split = load_boxes(f"coco:{coco}", fit=fit, size=(50, 60)).test
        sides = split.targets["boxes"][0, 0, 2:] - split.targets["boxes"][0, 0, :2]
        # 77 rows become 15.3 in a letterbox, which are 15.
        assert np.prod(sides) / split.targets["scale"][0] ** 2 == pytest.approx(32 * 31, rel=0.03)


def test_labels_counts_and_count_say_what_is_in_the_image(source):
    labels, counts, count = (load(source, Options(target=kind)) for kind in ((), ("counts",), ("count",)))
    order = [name[-5:] for name in labels.train.names]
    by_name = dict(zip(order, labels.train.targets.tolist(), strict=True))
    assert by_name == {"a.png": [True, True], "b.png": [False, True], "c.png": [False, False]}
    assert labels.test.targets.tolist() == [[True, False]]
    by_name = dict(zip(order, counts.train.targets.tolist(), strict=True))
    assert by_name == {"a.png": [1, 1], "b.png": [0, 2], "c.png": [0, 0]}
    assert dict(zip(order, count.train.targets.tolist(), strict=True)) == {"a.png": 2, "b.png": 2, "c.png": 0}
    assert (labels.target_names, counts.target_names, count.target_names) == (CLASSES, CLASSES, ("count",))
    assert [each.train.targets.dtype for each in (labels, counts, count)] == [bool, np.float32, np.float32]


def test_several_kinds_of_targets_are_a_dictionary(coco):
    dataset = load(f"coco:{coco}", Options(target=("boxes", "count")))
    assert sorted(dataset.train.targets) == ["boxes", "classes", "count", "scale"]
    rows = [line.split() for line in describe(dataset)]
    assert ["bee", "3", "0"] in rows  # in train and in test
    assert ["objects", "4", "1"] in rows


def test_classes_of_objects_are_checked_and_named():
    images = np.zeros((2, 4, 4, 1), np.uint8)

    def of(*numbers):
        boxes = np.zeros((2, 2, 4), np.float32)
        return Split(images, {"boxes": boxes, "classes": np.asarray(numbers, np.int32)})

    names = {"boxes": ("y0", "x0", "y1", "x1"), "classes": CLASSES}
    sound = of([0, 1], [1, -1])
    with pytest.raises(DataError, match=r"classes.*expected 0 or more, or -1 where there is no object"):
        of([0, 1], [1, -2])
    with pytest.raises(DataError, match=r"classes.*expected 0 to 1"):
        Dataset("drawn", sound, of([0, 1], [2, -1]), names)
    rows = target_rows(Dataset("drawn", sound, of([0, 0], [-1, -1]), names).test.targets)
    assert [row_text(row, names).partition(", ")[2] for row in rows] == ["classes ant ant", "classes none"]
    assert describe_absent({"training": sound}, names) is None
    assert describe_absent({"test": of([0, 0], [0, -1])}, names) == "classes: no test image of 1 of 2 classes (bee)"


def test_a_target_that_there_is_not_is_refused(source):
    with pytest.raises(ConfigError, match=r"data\.target.*labels or boxes or counts or count, found masks"):
        load(source, Options(target=("masks",)))


def test_boxes_are_where_the_decoder_puts_the_pixels(tmp_path):
    """A white rectangle in a black JPEG that is decoded at a reduced scale and turned: its edges are the box's."""
    for fit in ("crop", "letterbox", "pad", "stretch", "imagenet"):
        for orientation in range(1, 9):
            upright = np.zeros((811, 1003), np.uint8)
            upright[200:400, 300:700] = 255
            stored = upright.T if orientation >= 5 else upright
            # EXIF: row 0 and column 0 of what is stored are these sides of what is meant.
            if orientation in (3, 4):
                stored = stored[::-1]
            if orientation in (2, 3):
                stored = stored[:, ::-1]
            if orientation in (6, 7):  # column 0 of the stored lies at the top, row 0 at the right
                stored = stored[::-1]
            if orientation in (7, 8):
                stored = stored[:, ::-1]
            exif = PIL.Image.Exif()
            exif[0x0112] = orientation
            PIL.Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "x.jpg", quality=95, exif=exif)
            shape = Shape(60, 90, 1, fit)
            pixels = decode_file((tmp_path / "x.jpg").read_bytes(), shape, "x.jpg")[..., 0] / 255.0
            taken, shown = placement(811, 1003, shape)
            down, across = shown.height / taken.height, shown.width / taken.width
            top, left = (200 - taken.top) * down + shown.top, (300 - taken.left) * across + shown.left
            # The sum of a row through the rectangle is its width; the mean position its middle.
            inner = pixels[int(shown.top) : int(shown.bottom), int(shown.left) : int(shown.right)]
            row = inner[int(top - shown.top + 100 * down)]
            column = inner[:, int(left - shown.left + 200 * across)]
            for line, first, extent in ((row, left - shown.left, 400 * across), (column, top - shown.top, 200 * down)):
                middle = (line * (np.arange(len(line)) + 0.5)).sum() / line.sum()
                assert line.sum() == pytest.approx(extent, abs=0.15), (fit, orientation)
                assert middle == pytest.approx(first + extent / 2, abs=0.1), (fit, orientation)


def test_pycocotools_reads_the_same_boxes(coco):
    import pycocotools.coco as tools

    theirs = tools.COCO(str(coco / "annotations" / "instances_train2017.json"))
    dataset = load_boxes(f"coco:{coco}")
    for image in theirs.dataset["images"]:
        objects = theirs.loadAnns(theirs.getAnnIds(image["id"], iscrowd=False))
        expected = [(y, x, y + down, x + across) for x, y, across, down in (one["bbox"] for one in objects)]
        names = [theirs.loadCats(one["category_id"])[0]["name"] for one in objects]
        found = boxes_of(dataset.train, image["file_name"])
        assert [box[:4] for box in found] == expected
        assert [CLASSES[box[4]] for box in found] == names


def change(path, edit):
    told = json.loads(path.read_text())
    edit(told)
    path.write_text(json.dumps(told))


def test_crowds_are_in_no_box_and_no_count_but_in_labels(coco):
    def edit(told):
        told["annotations"][1]["iscrowd"] = 1  # the only bee of a.png

    change(coco / "annotations" / "instances_train2017.json", edit)
    dataset = load(f"coco:{coco}", Options(target=("boxes", "labels", "counts")))
    assert boxes_of(dataset.train, "a.png") == [(5, 10, 15, 30, 0)]
    position = dataset.train.names.index("train2017/a.png")
    assert dataset.train.targets["labels"][position].tolist() == [True, True]
    assert dataset.train.targets["counts"][position].tolist() == [1, 0]
    assert any(note.startswith("1 crowds") for note in dataset.notes)


def test_boxes_that_reach_out_of_the_image_are_clipped(coco):
    def edit(told):
        told["annotations"][0]["bbox"] = [-5, -5, 1000, 15]

    change(coco / "annotations" / "instances_train2017.json", edit)
    assert boxes_of(load_boxes(f"coco:{coco}").train, "a.png")[0] == (0, 0, 10, 40, 0)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([10, 5, 0, 10], "a box of no extent"),
        ([10, 5, 10, -1], "a box of no extent"),
        ([41, 5, 10, 10], "a box outside the image"),
        ([10, 5, 1e-30, 10], "a box of no extent"),
    ],
)
def test_an_image_with_a_box_that_is_none_is_an_error_or_left_out(coco, box, reason):
    def edit(told):
        told["annotations"][0]["bbox"] = box

    change(coco / "annotations" / "instances_train2017.json", edit)
    with pytest.raises(DataError, match=rf"1 of 4 files cannot be used.*train2017/a\.png: {reason}"):
        load_boxes(f"coco:{coco}")
    dataset = load_boxes(f"coco:{coco}", on_bad="skip")
    assert sorted(dataset.train.names) == ["train2017/b.png", "train2017/c.png"]
    assert any(f"1 of 4 files skipped: train2017/a.png: {reason}" in note for note in dataset.notes)


def test_an_image_of_another_size_than_was_annotated_is_refused_where_boxes_are_in_pixels(source):
    kind, _, place = source.partition(":")
    (image,) = Path(place).rglob("a.png")
    picture(image, (40, 80), 0)
    if kind == "yolo":  # whose fractions fit any size
        assert boxes_of(load_boxes(source, size=(20, 40)).train, "a.png")[0] == (5, 10, 15, 30, 0)
        return
    with pytest.raises(DataError, match=r"a\.png: annotated as 20×40, but 40×80 upright"):
        load(source)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda told: told.pop("images"), "images: damaged"),
        (lambda told: told["images"].append(told["images"][0]), "an id twice in images"),
        (lambda told: told["categories"][0].update(name="ant"), "a class twice"),
        (lambda told: told["annotations"][0].update(bbox=[1, 2, "3", 4]), r"annotations\[0\]: damaged"),
        (lambda told: told["annotations"][0].update(image_id=7), "1 annotations: of images that it does not list"),
        (lambda told: told["annotations"][0].update(category_id=7), "of category 7, which is not listed"),
        (lambda told: told["images"][0].update(file_name="../../x.png"), "lies outside|a link out|no such file"),
        (lambda told: told["images"][0].update(file_name="/etc/passwd"), "lies outside the folder"),
        (lambda told: told["images"][0].update(file_name="x.png"), r"train2017/x\.png: no such file"),
        (lambda told: told["images"][0].update(file_name="b.png"), "an image twice"),
    ],
)
def test_damaged_coco_is_refused_in_one_line(coco, edit, said):
    change(coco / "annotations" / "instances_train2017.json", edit)
    with pytest.raises(DataError, match=said):
        load(f"coco:{coco}")


def test_a_single_coco_file_has_its_images_beside_it_in_images_or_in_a_folder_that_is_named(tmp_path):
    whole = tmp_path / "here" / "all.json"
    whole.parent.mkdir()
    whole.write_text(json.dumps(coco_of(IMAGES)))
    options = {}
    for below in ("", "images", "../elsewhere"):
        if below == "../elsewhere":
            options = {"dir": str(tmp_path / "elsewhere")}
        for seed, name in enumerate(IMAGES):
            picture(whole.parent / below / name, IMAGES[name][0], seed)
        dataset = load(f"coco:{whole}", Options(test=0.25, **options))
        assert len(dataset.train) + len(dataset.test) == 4
        for name in IMAGES:
            (whole.parent / below / name).unlink()


def test_a_file_in_annotations_has_its_images_beside_that_folder(coco):
    picture(coco / "val2017" / "a.png", (20, 40), 9)
    change(
        coco / "annotations" / "instances_val2017.json",
        lambda told: told["images"].append({"id": 1, "file_name": "a.png"}),
    )
    dataset = load(f"coco:{coco / 'annotations' / 'instances_val2017.json'}", Options(test=0.5))
    assert sorted(dataset.train.names + dataset.test.names) == ["val2017/a.png", "val2017/d.png"]


def test_roboflows_layout_is_read_without_the_class_that_is_the_project(tmp_path):
    for split, names in (("train", TRAIN), ("valid", ("d.png",))):
        told = coco_of(names)
        told["categories"] = [{"id": 0, "name": "insects", "supercategory": "none"}] + [
            {**each, "supercategory": "insects"} for each in told["categories"]
        ]
        for seed, name in enumerate(names):
            picture(tmp_path / split / name, IMAGES[name][0], seed)
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(told))
    dataset = load(f"coco:{tmp_path}")
    assert dataset.target_names == CLASSES
    assert (len(dataset.train), len(dataset.test)) == (3, 1)


def test_an_image_in_two_splits_is_refused(voc):
    (voc / "ImageSets" / "Main" / "val.txt").write_text("d\na\n")
    with pytest.raises(DataError, match=r"an image in two splits.*found a"):
        load(f"voc:{voc}")


def test_names_in_voc_lists_without_a_file_and_files_in_no_list_are_told(voc):
    lists = voc / "ImageSets" / "Main"
    (lists / "val.txt").write_text("d\nnone\n")
    with pytest.raises(DataError, match="none: no annotation of this name"):
        load(f"voc:{voc}")
    (lists / "val.txt").write_text("d\n")
    (lists / "train.txt").write_text("a\nb\n")
    dataset = load(f"voc:{voc}")
    assert len(dataset.train) == 2
    assert "1 annotations that no list in ImageSets/Main names are ignored" in dataset.notes


def test_xml_beside_its_images_is_read_too(voc, tmp_path):
    flat = tmp_path / "flat"
    for name in IMAGES:
        split = "train" if name in TRAIN else "test"
        (flat / split).mkdir(parents=True, exist_ok=True)
        (voc / "JPEGImages" / name).rename(flat / split / name)
        xml = name.replace("png", "xml")
        (voc / "Annotations" / xml).rename(flat / split / xml)
    dataset = load_boxes(f"voc:{flat}")
    assert (len(dataset.train), len(dataset.test)) == (3, 1)
    assert boxes_of(dataset.train, "a.png") == [(5, 10, 15, 30, 0), (0, 30, 10, 40, 1)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "declares a document type"),
        ("<annotation>" * 40, "elements nested deeper than 16"),
        ("<annotation><object>", "damaged"),
        ("<annotation><object><name>ant</name></object></annotation>", "no number at bndbox/xmin"),
        ("<annotation/>" + " " * (1 << 20), "too large"),
        ("<annotation>\xff</annotation>".encode("latin-1"), "not text in UTF-8"),
        ("<annotation><b>&b;</b></annotation>", "damaged"),
    ],
)
def test_xml_that_is_damaged_or_reaches_elsewhere_is_refused(voc, text, said):
    (voc / "Annotations" / "a.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=rf"1 of 4 files cannot be used.*Annotations/a\.xml: {said}"):
        load(f"voc:{voc}")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2 0.5 0.5 0.1 0.1", "no class of the names"),
        ("0.5 0.5 0.5 0.1 0.1", "no class of the names"),
        ("0 20 10 5 5", "not in fractions of the image"),
        ("0 0.5 0.5 0.1", "neither class cx cy w h nor a polygon"),
        ("0 0.5 0.5 nan 0.1", "not in fractions of the image"),
        ("0 0.5 0.5 x 0.1", "no numbers"),
        ("0 0.5 0.5 0 0.1", "a box of no extent"),
    ],
)
def test_a_damaged_line_of_labels_is_refused(yolo, line, said):
    (yolo / "labels" / "train" / "a.txt").write_text(line)
    with pytest.raises(DataError, match=rf"images/train/a\.png: {said}"):
        load(f"yolo:{yolo}")


def test_a_yolo_polygon_is_the_box_around_it_and_images_without_labels_are_counted(yolo):
    (yolo / "labels" / "train" / "a.txt").write_text("1 0.25 0.5 0.5 0.25 0.75 0.75\n")
    dataset = load_boxes(f"yolo:{yolo / 'data.yaml'}")
    assert boxes_of(dataset.train, "a.png") == [(5, 10, 15, 30, 1)]
    assert "1 images have no file of labels, and so no objects" in dataset.notes


def test_yolo_lists_of_images_and_maps_of_names_are_read(yolo):
    (yolo / "train.txt").write_text("./images/train/a.png\n./images/train/b.png\n")
    names = "names:\n  0: 'no'\n  1: yes # a word here\ndownload: |\n  x\n"
    (yolo / "data.yaml").write_text(f"path: {yolo}\ntrain: train.txt\nval: [images/val]\n{names}")
    dataset = load(f"yolo:{yolo}")
    assert dataset.target_names == ("no", "yes")
    assert dataset.train.names == ("images/train/a.png", "images/train/b.png")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("names: [a, a]\ntrain: images/train", "a class twice"),
        ("names: {1: a}\ntrain: images/train", "no names of the classes"),
        ("train: images/train", "no names of the classes"),
        ("names: &n [a, b]\nothers: *n\ntrain: images/train", "an alias"),
        ("names: !!python/object/apply:os.system [ls]\ntrain: images/train", "no such|image"),
        ("names: [a, b]\ntrain: images/nothing", "no such file or folder"),
        ("names: [a, b]\ntrain: /usr", "lies outside of the folder.*--data.dir"),
        ("names: [a", "damaged"),
        ("[" * 3000, "damaged"),
        ("- a", "damaged"),
    ],
)
def test_a_damaged_data_yaml_is_refused(yolo, text, said):
    (yolo / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=said):
        load(f"yolo:{yolo}")


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo"])
def test_what_is_not_there_or_of_another_form_is_refused(kind, tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        load(f"{kind}:{tmp_path / 'none'}")
    with pytest.raises(DataError, match=r"expected a "):
        load(f"{kind}:{tmp_path}")
