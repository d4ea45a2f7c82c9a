"""Annotations of objects: files in the formats of COCO, Pascal VOC and YOLO."""

import json

import numpy as np
import PIL.Image
import pytest

from flaxcnn.data import Options, load
from tests.fuzz.mutations import count, hold, mutated_bytes, mutated_json

COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}, {"id": 2, "file_name": "b.png"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 5, "bbox": [1, 2, 3.5, 3], "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 6, "bbox": [0, 0, 8, 6], "iscrowd": 1},
    ],
    "categories": [{"id": 5, "name": "ant", "supercategory": "insect"}, {"id": 6, "name": "bee"}],
}
VOC = (
    '<?xml version="1.0"?><annotation><size><width>8</width><height>6</height><depth>3</depth></size><object>'
    "<name>ant</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>6</ymax></bndbox></object></annotation>"
)
YAML = "path: .\ntrain: images\nval: ../images\ntest:\nnc: 2\nnames:\n  0: ant\n  1: 'bee'\n"
LABELS = "0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.9 0.1 0.9 0.9\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAXCNN_CACHE", str(tmp_path / "cache"))
    for below in ("images", "JPEGImages"):
        (tmp_path / below).mkdir()
        for seed, name in enumerate(("a.png", "b.png")):
            pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
            PIL.Image.fromarray(pixels).save(tmp_path / below / name)
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "b.xml").write_text(VOC)
    (tmp_path / "labels").mkdir()
    (tmp_path / "data.yaml").write_text(YAML)
    return tmp_path


def loads(source):
    for on_bad in ("error", "skip"):
        load(source, Options(test=0.5, on_bad=on_bad, target=("boxes", "labels", "counts"), cache=False))


def held(path, source, mutations):
    def run(data):
        path.write_bytes(data)
        loads(source)

    hold(run, mutations)


def test_no_coco_file_is_answered_with_anything_but_a_line(folder):
    path = folder / "all.json"
    path.write_text(json.dumps(COCO))
    loads(f"coco:{path}")  # unmutated it is sound
    held(path, f"coco:{path}", mutated_json([COCO], count(2)))


def test_no_voc_file_is_answered_with_anything_but_a_line(folder):
    path = folder / "Annotations" / "a.xml"
    path.write_text(VOC)
    loads(f"voc:{folder}")
    seeds = [VOC.encode(), b'<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', VOC.encode("utf-16")]
    held(path, f"voc:{folder}", mutated_bytes(seeds, count(2)))


def test_no_list_of_classes_is_answered_with_anything_but_a_line(folder):
    text = "# label:color_rgb:parts:actions\nant:0,0,0:a,b:\nbee:::\nbackground:::\n"
    path = folder / "labelmap.txt"
    path.write_text(text)
    (folder / "Annotations" / "a.xml").write_text(VOC)
    loads(f"voc:{folder}")
    held(path, f"voc:{folder}", mutated_bytes([text.encode()], count(2)))


def test_no_yaml_and_no_labels_are_answered_with_anything_but_a_line(folder):
    path = folder / "labels" / "a.txt"
    path.write_text(LABELS)
    text = YAML.replace("val: ../images\n", "")
    (folder / "data.yaml").write_text(text)
    loads(f"yolo:{folder}")
    held(path, f"yolo:{folder}", mutated_bytes([LABELS.encode()], count(2)))
    path.write_text(LABELS)
    seeds = [text.encode(), b"names: [a, 'b']\ntrain: [images]\nval: &v images\ntest: *v\n"]
    held(folder / "data.yaml", f"yolo:{folder}", mutated_bytes(seeds, count(2)))
