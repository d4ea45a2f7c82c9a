"""Maps as pixels: colours, what is seen where a map is 0, and files."""

import io
import json

import numpy as np
import PIL.Image
import pytest

from flaxcnn.errors import ConfigError
from flaxcnn.explanations.folder import ExplanationFolder
from flaxcnn.explanations.overlay import colours, overlay, scaled
from flaxcnn.explanations.picture import picture


@pytest.mark.parametrize(("name", "signed"), [("inferno", False), ("RdBu_r", True)])
def test_colours_are_those_that_matplotlib_knows_by_that_name(name, signed):
    import matplotlib

    strength = np.linspace(-1 if signed else 0, 1, 101)[None]
    wanted = matplotlib.colormaps[name]((strength + 1) / 2 if signed else strength)[..., :3] * 255
    np.testing.assert_allclose(colours(strength, signed), wanted, atol=20)  # ours are straight between anchors


def test_more_is_lighter_and_signs_are_opposite_colours():
    shades = colours(np.linspace(0, 1, 50)[None], False) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(shades) > 0).all()
    against, nothing, for_it = colours(np.array([[-0.8, 0, 0.8]]), True)[0]
    assert against[2] > against[0] + 80
    assert for_it[0] > for_it[2] + 80
    assert np.ptp(nothing) == 0


@pytest.mark.parametrize("signed", [False, True])
def test_where_a_map_is_0_the_image_is_seen_in_grey(signed):
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    wanted = np.asarray(PIL.Image.fromarray(image).convert("L"), np.int16)
    map_ = np.zeros((6, 5), np.float32)
    for _ in range(2):
        found = overlay(image, map_, signed)
        assert (found.dtype, found.shape) == (np.uint8, (6, 5, 3))
        still = map_ == 0
        assert np.abs(found[still].astype(np.int16) - wanted[still][:, None]).max() <= 1
        map_[2, 3] = 7
    assert (found[2, 3] != wanted[2, 3]).any()


def test_a_single_pixel_does_not_make_a_map_pale():
    map_ = np.ones((40, 40), np.float32)
    map_[0, 0] = 1000
    assert scaled(map_).min() == 1
    assert scaled(-map_).max() == -1
    assert (scaled(np.eye(40, dtype=np.float32) * 0) == 0).all()
    one = np.zeros((40, 40), np.float32)
    one[0, 0] = 3
    assert scaled(one).max() == 1


def test_a_picture_has_the_image_at_the_left_in_whole_pixels_and_the_map_at_the_right():
    image = np.random.default_rng(0).integers(0, 256, (10, 12, 1), np.uint8)
    map_ = np.random.default_rng(1).normal(size=(10, 12)).astype(np.float32)
    found = np.asarray(PIL.Image.open(io.BytesIO(picture(image, map_, True, ["a ☃ \x1b[2J", "b"]))))
    times, above = 23, found.shape[0] - 230
    assert found.shape == (above + 230, 2 * 276 + 8, 3)
    np.testing.assert_array_equal(found[above::times, :276:times], np.repeat(image, 3, axis=2))
    np.testing.assert_array_equal(found[above::times, 284::times], overlay(image, map_, True))
    assert found[:above].min() < 100  # text
    assert PIL.Image.open(io.BytesIO(picture(image, map_, True, []))).size == (560, 230)


def test_names_of_pictures_are_plain_and_never_the_same(tmp_path):
    folder = ExplanationFolder(tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()
    names = [folder.add(name, {"of": "x"}, b"png") for name in ("../../a.png", "b/a.png", "-", "ü\n?.jpeg", "x" * 300)]
    assert names == ["00001_a.png", "00002_a.png", "00003_image.png", "00004____.png", "00005_image.png"]
    assert sorted(each.name for each in folder.path.iterdir()) == [*names, "explanations.jsonl"]
    assert folder.add("broken", {"fault": "f"}, None) == ""
    lines = [json.loads(line) for line in (folder.path / "explanations.jsonl").read_text("utf-8").splitlines()]
    assert lines[0] == {"image": "../../a.png", "picture": "00001_a.png", "of": "x"}
    assert lines[-1] == {"image": "broken", "fault": "f"}


def test_a_folder_that_holds_something_is_refused(tmp_path):
    ExplanationFolder(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="holds something already; expected a new or empty folder"):
        ExplanationFolder(tmp_path)
    with pytest.raises(ConfigError, match="file: not a folder"):
        ExplanationFolder(tmp_path / "file")
