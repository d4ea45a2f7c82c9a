"""Annotations in another order or unit than their format has, and files that do not fit each other: a line for each."""

import json

import numpy as np
import PIL.Image
import pytest

from flaxcnn.data import Options, load
from flaxcnn.errors import DataError

# x, y, width, height in images of 60×40 pixels; the last of these has its middle in the right half.
BOXES = [(30, 10, 20, 20), (0, 0, 60, 40), (5, 25, 10, 10), (40, 20, 12, 15)]


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(path)


def write_coco(root, split, boxes, names=("ant", "bee"), first=1, category=1):
    """An image for each box, all of one category."""
    images = [{"id": n, "file_name": f"{n}.png", "width": 60, "height": 40} for n in range(len(boxes))]
    annotations = [
        {"id": 100 + n, "image_id": n, "category_id": category, "bbox": list(box)} for n, box in enumerate(boxes)
    ]
    categories = [{"id": first + n, "name": name} for n, name in enumerate(names)]
    told = {"images": images, "annotations": annotations, "categories": categories}
    root.mkdir(exist_ok=True)
    (root / f"{split}.json").write_text(json.dumps(told))
    for n in range(len(boxes)):
        picture(root / split / f"{n}.png", n)


def write_yolo(root, lines, more=""):
    """An image for each line of labels."""
    for n, line in enumerate(lines):
        picture(root / "images" / f"{n}.png", n)
        (root / "labels").mkdir(exist_ok=True)
        (root / "labels" / f"{n}.txt").write_text(line)
    (root / "data.yaml").write_text(f"train: images\nnames: [ant, bee]\n{more}")


def write_voc(root, boxes):
    """An image for each box of xmin, ymin, xmax, ymax."""
    (root / "Annotations").mkdir()
    for n, box in enumerate(boxes):
        picture(root / "JPEGImages" / f"{n}.png", n)
        sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        text = f"<annotation><object><name>ant</name><bndbox>{sides}</bndbox></object></annotation>"
        (root / "Annotations" / f"{n}.xml").write_text(text)


def corners(box):
    x, y, width, height = box
    return x, y, x + width, y + height


def test_coco_boxes_that_are_corners_are_refused_with_the_first_annotation(tmp_path):
    write_coco(tmp_path, "train", map_boxes(corners))
    # As width and height, 30 + 50, 5 + 15 and 40 + 52: two of four are beyond 60×40, and y: 10 + 30, 25 + 35, 20 + 35.
    with pytest.raises(DataError) as caught:
        load(f"coco:{tmp_path}", Options(test=0.5))
    assert str(caught.value) == (
        f"{tmp_path}/train.json: boxes that look like two corners: 75% of 4 reach out of their image; expected bbox of"
        " x, y, width, height, found annotation 100, bbox [30, 10, 50, 30] in an image 60 wide and 40 high. Write the"
        " width x1 - x0 and the height y1 - y0 instead of x1 and y1"
    )


def map_boxes(change):
    return [change(box) for box in BOXES]


@pytest.mark.parametrize("much", [1, 300])
def test_coco_boxes_that_reach_out_a_little_or_that_are_no_corners_are_read(tmp_path, much):
    """Boxes that begin at pixel 1 reach out by one; those that reach out by far are no corners within the image."""
    write_coco(tmp_path, "train", [(much if much == 1 else 50, 1, 60 if much == 1 else much, 40)] * 4)
    dataset = load(f"coco:{tmp_path}", Options(test=0.5, target=("boxes",), fit="stretch"))
    assert dataset.train.targets["boxes"][0, 0].tolist() == [1, 1 if much == 1 else 50, 40, 60]


def test_coco_boxes_in_fractions_are_refused(tmp_path):
    write_coco(tmp_path, "train", map_boxes(lambda box: (box[0] / 60, box[1] / 40, box[2] / 60, box[3] / 40)))
    said = (
        r"train\.json: boxes that look like fractions: 75% of 4 lie within one pixel; expected pixels, "
        r"found annotation 100, bbox \[0\.5, 0\.25, 0\.333333, 0\.5\]\. Multiply"
    )
    with pytest.raises(DataError, match=said):
        load(f"coco:{tmp_path}", Options(test=0.5))


def test_a_box_in_the_wrong_order_is_named_with_its_annotation(tmp_path):
    write_coco(tmp_path, "train", [*BOXES, (30, 10, -20, 20)])
    said = (
        r"train/4\.png: a box of no extent, or of corners in the wrong order \(annotation 104, bbox "
        r"\[30, 10, -20, 20\], of x, y, width, height\)"
    )
    with pytest.raises(DataError, match=said):
        load(f"coco:{tmp_path}", Options(test=0.5))


def test_voc_corners_in_the_wrong_order_are_named_with_their_object(tmp_path):
    write_voc(tmp_path, [(31, 11, 50, 30), (50, 11, 31, 30)])
    said = (
        r"Annotations/1\.xml: corners in the wrong order \(object 1, ant: xmin 50, ymin 11, xmax 31, "
        r"ymax 30\)"
    )
    with pytest.raises(DataError, match=said):
        load(f"voc:{tmp_path}", Options(test=0.5))


def test_voc_fractions_are_refused(tmp_path):
    write_voc(tmp_path, [(0.5, 0.25, 0.8, 0.75), (0.1, 0.1, 0.9, 1)])
    said = (
        r"boxes that look like fractions: 100% of 2 lie within one pixel; expected pixels, found xmin, "
        r"ymin, xmax, ymax 0\.5, 0\.25, 0\.8, 0\.75 of ant in JPEGImages/0\.png"
    )
    with pytest.raises(DataError, match=said):
        load(f"voc:{tmp_path}", Options(test=0.5))


def test_yolo_pixels_are_named_with_their_line(tmp_path):
    write_yolo(tmp_path, ["0 0.5 0.5 0.5 0.5", "0 0.5 0.5 0.5 0.5\n1 40 20 20 20"])
    said = r"images/1\.png: not in fractions of the image, but it seems in pixels \(line 2: 1 40 20 20 20\)"
    with pytest.raises(DataError, match=said):
        load(f"yolo:{tmp_path}", Options(test=0.5))


def test_yolo_corners_are_refused(tmp_path):
    lines = [
        "0 {} {} {} {}".format(*(side / (60, 40, 60, 40)[n] for n, side in enumerate(corners(box)))) for box in BOXES
    ]
    write_yolo(tmp_path, lines)
    said = (
        r"data\.yaml: boxes that look like two corners: 100% of 4 reach out of their image; expected "
        r"class cx cy w h, .* found 0\.5 0\.25 0\.833333 0\.75 for images/0\.png\."
    )
    with pytest.raises(DataError, match=said):
        load(f"yolo:{tmp_path}", Options(test=0.5))


def test_an_object_of_a_class_that_the_training_file_lacks_is_refused(tmp_path):
    write_coco(tmp_path, "train", BOXES)
    write_coco(tmp_path, "val", BOXES, names=("Ant", "bee"))
    said = (
        r"val\.json: classes that differ between the files; expected the categories of train\.json, "
        r"found 'Ant' at annotation 100, bbox .*, and 3 more annotations\. Did you mean 'an"
    )
    with pytest.raises(DataError, match=said):
        load(f"coco:{tmp_path}")


def test_categories_with_other_ids_or_without_objects_are_told(tmp_path):
    write_coco(tmp_path, "train", BOXES)
    write_coco(tmp_path, "val", BOXES, names=("bee", "ant", "wasp"), first=7, category=8)
    write_coco(tmp_path, "test", BOXES, names=("ant",))
    dataset = load(f"coco:{tmp_path}", Options(target=("boxes",)))
    assert dataset.target_names["classes"] == ("ant", "bee", "wasp")
    assert (dataset.validation.targets["classes"] == 0).all()  # known by the name
    assert dataset.notes[:2] == (
        "2 categories, such as 'bee', have other ids in val.json than in train.json: they are known by their names",
        "1 categories of train.json are not in test.json, such as 'bee'",
    )


def test_a_number_of_classes_other_than_their_names_is_refused(tmp_path):
    write_yolo(tmp_path, ["0 0.5 0.5 0.5 0.5"] * 2, more="nc: 3\n")
    with pytest.raises(
        DataError, match=r"data\.yaml: classes that differ; expected nc: 2, as there are names, found nc: 3"
    ):
        load(f"yolo:{tmp_path}", Options(test=0.5))


def test_an_object_of_a_class_that_labelmap_does_not_list_is_refused(tmp_path):
    write_voc(tmp_path, [(31, 11, 50, 30), (1, 11, 31, 30)])
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nbee::body:\nx:y:::\n")
    with pytest.raises(
        DataError, match=r"an object of class 'ant', which labelmap\.txt does not list: JPEGImages/0\.png"
    ):
        load(f"voc:{tmp_path}", Options(test=0.5))
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\nbee:::\nant:::\n")
    assert load(f"voc:{tmp_path}", Options(test=0.5)).target_names == ("bee", "ant")


def test_annotations_without_their_image_are_named(tmp_path):
    write_yolo(tmp_path / "yolo", ["0 0.5 0.5 0.5 0.5"] * 3)
    (tmp_path / "yolo/labels/classes.txt").write_text("ant\nbee\n")
    (tmp_path / "yolo/labels/empty.txt").write_text("")
    load(f"yolo:{tmp_path / 'yolo'}", Options(test=0.5))
    (tmp_path / "yolo/labels/gone.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    said = (
        r"1 of 4 files cannot be used; expected files that can be decoded, with sound annotations, found "
        r"labels/gone\.txt: no image of this name"
    )
    with pytest.raises(DataError, match=said):
        load(f"yolo:{tmp_path / 'yolo'}", Options(test=0.5))
    write_coco(tmp_path / "coco", "train", BOXES)
    told = json.loads((tmp_path / "coco/train.json").read_text())
    told["images"].pop()
    (tmp_path / "coco/train.json").write_text(json.dumps(told))
    said = (
        r"train\.json, 1 annotations: of images that it does not list, such as annotation 103, bbox "
        r"\[40, 20, 12, 15\] of image 3"
    )
    with pytest.raises(DataError, match=said):
        load(f"coco:{tmp_path / 'coco'}", Options(test=0.5))


def test_a_list_of_some_images_is_no_fault_of_the_labels_of_others(tmp_path):
    write_yolo(tmp_path, ["0 0.5 0.5 0.5 0.5"] * 4)
    (tmp_path / "some.txt").write_text("./images/0.png\n./images/1.png\n./images/2.png\n")
    (tmp_path / "data.yaml").write_text("train: some.txt\nnames: [ant, bee]\n")
    dataset = load(f"yolo:{tmp_path}", Options(test=0.5))
    assert len(dataset.train) + len(dataset.test) == 3


def test_images_without_a_box_are_counted_and_kept(tmp_path):
    write_yolo(tmp_path, ["0 0.5 0.5 0.5 0.5", "", "", "1 0.5 0.5 0.5 0.5"])
    dataset = load(f"yolo:{tmp_path}", Options(test=0.5))
    assert "2 of 4 images have no box: they are kept, as images without objects" in dataset.notes
    assert len(dataset.train) + len(dataset.test) == 4
