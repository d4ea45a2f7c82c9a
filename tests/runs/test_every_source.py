"""Each training that docs/data.md shows runs as it stands there, on small data of the names that it has there."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
from sklearn.datasets import load_sample_image

from flaxcnn.data.sources.fashion_mnist import FOLDER
from tests.data.videos import gray, write_video

DOC = Path(__file__).parents[2] / "docs" / "data.md"
QUICK = ("--training.steps", "2", "--training.batch_size", "4", "--logging.every", "1", "--logging.test_examples", "4")
MODEL = """
import flax.linen as nn

class MyNet(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, images, *, train=False):
        return nn.Dense(self.classes)(images.mean((1, 2))), {}
"""


def shown():
    """The commands of the page that train."""
    blocks = re.findall(r"^```sh\n(.*?)^```", DOC.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("flaxcnn train ")]


def crop(number):
    """A piece of one of two photographs, 40×48."""
    top, left = np.random.default_rng(number).integers(0, 380, 2)
    whole = load_sample_image(("china.jpg", "flower.jpg")[number % 2])
    return PIL.Image.fromarray(whole[top : top + 40, left : left + 48])


def write_photographs(folder, count=24):
    """Write crops in two class folders, and return their paths below the folder."""
    paths = [f"{('ant', 'bee')[number % 2]}/{number:02}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        crop(number).save(folder / path)
    return paths


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with everything that the page names."""
    folder = tmp_path_factory.mktemp("sources")
    photos = write_photographs(folder / "photos")
    (folder / "my_net.py").write_text(MODEL)
    write_tables(folder, photos)
    write_archives(folder)
    write_hugging_face(folder / "beans")
    write_boxes(folder)
    for n, kind in enumerate(("rain", "sun") * 3):
        write_video(folder / "weather" / kind / f"{n}.mp4", [gray(40 * n + each) for each in range(50)])
    shutil.copytree(folder / "weather", folder / "walks")
    rows = [
        f"walks/{kind}/{n}.mp4,{kind},{start},{start + 2}"
        for n, kind in enumerate(("rain", "sun") * 3)
        for start in (0, 2)
    ]
    (folder / "walks.csv").write_text("\n".join(["path,animal,start,end", *rows]))
    return folder


def write_tables(folder, photos):
    leaves = write_photographs(folder / "leaves")
    rows = [f"leaves/{path},{('oak', 'elm')[n % 2]},{n / 2},p{n // 4}" for n, path in enumerate(leaves)]
    (folder / "leaves.csv").write_text("\n".join(["path,species,area,plant", *rows]))
    (folder / "tables").mkdir()
    tags = ["|".join(["dry", "wet"][: n % 3]) for n in range(len(photos))]
    pyarrow.parquet.write_table(pyarrow.table({"path": photos, "tags": tags}), folder / "tables" / "leaves.parquet")


def write_archives(folder):
    random = np.random.default_rng(0)
    gray, labels = random.integers(0, 256, (60, 28, 28), np.uint8), np.arange(60) % 10
    np.savez(folder / "mnist.npz", x_train=gray[:40], y_train=labels[:40], x_test=gray[40:], y_test=labels[40:])
    np.save(folder / "photos.npy", gray)
    np.save(folder / "photos_labels.npy", labels)
    for name, files, fine in (
        ("cifar-10-batches-bin", [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"], 0),
        ("cifar-100-binary", ["train", "test"], 1),
    ):
        (folder / name).mkdir()
        for file in files:
            rows = [bytes([n, *[n * 5] * fine]) + random.bytes(3072) for n in range(10)]
            (folder / name / f"{file}.bin").write_bytes(b"".join(rows))


def write_hugging_face(folder):
    """Write what `datasets` 5.2.0 saves of a set with one split."""
    (folder / "train").mkdir(parents=True)
    write_photographs(folder.parent / "of-beans")
    files = sorted((folder.parent / "of-beans").rglob("*.jpg"))
    images = [{"bytes": path.read_bytes(), "path": path.name} for path in files]
    types = pyarrow.schema(
        {"image": pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}), "labels": pyarrow.int64()}
    )
    table = pyarrow.table({"image": images, "labels": [n % 2 for n in range(len(images))]}, schema=types)
    arrow = str(folder / "train" / "data-00000-of-00001.arrow")
    with pyarrow.OSFile(arrow, "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    features = {"image": {"_type": "Image"}, "labels": {"names": ["rust", "healthy"], "_type": "ClassLabel"}}
    (folder / "train" / "dataset_info.json").write_text(json.dumps({"features": features}))
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_fingerprint": "0", "_split": "train"}
    (folder / "train" / "state.json").write_text(json.dumps(state))
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}))


def write_boxes(folder):
    """Write crops with one box each, in the formats of COCO, Pascal VOC and YOLO."""
    names = ("apple", "pear")
    for place in ("fruit", "fruit/images/train", "VOC2012/JPEGImages", "VOC2012/Annotations", "fruit/labels/train"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    annotated = {"images": [], "annotations": [], "categories": [{"id": 1 + n, "name": names[n]} for n in (0, 1)]}
    for n in range(24):
        for place in ("fruit", "fruit/images/train", "VOC2012/JPEGImages"):
            crop(n).save(folder / place / f"{n:02}.jpg")
        annotated["images"].append({"id": n, "file_name": f"{n:02}.jpg", "height": 40, "width": 48})
        box = {"id": n, "image_id": n, "category_id": 1 + n % 2, "bbox": [4, 5, 20, 10], "area": 200, "iscrowd": 0}
        annotated["annotations"].append(box)
        (folder / "fruit" / "labels" / "train" / f"{n:02}.txt").write_text(f"{n % 2} 0.5 0.5 0.25 0.25\n")
        (folder / "VOC2012" / "Annotations" / f"{n:02}.xml").write_text(
            f"<annotation><filename>{n:02}.jpg</filename><size><width>48</width><height>40</height><depth>3</depth></size>"
            f"<object><name>{names[n % 2]}</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>24</xmax><ymax>15</ymax>"
            "</bndbox></object></annotation>"
        )
    (folder / "fruit" / "annotations.json").write_text(json.dumps(annotated))
    (folder / "fruit" / "data.yaml").write_text("path: .\ntrain: images/train\nnames: [apple, pear]\n")


@pytest.mark.slow
@pytest.mark.parametrize("line", shown())
def test_a_command_of_the_page_trains(line, here, commands, tmp_path):
    if "fashion_mnist" in line and not FOLDER.is_dir():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    words = shlex.split(line)[1:]
    done = commands.run([*words, *QUICK, "--out", tmp_path / "run"], here)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 2
