"""`flaxcnn explain`: pictures and lines of files and folders, what cannot be used, and mistakes."""

import json

import numpy as np
import PIL.Image
import pytest

import flaxcnn as library


@pytest.fixture(scope="module")
def photos(small_split, tmp_path_factory):
    """A folder with two digits at two depths, and a damaged one between them."""
    photos = tmp_path_factory.mktemp("explain") / "photos"
    (photos / "more").mkdir(parents=True)
    for place, name in enumerate(("a.png", "more/a.png")):
        PIL.Image.fromarray(small_split[0][place, :, :, 0]).save(photos / name)
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:60])
    return photos


def lines_of(folder):
    return [json.loads(line) for line in (folder / "explanations.jsonl").read_text("utf-8").splitlines()]


def test_a_folder_has_a_picture_for_each_image_and_the_damaged_one_is_said(tiny_run, photos, commands, tmp_path):
    done = commands.run(["explain", tiny_run, photos, "--out", "new/out"], tmp_path)
    assert done.returncode == 1
    assert done.stderr == "flaxcnn: 1 of 3 images cannot be used\n"
    first, broken, second = lines_of(tmp_path / "new" / "out")
    assert set(broken) == {"image", "fault"}
    good = [photos / "a.png", photos / "more" / "a.png"]
    trained = library.load(tiny_run)
    found = trained.explain(good)
    for place, (line, answer) in enumerate(zip((first, second), trained.predict(good, 1), strict=True)):
        assert line["image"] == str(good[place])
        assert line["of"] == found.of[place] == line["answer"]["class"] == answer["class"]
        assert line["value"] == pytest.approx(found.values[place], rel=1e-4)
        assert (line["method"], line["endpoint"]) == ("gradcam", found.endpoint)
        drawn = np.asarray(PIL.Image.open(tmp_path / "new" / "out" / line["picture"]))
        assert drawn.shape[1] == 2 * 224 + 8
        decoded = trained.decode(good[place].read_bytes(), "a")
        np.testing.assert_array_equal(drawn[-224::8, :224:8], np.broadcast_to(decoded, (28, 28, 3)))
    shown = done.stdout.splitlines()
    assert [first["picture"] in shown[0], "broken.png  - " in shown[1], second["picture"] in shown[2]] == [True] * 3
    assert len(shown) == 3
    again = commands.run(["explain", tiny_run, photos / "a.png", "--out", "new/out"], tmp_path)
    assert again.returncode == 2
    assert again.stderr.startswith("flaxcnn: new/out: holds something already")
    assert again.stderr.count("\n") == 1
    assert len(lines_of(tmp_path / "new" / "out")) == 3


@pytest.mark.slow
def test_options_reach_the_method_and_its_sums_are_said(tiny_run, photos, commands, tmp_path):
    trained = library.load(tiny_run)
    name = trained.form.target_names[-1]
    words = ["explain", tiny_run, photos / "a.png", "--of", name]
    method = ["--method", "integrated_gradients", "--baseline", "black", "--steps", "16"]
    done = commands.run([*words, *method, "--out", "ig"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = lines_of(tmp_path / "ig")
    found = trained.explain([photos / "a.png"], "integrated_gradients", of=name, baseline="black", steps=16)
    assert (line["of"], line["endpoint"], line["steps"]) == (name, None, found.steps[0])
    assert line["completeness_error"] == pytest.approx(found.errors[0], rel=0.1, abs=1e-4)
    done = commands.run([*words, "--method", "occlusion", "--patch", "6", "--stride", "6", "--out", "occ"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = lines_of(tmp_path / "occ")
    assert set(line) == {"image", "picture", "method", "endpoint", "of", "value", "answer"}


@pytest.mark.slow
def test_photographed_digits_and_standard_input(tiny_run, flaxcnn, command_environment, tmp_path):
    page = PIL.Image.new("L", (300, 300), 225)
    page.paste(40, (140, 60, 160, 240))
    page.save(tmp_path / "one.png")
    plain = flaxcnn("explain", tiny_run, "one.png", "--out", "plain")
    assert plain.returncode == 0
    assert plain.stderr == "flaxcnn: scaled to 28×28: 1 of 1; photographs of digits need --prepare digits\n"
    prepared = flaxcnn("explain", tiny_run, "one.png", "--out", "digits", "--prepare", "digits")
    assert (prepared.returncode, prepared.stderr) == (0, "")
    drawn = np.asarray(PIL.Image.open(tmp_path / "digits" / "00001_one.png"))
    assert drawn[-8 * 14, 8 * 14].tolist() == [255] * 3  # ink, light in the middle
    assert flaxcnn("explain", tiny_run, "-", "--out", "none").returncode == 1
    assert "standard input is empty" in (tmp_path / "none" / "explanations.jsonl").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["explain"], "RUN is missing"),
        (["explain", "{run}", "--out", "x"], "no images"),
        (["explain", "{run}", "{image}"], "--out is missing"),
        (["explain", "{run}", "{image}", "--out", "x", "--method", "lime"], "--method"),
        (["explain", "{run}", "{image}", "--out", "x", "--steps", "4"], "steps: gradcam does not use it"),
        (["explain", "{run}", "{image}", "--out", "x", "--of", "dog"], "of: not among what this model answers"),
        (["explain", "{run}", "{image}", "--out", "x", "--endpoint", "conv"], "endpoint: unknown endpoint"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(tiny_run, photos, commands, words, said, tmp_path):
    given = [word.format(run=tiny_run, image=photos / "a.png") for word in words]
    done = commands.run(given, tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()
