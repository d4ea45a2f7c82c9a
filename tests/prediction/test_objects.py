"""What is found in photographs, as pictures: boxes at their places, objects cut out, and nothing outside the folder."""

import io

import numpy as np
import PIL.Image
import pytest

from flaxcnn.errors import ConfigError
from flaxcnn.prediction.objects import ObjectFiles


def photograph(height=80, width=120):
    """A dark photograph with a red square from row 20 and column 30 on."""
    pixels = np.full((height, width, 3), 30, np.uint8)
    pixels[20:50, 30:60] = 220, 40, 40
    out = io.BytesIO()
    PIL.Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def found(*objects):
    return {"objects": [{"class": name, "score": 0.9, "box": box} for name, box in objects]}


def test_a_box_is_around_the_object_and_the_object_is_cut_out(tmp_path):
    files = ObjectFiles(tmp_path / "out", ("red", "green"))
    files.write("folder/one.png", photograph(), found(("red", [20, 30, 50, 60])))
    drawn = np.asarray(PIL.Image.open(tmp_path / "out" / "one.jpg"), np.int32)
    assert drawn.shape == (80, 120, 3)
    line = np.abs(drawn - (0xE6, 0x19, 0x4B)).sum(-1) < 90  # the colour of the first class, as JPEG keeps it
    assert line[49, 31:59].mean() > 0.9  # the last row of the box
    assert not line[60:].any()
    cut = np.asarray(PIL.Image.open(tmp_path / "out" / "crops" / "red" / "one-1.jpg"), np.int32)
    assert cut.shape == (30, 30, 3)
    assert np.abs(cut - (220, 40, 40)).max() < 20
    assert files.line == f"{tmp_path}/out: 1 photographs with boxes, 1 objects in crops/"


def test_no_name_leads_out_and_no_file_is_written_twice(tmp_path):
    files = ObjectFiles(tmp_path / "out", ("../../a b", "..", "A_B"))
    everything = found(("../../a b", [0, 0, 9, 9]), ("..", [0, 0, 9, 9]), ("A_B", [0, 0, 9, 9]))
    for name in ("../x/one.png", "one.jpg", "crops.png", "-"):
        files.write(name, photograph(), everything)
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    stems = ("_", "crops-2", "one", "one-2")
    expected = [f"out/{stem}.jpg" for stem in stems]
    kinds = ((1, "a_b"), (2, "_"), (3, "A_B-2"))
    expected += [f"out/crops/{kind}/{stem}-{n}.jpg" for n, kind in kinds for stem in stems]
    assert written == sorted(expected)


def test_an_object_without_a_pixel_is_not_cut_out_and_nothing_found_is_a_plain_photograph(tmp_path):
    files = ObjectFiles(tmp_path / "out", ("red",))
    files.write("one.png", photograph(), found(("red", [0, 0, 0, 0])))
    files.write("two.png", photograph(), found())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.jpg", "two.jpg"]


def test_a_folder_that_exists_is_left_alone(tmp_path):
    with pytest.raises(ConfigError, match="exists already; expected a new folder"):
        ObjectFiles(tmp_path, ("red",))
    with pytest.raises(ConfigError, match="no such folder"):
        ObjectFiles(tmp_path / "a" / "b", ("red",))
    assert ObjectFiles(tmp_path / "new", ("red",)).line.startswith("no picture was written")
    assert not (tmp_path / "new").exists()


def test_a_long_name_is_cut_to_what_file_systems_allow(tmp_path):
    files = ObjectFiles(tmp_path / "out", ("𐐀" * 200,))
    for _ in range(2):
        files.write("𐐀" * 200 + ".jpg", photograph(), found(("𐐀" * 200, [0, 0, 9, 9])))
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 4
