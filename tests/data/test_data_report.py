"""`flaxcnn data SOURCE --report`, `--strict` and `--run`, as real commands."""

import re

import numpy as np
import PIL.Image
import pytest

from flaxcnn.evaluation.label_errors import label_errors
from flaxcnn.evaluation.predictions import load_predictions


@pytest.fixture
def photos(tmp_path):
    """A folder of ten pictures that are different noise, of two classes, each in both splits."""
    rng = np.random.default_rng(0)
    for number in range(10):
        path = tmp_path / "photos" / ("test" if number > 5 else "train") / ("ant", "bee")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    return tmp_path / "photos"


def test_a_report_prints_the_findings_and_writes_a_page(flaxcnn, photos):
    (photos / "train/ant/broken.jpg").write_bytes(b"\xff\xd8\xff")
    (photos / "test/bee/copy.png").write_bytes((photos / "train/bee/1.png").read_bytes())
    done = flaxcnn("data", "folder:photos", "--report", "page.html")
    assert done.returncode == 0, done.stderr
    heading, unreadable, *others = done.stdout.splitlines()[-4:]
    assert heading == "findings"
    assert unreadable == ("1  unreadable or unusable files, such as train/ant/broken.jpg: no image (an unknown format)")
    assert others == [
        "1  exact duplicates across splits, such as train/bee/1.png – test/bee/copy.png: equal pixels",
        "report  page.html",
    ]
    page = (photos.parent / "page.html").read_text("utf-8")
    assert "train/ant/broken.jpg" in page
    assert "test/bee/copy.png" in page
    assert not (photos.parent / "data_grid.png").exists()


def test_sound_data_are_no_error_with_strict(flaxcnn, photos):
    done = flaxcnn("data", "folder:photos", "--strict")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "no findings"


def test_strict_makes_findings_an_error_of_one_line(flaxcnn, photos):
    (photos / "train/ant/broken.jpg").write_bytes(b"\xff\xd8\xff")
    for name in ("a", "b"):
        (photos / f"test/bee/{name}.png").write_bytes((photos / "train/bee/1.png").read_bytes())
    done = flaxcnn("data", "folder:photos", "--strict", "--report", "page.html")
    assert done.returncode == 2
    assert done.stderr == (
        "flaxcnn: folder:photos: 3 findings; found 1 unreadable or unusable files, 2 exact duplicates across splits\n"
    )
    assert (photos.parent / "page.html").exists()


@pytest.mark.slow
def test_the_options_of_files_are_heeded(flaxcnn, photos):
    done = flaxcnn("data", "folder:photos", "--report", "page.html", "--data.size", "20", "--data.channels", "gray")
    assert done.returncode == 0, done.stderr
    assert "6 images 20×20×1" in done.stdout
    refused = flaxcnn("data", "mnist", "--report", "page.html", "--data.size", "20")
    assert refused.returncode == 2
    assert "data.size: not an option of this source" in refused.stderr


@pytest.mark.parametrize("option", ["--report", "--out"])
def test_a_file_in_no_folder_is_refused_before_the_data_are_read(option, flaxcnn, photos):
    done = flaxcnn("data", "folder:photos", option, "nowhere/file")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"flaxcnn: {option}: no such folder; found nowhere. Make it, or name another file\n"


def test_a_page_that_cannot_be_written_is_one_line(flaxcnn, photos):
    done = flaxcnn("data", "folder:photos", "--report", "photos")
    assert done.returncode == 2
    assert done.stderr == "flaxcnn: photos: cannot write: Is a directory. Use another folder\n"


@pytest.mark.slow
def test_labels_that_a_run_doubts_are_in_the_page(flaxcnn, tiny_run, small_mnist, tmp_path):
    source = f"idx:{small_mnist}"
    done = flaxcnn("data", source, "--report", "page.html", "--run", tiny_run)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "likely label errors in test and validation" in done.stdout
    assert "Likely label errors in training, on which the run was trained" in page
    counted = re.findall(r"(\d+)  likely label errors", done.stdout)
    predictions = load_predictions(tiny_run / "predictions.npz")
    logits = predictions.predictions["logits"].astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    own = label_errors(predictions.targets, probabilities)
    # With the validation images the thresholds are others; what is worst in the test images is not.
    worst, other = own.positions[0], own.classes[0]
    assert f"test {worst}: given {predictions.targets[worst]} (" in page
    assert f"predicted {other} (" in page
    assert int(counted[0]) > 1


@pytest.mark.slow
def test_a_run_is_refused_without_a_report_or_with_options_of_its_own(flaxcnn, tiny_run, small_mnist):
    for words, where in (
        (("--run", tiny_run), "--run"),
        (("--run", tiny_run, "--report", "page.html", "--data.test", "0.5"), "--data"),
        (("--run", tiny_run, "--strict", "--no_duplicates"), "mnist"),
    ):
        source = "mnist" if where == "mnist" else f"idx:{small_mnist}"
        done = flaxcnn("data", source, *words)
        assert done.returncode == 2
        assert where in done.stderr
        assert done.stderr.count("\n") == 1
