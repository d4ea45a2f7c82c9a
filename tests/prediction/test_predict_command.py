"""`flaxcnn predict`: tables, JSON lines and CSV of files, folders and standard input, and what cannot be used."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from flaxcnn.prediction.answers import Answered, Writer
from flaxcnn.prediction.loading import load


@pytest.fixture(scope="module")
def photos(shapes_run, tmp_path_factory):
    """A folder with three good images at two depths, and what is none."""
    folder, paths = shapes_run
    photos = tmp_path_factory.mktemp("predict") / "photos"
    (photos / "more").mkdir(parents=True)
    for name, path in (("b.png", paths[0]), ("a.png", paths[-1]), ("more/c.PNG", paths[5])):
        (photos / name).write_bytes(path.read_bytes())
    (photos / "broken.png").write_bytes(paths[0].read_bytes()[:60])
    (photos / "notes.txt").write_text("not an image")
    os.symlink(folder / "config.json", photos / "leads_out.png")
    return photos


def test_a_folder_in_json_lines_and_the_faults_of_its_files(shapes_run, photos, flaxcnn, tmp_path):
    folder, _ = shapes_run
    done = flaxcnn("predict", folder, photos, "--format", "jsonl", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "flaxcnn: 2 of 5 images cannot be used\n"
    said = {os.path.relpath(each.pop("image"), photos): each for each in map(json.loads, done.stdout.splitlines())}
    assert list(said) == ["a.png", "b.png", "broken.png", "leads_out.png", "more/c.PNG"]
    assert set(said["broken.png"]) == set(said["leads_out.png"]) == {"fault"}
    assert "lies outside" in said["leads_out.png"]["fault"]
    good = ["a.png", "b.png", "more/c.PNG"]
    for name, answer in zip(good, load(folder).predict([photos / name for name in good], 3), strict=True):
        assert said[name]["class"] == answer["class"]
        assert said[name]["probability"] == pytest.approx(answer["probability"], abs=1e-6)
        assert [each["class"] for each in said[name]["top"]] == [each["class"] for each in answer["top"]]


def test_a_table_for_people_and_csv_for_spreadsheets_have_the_same_answers(shapes_run, photos, flaxcnn):
    folder, _ = shapes_run
    table = flaxcnn("predict", folder, photos / "a.png", photos / "none.png", "--top", "2")
    assert table.returncode == 1
    first, second = table.stdout.splitlines()
    assert "no such file" in second
    sheet = flaxcnn("predict", folder, photos / "a.png", photos / "none.png", "--top", "2", "--format", "csv")
    assert sheet.returncode == 1
    row, missing = csv.DictReader(io.StringIO(sheet.stdout))
    strange = ["familiar", "familiar_by.evidence", "familiar_by.features"]
    assert list(row) == ["image", "class", "probability", "class_2", "probability_2", *strange, "fault"]
    assert (missing["fault"], missing["class"], row["fault"]) == ("no such file", "", "")
    assert f"{row['class']} {100 * float(row['probability']):.1f} %" in first
    assert f"({row['class_2']} {100 * float(row['probability_2']):.1f} %)" in first


def test_a_sheet_in_which_the_first_or_all_images_are_bad_has_a_row_for_each():
    bad, good = Answered("a", None, "damaged"), Answered("b", {"numbers": {"x": 1.0}})
    for given, wanted in (
        ([bad, good], ["image,x,fault", "a,,damaged", "b,1.0,"]),
        ([bad, bad], ["image,fault", "a,damaged", "a,damaged"]),
        ([], []),
    ):
        writer = Writer("csv", ["a", "b"])
        assert [*(line for each in given for line in writer.lines(each)), *writer.last()] == wanted


@pytest.mark.slow
def test_an_image_on_standard_input(shapes_run, photos, command_environment):
    folder, _ = shapes_run
    words = [sys.executable, "-m", "flaxcnn", "predict", str(folder), "-", "--format", "jsonl"]
    done = subprocess.run(words, env=command_environment, input=(photos / "a.png").read_bytes(), capture_output=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["image"] == "-"
    assert said["class"] == load(folder).predict([photos / "a.png"])[0]["class"]
    empty = subprocess.run(words, env=command_environment, input=b"", capture_output=True)
    assert empty.returncode == 1
    assert json.loads(empty.stdout) == {"image": "-", "fault": "standard input is empty"}


@pytest.mark.slow
def test_names_and_streams_that_are_odd(shapes_run, photos, command_environment, tmp_path):
    """A name with a line break and bytes that are no text, one that looks like a formula, and no standard input."""
    folder, _ = shapes_run
    odd = os.fsencode(tmp_path) + b"/odd"
    os.mkdir(odd)
    for name in (b"line\nbreak.png", b"\xff.png", b"=1+1.png"):
        with open(odd + b"/" + name, "wb") as file:
            file.write((photos / "a.png").read_bytes())
    words = [sys.executable, "-m", "flaxcnn", "predict", str(folder), str(tmp_path / "odd")]
    for form in ("table", "csv", "jsonl"):
        done = subprocess.run([*words, "--format", form], env=command_environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 3 + (form == "csv")
    closed = subprocess.run(
        ["sh", "-c", f"exec {' '.join(words[:-1])} - <&-"], env=command_environment, capture_output=True, text=True
    )
    assert closed.returncode == 1
    assert "standard input is empty" in closed.stdout


@pytest.mark.slow
def test_a_drawn_digit_is_read(commands, small_mnist, tmp_path):
    """By the paper's network after 200 steps on MNIST: four digits, drawn with a thick pen on gray paper."""
    trained = commands.run(["train", "--training.steps", "200", "--out", "run"], tmp_path, seconds=300)
    assert trained.returncode == 0, trained.stderr
    strokes = {
        "7": [(60, 60), (180, 60), (110, 220)],
        "1": [(120, 50), (120, 220)],
        "4": [(150, 220), (150, 50), (60, 160), (200, 160)],
    }
    for digit, points in strokes.items():
        page = PIL.Image.new("L", (400, 300), 225)
        PIL.ImageDraw.Draw(page).line([(80 + x, y) for x, y in points], fill=40, width=18, joint="curve")
        noisy = np.asarray(page) + np.linspace(-25, 0, 400) + np.random.default_rng(0).normal(0, 4, (300, 400))
        PIL.Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(tmp_path / f"{digit}.jpg")
    words = ["predict", "run", *(f"{digit}.jpg" for digit in strokes), "--prepare", "digits", "--format", "jsonl"]
    done = commands.run(words, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["class"] for line in done.stdout.splitlines()] == list(strokes)
    assert done.stderr == ""
    unprepared = commands.run(["predict", "run", "7.jpg", "1.jpg"], tmp_path)
    hint = "flaxcnn: scaled to 28×28: 2 of 2; photographs of digits need --prepare digits\n"
    assert unprepared.stderr == hint
    PIL.Image.open(tmp_path / "7.jpg").resize((28, 28)).save(tmp_path / "small.png")
    assert commands.run(["predict", "run", "small.png"], tmp_path).stderr == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict"], "RUN is missing"),
        (["predict", "{run}"], "no images"),
        (["predict", "nowhere", "x.png"], "nowhere"),
        (["predict", "{run}", "{empty}"], "no images in this folder"),
        (["predict", "{run}", "x.png", "--top", "0"], "--top"),
        (["predict", "{run}", "x.png", "--format", "xml"], "--format"),
        (["predict", "{run}", "x.png", "--prepare", "digits"], "not for this run"),
    ],
)
def test_a_mistake_is_one_line(shapes_run, commands, words, said, tmp_path):
    (tmp_path / "empty").mkdir()
    done = commands.run([word.format(run=shapes_run[0], empty=tmp_path / "empty") for word in words], tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_every_kind_of_answer_is_a_row_of_a_sheet():
    numbers = {"numbers": {"area": 2.5}, "interval_90": {"area": [1.0, 4.0]}}
    labels = {"labels": ["x", "z"], "probabilities": {"z": 0.9, "x": 0.8, "y": 0.1}}
    kind = {"class": "b", "probability": 0.75, "top": [{"class": "b", "probability": 0.75}]}
    for answer, wanted in (
        (numbers, {"area": "2.5", "area_low": "1.0", "area_high": "4.0"}),
        (labels, {"labels": "x;z", "x": "0.8", "y": "0.1", "z": "0.9"}),
        ({"kind": kind, "size": numbers}, {"kind.class": "b", "kind.probability": "0.75", "size.area": "2.5",
                                           "size.area_low": "1.0", "size.area_high": "4.0"}),
        ({"mask": [1, 0]}, {"mask": "[1, 0]"}),
    ):  # fmt: skip
        writer = Writer("csv", ["i"])
        lines = [*writer.lines(Answered("i", answer)), *writer.lines(Answered("j", None, "damaged"))]
        row, damaged = csv.DictReader(lines)
        assert row == {"image": "i", **wanted, "fault": ""}
        assert damaged == {"image": "j", **dict.fromkeys(wanted, ""), "fault": "damaged"}
        (line,) = Writer("table", ["i"]).lines(Answered("i", answer))
        assert line.startswith("i  ")
        assert "\n" not in line
