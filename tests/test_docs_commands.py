"""The commands of the pages about a task and about numbers run as shown, in this order, on small real data."""

import json
import re
import shlex

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_sample_image

from tests.test_readme import doc

SHORTER = {  # what a command gets in addition, so that a page takes a minute
    "train": ("--training.epochs", "6"),
    "train --task detection": ("--training.epochs", "2", "--data.size", "64"),
    "train --recipe": ("--training.epochs", "1", "--data.size", "64"),
}
PHOTOGRAPHS = 20  # of each class
LEAVES = 96  # 3 of each of 32 plants, a fifth of which are drawn for validation: hardly ever none


def commands_of(page):
    """The words of each command in a page's blocks of shell."""
    blocks = re.findall(r"^```sh\n(.*?)^```", doc(page), re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("flaxcnn ")]


@pytest.fixture
def folder(tmp_path):
    """What the pages speak of: photographs of two kinds, leaves in a table, and fruit in boxes."""
    random = np.random.default_rng(0)
    whole = {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}

    def crop(kind, side):
        top, left = random.integers(0, 280, 2)
        return PIL.Image.fromarray(whole[kind][top : top + side, left : left + side])

    for kind in whole:
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for n in range(PHOTOGRAPHS):
            crop(kind, 100).save(tmp_path / "photos" / kind / f"{n:02}.jpg")
    crop("flower", 120).save(tmp_path / "holiday.jpg")

    (tmp_path / "leaves").mkdir()
    rows = ["path,species,area,plant"]
    for n in range(LEAVES):
        kind, side = ("china", "flower")[n % 2], int(random.integers(20, 60))
        crop(kind, side).save(tmp_path / "leaves" / f"{n}.png")
        rows.append(f"leaves/{n}.png,{kind},{side * side / 100},p{n // 3}")
    (tmp_path / "leaves.csv").write_text("\n".join(rows))

    (tmp_path / "fruit" / "images").mkdir(parents=True)
    images, boxes = [], []
    for n in range(30):
        crop("flower", 80).save(tmp_path / "fruit" / "images" / f"{n}.png")
        images.append({"id": n, "file_name": f"{n}.png", "height": 80, "width": 80})
        boxes += [
            {"id": len(boxes) + each, "image_id": n, "category_id": 1 + each % 2, "bbox": [9 * each, 5, 8, 8]}
            for each in range(int(random.integers(1, 6)))
        ]
    kinds = [{"id": 1, "name": "apple"}, {"id": 2, "name": "pear"}]
    (tmp_path / "fruit" / "annotations.json").write_text(
        json.dumps({"images": images, "annotations": boxes, "categories": kinds})
    )
    (config,) = re.findall(r"^```python\n(.*?)^```", doc("honest_numbers.md"), re.DOTALL | re.MULTILINE)
    (tmp_path / "mnist_short.py").write_text(config)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "at_least"),
    [
        ("classify_photographs.md", 9),
        ("count_and_measure.md", 8),
        ("find_and_count.md", 11),
        ("honest_numbers.md", 6),
    ],
)
def test_the_commands_of_a_page_run_in_order(page, at_least, folder, commands):
    shown = commands_of(page)
    assert len(shown) >= at_least
    for words in shown:
        special = next((option for option in ("--recipe", "--task detection") if option in " ".join(words)), "")
        key = f"train {special}" if special else words[0]
        done = commands.run([*words, *SHORTER.get(key, ())], folder)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr}"
