"""Annotations are written in another format, read back as they were, and written whole or not at all."""

import json
import os
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxcnn.cli.datasets import data
from flaxcnn.data import Options, load
from flaxcnn.data.conversion.convert import convert
from flaxcnn.data.conversion.formats import FORMATS, Written
from flaxcnn.data.conversion.names import Named, Rules, names_of
from flaxcnn.data.photographs.decoding import Area
from flaxcnn.data.photographs.objects import FRACTIONS, Object
from flaxcnn.errors import ConfigError, DataError, RunFolderError

# Not in the order of the alphabet, and one has no object.
CLASSES = ("bee", "ant", "wasp")
# Of each split its images, of 20×40 pixels, and their objects: class, x, y, width, height.
SPLITS = {
    "train": {"a.png": [("ant", 10, 5, 20, 10), ("bee", 30, 0, 10, 10)], "b c.png": [("bee", 12.25, 4.5, 8.125, 8)]},
    "val": {"a.png": [("ant", 0, 0, 40, 20)], "none.png": []},
}


@pytest.fixture
def coco(tmp_path):
    """A folder in COCO's format; two splits have an image of one name."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    seed = 0
    for split, files in SPLITS.items():
        (root / split).mkdir()
        images, annotations = [], []
        for number, (name, objects) in enumerate(files.items(), start=7):
            images.append({"id": number, "file_name": name, "height": 20, "width": 40})
            for of, *box in objects:
                one = {"id": len(annotations), "image_id": number, "category_id": 3 + CLASSES.index(of), "bbox": box}
                annotations.append(one)
            pixels = np.random.default_rng(seed := seed + 1).integers(0, 256, (20, 40, 3), np.uint8)
            PIL.Image.fromarray(pixels).save(root / split / name)
        categories = [{"id": 3 + number, "name": name} for number, name in enumerate(CLASSES)]
        told = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(told))
    return root


def objects_of(source):
    """Split -> the last part of a name -> its boxes: y0, x0, y1, x1 and class, in pixels of the original."""
    dataset = load(source, Options(target=("boxes",), cache=False))
    assert dataset.image_shape == (20, 40, 3)  # so the fitted image is the original
    found = {}
    for name, split in dataset.splits.items():
        for path, boxes, classes in zip(split.names, split.targets["boxes"], split.targets["classes"], strict=True):
            listed = [
                (*box, dataset.target_names["classes"][of]) for box, of in zip(boxes.tolist(), classes, strict=True)
            ]
            found.setdefault(name, {})[path.rpartition("/")[2]] = [one for one in listed if one[0] == one[0]]
    return found, dataset.target_names["classes"]


def expected(renamed=None):
    """What `objects_of` has of SPLITS; the validation split is the test split where there is no other."""
    return {
        {"val": "test"}.get(split, split): {
            (renamed or {}).get(name, name): [(y, x, y + down, x + across, of) for of, x, y, across, down in objects]
            for name, objects in files.items()
        }
        for split, files in SPLITS.items()
    }


def test_boxes_splits_classes_and_images_without_boxes_go_through_all_formats_and_back(coco, tmp_path):
    no_space = {"b c.png": "b_c.png"}
    assert objects_of(f"coco:{coco}") == (expected(), CLASSES)
    convert(f"coco:{coco}", "voc", tmp_path / "voc", Options())
    assert objects_of(f"voc:{tmp_path / 'voc'}") == (expected(no_space), CLASSES)
    convert(f"voc:{tmp_path / 'voc'}", "coco", tmp_path / "again", Options())
    assert objects_of(f"coco:{tmp_path / 'again'}") == (expected(no_space), CLASSES)
    convert(f"coco:{tmp_path / 'again'}", "yolo", tmp_path / "yolo", Options())
    assert objects_of(f"yolo:{tmp_path / 'yolo'}") == (expected(no_space), CLASSES)
    convert(f"yolo:{tmp_path / 'yolo'}", "coco", tmp_path / "last", Options())
    assert objects_of(f"coco:{tmp_path / 'last'}") == (expected(no_space), CLASSES)
    # Through thirds of a pixel and back to fractions, within a billionth of a pixel.
    told = json.loads((tmp_path / "last/annotations/instances_train.json").read_text())
    boxes = [one["bbox"] for one in told["annotations"]]
    np.testing.assert_allclose(boxes, [[10, 5, 20, 10], [30, 0, 10, 10], [12.25, 4.5, 8.125, 8]], rtol=0, atol=1e-9)


def test_a_yolo_folder_has_fractions_of_the_original(coco, tmp_path):
    lines = convert(f"coco:{coco}", "yolo", tmp_path / "out", Options())
    assert lines == [
        f"yolo:{tmp_path / 'out' / 'data.yaml'}  4 images (2 train, 2 validation), 4 boxes of 3 classes,"
        " 1 images without"
    ]
    told = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    names = {0: "bee", 1: "ant", 2: "wasp"}
    assert told == {"train": "images/train", "val": "images/val", "nc": 3, "names": names}
    # Of 40×20: centres 20, 10 and 35, 5; sides 20, 10 and 10, 10.
    assert (tmp_path / "out/labels/train/a.txt").read_text() == "1 0.5 0.5 0.5 0.5\n0 0.875 0.25 0.25 0.5\n"
    assert (tmp_path / "out/labels/train/b c.txt").read_text() == "0 0.4078125 0.425 0.203125 0.4\n"
    assert (tmp_path / "out/labels/val/none.txt").read_text() == ""
    assert (tmp_path / "out/images/val/a.png").read_bytes() == (coco / "val/a.png").read_bytes()


def test_a_voc_folder_counts_pixels_from_1_to_the_last_that_belongs_to_the_box(coco, tmp_path):
    lines = convert(f"coco:{coco}", "voc", tmp_path / "out", Options())
    assert lines[1:] == ["1 files have other names, such as train/b_c.png for train/b c.png"]
    tree = ElementTree.parse(tmp_path / "out/Annotations/train/a.xml")
    assert tree.findtext("filename") == "train/a.png"
    assert [tree.findtext(f"size/{side}") for side in ("width", "height", "depth")] == ["40", "20", "3"]
    sides = [[each.text for each in one] for one in tree.iter("bndbox")]
    assert sides == [["11", "6", "30", "15"], ["31", "1", "40", "10"]]  # xmin, ymin, xmax, ymax
    (fine,) = ElementTree.parse(tmp_path / "out/Annotations/train/b_c.xml").iter("bndbox")
    assert [each.text for each in fine] == ["13.25", "5.5", "20.375", "12.5"]
    lists = tmp_path / "out/ImageSets/Main"
    assert {path.name: path.read_text() for path in lists.iterdir()} == {
        "train.txt": "train/a\ntrain/b_c\n",
        "val.txt": "validation/a\nvalidation/none\n",
    }


def test_pycocotools_reads_what_is_written(coco, tmp_path):
    import pycocotools.coco as tools

    convert(f"coco:{coco}", "yolo", tmp_path / "yolo", Options())
    convert(f"yolo:{tmp_path / 'yolo'}", "coco", tmp_path / "out", Options())
    theirs = tools.COCO(str(tmp_path / "out/annotations/instances_train.json"))
    assert [each["name"] for each in theirs.loadCats(theirs.getCatIds())] == list(CLASSES)
    found = theirs.loadAnns(theirs.getAnnIds(catIds=[2], iscrowd=False))
    assert [(one["bbox"], one["area"]) for one in found] == [([10, 5, 20, 10], 200)]


def change(path, edit):
    told = json.loads(path.read_text())
    edit(told)
    path.write_text(json.dumps(told))


def test_crowds_stay_in_coco_and_are_counted_where_a_format_has_none(coco, tmp_path):
    change(coco / "annotations/instances_train.json", lambda told: told["annotations"][1].update(iscrowd=1))
    convert(f"coco:{coco}", "coco", tmp_path / "coco2", Options())
    told = json.loads((tmp_path / "coco2/annotations/instances_train.json").read_text())
    assert [one["iscrowd"] for one in told["annotations"]] == [0, 1, 0]
    for form, called in (("voc", "Pascal VOC"), ("yolo", "YOLO")):
        lines = convert(f"coco:{coco}", form, tmp_path / form, Options())
        assert f"1 crowds are left out: {called} has none" in lines


def test_boxes_that_reach_out_of_their_image_are_clipped_and_counted(coco, tmp_path):
    path = coco / "annotations/instances_train.json"
    change(path, lambda told: told["annotations"][0].update(bbox=[-3, 5, 50, 30]))
    lines = convert(f"coco:{coco}", "yolo", tmp_path / "out", Options())
    assert "1 boxes reached out of their images, and are clipped to them" in lines
    assert (tmp_path / "out/labels/train/a.txt").read_text().startswith("1 0.5 0.625 1 0.75\n")  # y 5 to 20 of 20


def test_a_turned_photograph_keeps_its_upright_boxes(coco, tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.new("RGB", (20, 40)).save(coco / "train/b c.png", exif=exif)  # 40 high as stored, 20 upright
    convert(f"coco:{coco}", "voc", tmp_path / "out", Options())
    tree = ElementTree.parse(tmp_path / "out/Annotations/train/b_c.xml")
    assert [tree.findtext(f"size/{side}") for side in ("width", "height")] == ["40", "20"]
    assert objects_of(f"voc:{tmp_path / 'out'}")[0]["train"]["b_c.png"] == [(4.5, 12.25, 12.5, 20.375, "bee")]


@pytest.mark.parametrize(("form", "place"), [("coco", "/annotations.json"), ("voc", ""), ("yolo", "/data.yaml")])
def test_a_source_without_splits_has_none_afterwards(coco, tmp_path, form, place):
    whole = json.loads((coco / "annotations/instances_train.json").read_text())
    (coco / "train/all.json").write_text(json.dumps(whole))
    out = tmp_path / "out"
    lines = convert(f"coco:{coco / 'train/all.json'}", form, out, Options())
    assert lines[0] == f"{form}:{out}{place}  2 images, 3 boxes of 3 classes"
    drawn = [load(source, Options(test=0.5)) for source in (f"coco:{coco / 'train/all.json'}", f"{form}:{out}{place}")]
    sides = [sorted(name[-5:] for name in dataset.test.names) for dataset in drawn]
    assert sides[0] == sides[1]  # drawn by the files' content, which is the same


def test_images_that_cannot_be_used_are_an_error_or_left_out(coco, tmp_path):
    (coco / "train/a.png").write_bytes(b"GIF8")
    with pytest.raises(DataError, match=r"1 of 4 files cannot be used.*train/a\.png"):
        convert(f"coco:{coco}", "yolo", tmp_path / "out", Options())
    assert not (tmp_path / "out").exists()
    lines = convert(f"coco:{coco}", "yolo", tmp_path / "out", Options(on_bad="skip"))
    assert "1 of 4 files skipped: train/a.png" in lines[1]
    assert sorted(path.name for path in (tmp_path / "out/images/train").iterdir()) == ["b c.png"]


def test_hard_links_take_no_space_and_are_read(coco, tmp_path):
    convert(f"coco:{coco}", "yolo", tmp_path / "out", Options(), "hardlink")
    assert os.path.samefile(tmp_path / "out/images/train/a.png", coco / "train/a.png")
    assert objects_of(f"yolo:{tmp_path / 'out'}") == (expected(), CLASSES)


def test_symbolic_links_lead_to_the_images_and_a_line_says_whom_they_are_for(coco, tmp_path):
    lines = convert(f"coco:{coco}", "yolo", tmp_path / "out", Options(), "symlink")
    assert os.readlink(tmp_path / "out/images/train/a.png") == os.path.realpath(coco / "train/a.png")
    assert lines[-1].startswith("the images are links to other folders, which flaxcnn refuses to follow")
    with pytest.raises(DataError, match="a link out of the folder"):
        load(f"yolo:{tmp_path / 'out'}")


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_at_the_name_or_beside_it_where_writing_ends_early(coco, tmp_path, monkeypatch, fault):
    def write(self, folder, images, classes):
        assert (folder / "images/train/a.png").exists()  # half of it is there
        raise fault

    monkeypatch.setattr(type(FORMATS["yolo"]), "write", write)
    with pytest.raises((RunFolderError, KeyboardInterrupt)):
        convert(f"coco:{coco}", "yolo", tmp_path / "out", Options())
    assert os.listdir(tmp_path) == ["coco"]


def test_what_is_not_read_back_as_it_was_is_not_left_there(coco, tmp_path, monkeypatch):
    read = type(FORMATS["yolo"]).read
    monkeypatch.setattr(type(FORMATS["yolo"]), "read", lambda self, path: read(self, path)._replace(classes=("x",)))
    with pytest.raises(DataError, match="is not read back as it was written"):
        convert(f"coco:{coco}", "yolo", tmp_path / "out", Options())
    assert os.listdir(tmp_path) == ["coco"]


def test_a_class_that_a_format_cannot_name_is_refused(coco, tmp_path):
    def edit(told):
        told["categories"][0]["name"] = "a\nbee"

    for split in SPLITS:
        change(coco / f"annotations/instances_{split}.json", edit)
    with pytest.raises(DataError, match=r"a class that Pascal VOC cannot name; found 'a\\nbee', which has a control"):
        convert(f"coco:{coco}", "voc", tmp_path / "out", Options())
    convert(f"coco:{coco}", "yolo", tmp_path / "out", Options())
    assert objects_of(f"yolo:{tmp_path / 'out'}")[1][0] == "a\nbee"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "here"], r"--out: exists already; expected a new folder, found .*here"),
        (["--out", "nowhere/out"], r"--out: no such folder; found .*nowhere"),
        ([], r"--out: no folder to write to. Name a new folder: --out DIR"),
        (["--out", "out", "--strict"], "--strict: not together with --to"),
        (["--out", "out", "--report", "x.html"], "--report: not together with --to"),
        (["--out", "out", "--no_duplicates"], "--duplicates: not together with --to"),
        (["--out", "out", "--data.size", "32"], r"data\.size: not an option of this source; .* --to yolo"),
    ],
)
def test_a_command_that_cannot_be_is_refused_before_anything_is_written(coco, tmp_path, monkeypatch, words, said):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        data([f"coco:{coco}", "--to", "yolo", *words])
    assert sorted(os.listdir(tmp_path)) == ["coco", "here"]


def test_a_source_without_boxes_is_refused_and_so_are_links_without_a_conversion(tmp_path):
    with pytest.raises(ConfigError, match=r"no boxes to convert; expected coco:FILE, voc:DIR or yolo:FILE, found 'mn"):
        convert("mnist", "coco", tmp_path / "out", Options())
    with pytest.raises(ConfigError, match="--images: not without --to"):
        data(["mnist", "--images", "hardlink"])


def test_the_command_prints_what_it_wrote(coco, tmp_path, capsys):
    assert data([f"coco:{coco}", "--to", "coco", "--out", str(tmp_path / "out")]) == 0
    said = f"coco:{tmp_path / 'out'}  4 images (2 train, 2 validation), 4 boxes of 3 classes, 1 images without\n"
    assert capsys.readouterr().out == said


def test_names_change_only_where_they_have_to():
    paths = [
        ("train/x/a.jpg", "train"),
        ("train/y/a.jpg", "train"),
        ("val/b", "validation"),
        ("val/b.png", "validation"),
    ]
    files = [Named(path, split, "JPEG") for path, split in paths]
    assert names_of(files, Rules()) == ["x/a.jpg", "y/a.jpg", "b", "b.png"]
    # The stem names the annotation too, and the extension says that it is an image.
    assert names_of(files, Rules(by_stem=True)) == ["x/a.jpg", "y/a.jpg", "b.jpg", "b_2.png"]
    odd = [
        Named(path, "", "PNG") for path in ("a/.h/1.png", "a/x\ny/1.png", "a/x_y/1.png", "a/\udcff/1.png", "a/1 .dat")
    ]
    assert names_of(odd, Rules(by_stem=True, no_space=True)) == [
        *("_h/1.png", "x_y/1.png", "x_y/1_2.png", "_/1.png", "1_.dat.png"),
    ]


parts = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=4).filter(
    lambda part: part not in (".", "..")
)
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(paths, st.sampled_from(["", "train", "test"])), min_size=1, max_size=6, unique=True),
    st.builds(Rules, st.booleans(), st.booleans(), st.booleans()),
)
def test_names_are_different_paths_below_the_folder(files, rules):
    named = names_of([Named(path, split, "PNG") for path, split in files], rules)
    folders = ["" if rules.in_one_folder else split for _, split in files]
    keys = [os.path.splitext(name)[0] if rules.by_stem else name for name in named]
    assert len(set(zip(folders, keys, strict=True))) == len(files)
    for name in named:
        assert os.path.normpath(name) == name
        assert not name.startswith(("/", "../"))
        assert name.encode() == name.encode("utf-8", "surrogatepass")
        assert "\n" not in name


class_names = st.lists(
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=6).filter(
        lambda name: (
            name == name.strip() and name[0] != "#" and not set(name) & {"\ufffe", "\uffff"} and name != "background"
        )
    ),
    min_size=1,
    max_size=4,
    unique=True,
)
sides = st.floats(0, 49)


@settings(max_examples=30)
@given(class_names, st.lists(st.tuples(sides, sides, sides, sides, st.integers(0, 3)), max_size=5))
def test_any_classes_and_boxes_are_read_as_they_were_written(tmp_path_factory, classes, drawn):
    # In an image 60 wide and 50 high; below a pixel, boxes look like fractions.
    objects = tuple(
        Object(of % len(classes), Area(min(y, t), min(x, u), max(y, t) + 1, max(x, u) + 1)) for y, x, t, u, of in drawn
    )
    image = Written("a.png", "train", 50, 60, False, objects)
    for form in FORMATS.values():
        folder = tmp_path_factory.mktemp("any")
        place = folder / form.place(image)
        place.parent.mkdir(parents=True)
        place.touch()
        form.write(folder, [image], classes)
        found = form.read(form.source(folder, [image]))
        ((path, annotated, split),) = found.images
        assert (path, split, found.classes, found.bad) == (form.place(image), "train", tuple(classes), {})
        scale = (50, 60, 50, 60) if annotated.size == FRACTIONS else (1, 1, 1, 1)
        assert [one.number for one in annotated.objects] == [one.number for one in objects]
        for one, other in zip(annotated.objects, objects, strict=True):
            np.testing.assert_allclose(np.multiply(one.box, scale), other.box, rtol=0, atol=1e-10)
