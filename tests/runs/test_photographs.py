"""A run on a folder of photographs: what is chosen, said and recorded, and the same bits after a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_sample_image

from tests.data.videos import gray, write_video

STEPS = ("--training.epochs", "12", "--training.batch_size", "4", "--checkpoint.every", "20", "--logging.every", "30")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Crops of two photographs, 12 of each, of different sizes."""
    root = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for name in ("china", "flower"):
        whole = load_sample_image(f"{name}.jpg")
        (root / name).mkdir()
        for n in range(12):
            height, width = random.integers(90, 140, 2)
            top, left = random.integers(0, 280, 2)
            pixels = whole[top : top + height, left : left + width]
            PIL.Image.fromarray(pixels).save(root / name / f"{n:02}.jpg")
    return root


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


DIGESTS = ("weights_sha256", "state_sha256", "metrics_sha256")


@pytest.fixture(scope="module")
def chosen(photographs, commands, tmp_path_factory):
    """The folder of a run of a source alone, and what its command printed."""
    folder = tmp_path_factory.mktemp("chosen")
    done = commands.run(["train", f"folder:{photographs}", *STEPS], folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / f"{photographs.name}-001", done.stdout


@pytest.mark.slow
def test_a_source_alone_is_trained_on_and_what_was_chosen_is_said_and_recorded(chosen, photographs):
    folder, printed = chosen
    assert f"folder:{photographs}: 20 training and 4 test images of 64×64×3, 2 classes" in printed
    assert "4 of 24 images are the test split, drawn by their content" in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("  chosen  ")]
    for words in ("--model.name small_cnn", "--data.size 64", "--schedule.name one_cycle", "--augmentation.flip 0.5"):
        assert words in line
    assert "--training" not in line  # the user's own
    config = json.loads((folder / "config.json").read_text())
    assert config["data"]["size"] == [64, 64]
    assert config["data"]["channels"] == "rgb"
    assert config["training"]["batch_size"] == 4  # the user's own


def test_evaluate_finds_the_recorded_numbers(chosen, commands):
    folder, _ = chosen
    done = commands.run(["evaluate", folder], folder.parent)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_folder_is_fitted_as_the_training_images_were(chosen, photographs, commands, tmp_path):
    folder, _ = chosen
    shutil.copytree(photographs, tmp_path / "moved")
    done = commands.run(["evaluate", folder, "--data", f"folder:{tmp_path / 'moved'}"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def sources(photographs, tmp_path_factory):
    """Sources of several kinds, each with a run's other options."""
    folder = tmp_path_factory.mktemp("sources")
    rows = [f"{path.relative_to(photographs)},{path.parent.name}" for path in sorted(photographs.rglob("*.jpg"))]
    (folder / "table.csv").write_text("\n".join(["path,label", *rows]))
    for n, kind in enumerate(("rain", "sun") * 4):
        write_video(folder / "clips" / kind / f"{n}.mp4", [gray(30 * n + each) for each in range(30)])
    kinds = enumerate(("rain", "sun") * 4)
    rows = [f"clips/{kind}/{n}.mp4,{start},{start + 1},{kind}" for n, kind in kinds for start in (0, 1.5)]
    (folder / "clips.csv").write_text("\n".join(["path,start,end,label", *rows]))
    return {
        "folder": (f"folder:{photographs}",),
        "folder, no cache": (f"folder:{photographs}", "--data.no_cache"),
        "table": (f"csv:{folder / 'table.csv'}", "--data.dir", photographs),
        "video": (f"video:{folder / 'clips'}", "--data.frames", "2"),
        "table of videos": (f"video:{folder / 'clips.csv'}", "--data.frames", "2"),
    }


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["folder", "folder, no cache", "table", "video", "table of videos"])
def test_killed_and_resumed_it_ends_with_the_same_bits(kind, sources, command_environment, commands, tmp_path):
    words = ["train", *map(str, sources[kind]), *STEPS]
    whole = commands.run([*words, "--out", "whole"], tmp_path)
    assert whole.returncode == 0, whole.stderr
    environment = {**command_environment, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = subprocess.Popen(
        [sys.executable, "-m", "flaxcnn", *words, "--out", "killed"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    checkpoints = tmp_path / "killed" / "checkpoints"
    while not (checkpoints.is_dir() and any(path.name.startswith("step-") for path in checkpoints.iterdir())):
        assert process.poll() is None
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "summary.json").exists()
    shutil.rmtree(tmp_path / "cache")  # the images are decoded again
    resumed = commands.run(["resume", "killed"], tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    ends = [summary(tmp_path / name) for name in ("whole", "killed")]
    assert {name: ends[0][name] for name in DIGESTS} == {name: ends[1][name] for name in DIGESTS}


def test_a_resumed_run_refuses_files_that_changed(chosen, photographs, commands, tmp_path):
    folder, _ = chosen
    shutil.copytree(photographs, tmp_path / "changed")
    PIL.Image.new("RGB", (99, 99)).save(tmp_path / "changed" / "china" / "00.jpg")
    done = commands.run(["evaluate", folder, "--data", f"folder:{tmp_path / 'changed'}"], tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["{root}"], "neither a config nor data. Did you mean 'folder:{root}'?"),
        (["fodler:{root}"], "neither a config nor data. Did you mean 'folder:{root}'?"),
        (["folder:{root}", "--data", "folder:elsewhere"], "given twice"),
        (["folder:{root}", "--data.size", "0"], "data.size: out of range"),
        (["folder:{root}", "--data.fit", "squeeze"], "data.fit"),
        (["folder:{root}/china"], "images in no class's folder"),
    ],
)
def test_a_mistake_is_one_line(words, line, photographs, commands, tmp_path):
    done = commands.run(["train", *(word.format(root=photographs) for word in words)], tmp_path)
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert line.format(root=photographs) in said
    assert not list(tmp_path.iterdir())
