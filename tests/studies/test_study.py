"""Whole studies by the real command: killed and gone on with, diverging, refused, and their tables and pages."""

import csv
import html.parser
import json
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest
import sklearn.metrics

from tests.studies.conftest import draw_shapes

TINY = """
    entries={
        "slow": {"optimizer.learning_rate": 1e-4},
        "net": {"model.name": "lenet5", "data.size": (32,)},
    },
    folds=2,
    seeds=(0, 1),
    search={"net": {"optimizer.learning_rate": (1e-3, 3e-3)}},
"""
QUICK = 'entries={"slow": {"optimizer.learning_rate": 1e-5}, "fast": {}}, seeds=(0,)'
TIMES = ("train_seconds", "images_per_second")


def start(environment, folder, *words):
    words = [sys.executable, "-m", "flaxcnn", "study", *map(str, words)]
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(process, folder, pattern, seconds=120):
    end = time.monotonic() + seconds
    while not any(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, f"nothing like {pattern}"
        time.sleep(0.01)


def files(out):
    """All files' bytes, but for that of the lock, which names a process."""
    return {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != ".lock"}


def kept(out):
    """Everything that a study's table says but for times, as text; and the SHA-256 of each run's weights."""
    said = json.loads((out / "study.json").read_text())
    del said["command"]
    for entry in said["entries"].values():
        for name in TIMES:
            del entry[name]
    rows = list(csv.DictReader((out / "table.csv").open()))
    for row in rows:
        for name in TIMES:
            del row[name]
    table = (out / "table.md").read_text().split("\n\n")
    lines = [line.rpartition("|")[0].rpartition("|")[0].rpartition("|")[0] for line in table[2].splitlines()]
    cells = [re.sub(r"[ -]+", " ", line) for line in lines]  # a time that is longer makes its column wider
    weights = {
        str(path.relative_to(out)): json.loads(path.read_text())["weights_sha256"]
        for path in sorted(out.glob("runs/**/summary.json"))
    }
    return json.dumps([said, rows, cells, table[3:5], weights], indent=1)


@pytest.fixture(scope="module")
def whole(command_environment, shapes, tmp_path_factory):
    """The folder of a study that nothing interrupted, its file, and what it printed."""
    from tests.studies.conftest import STUDY

    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.py").write_text(STUDY.replace("{more}", TINY))
    process = start(command_environment, folder, "tiny.py", f"folder:{shapes}", "--out", "out")
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return folder / "out", folder / "tiny.py", printed


def test_a_study_leaves_its_table_its_picture_and_its_page(flaxcnn, shapes, study_file, tmp_path):
    """On the source's drawn test split; the same command again trains nothing and comes to the same bytes."""
    path = study_file(QUICK)
    command = ("study", path, f"folder:{shapes}", "--training.epochs", "1", "--out", "out")
    done = flaxcnn(*command)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    assert "Is one rate better?" in done.stdout
    assert "[2/2] fast, seed 0: accuracy" in done.stdout
    said = json.loads((out / "study.json").read_text())
    assert set(said["entries"]) == {"slow", "fast"}
    assert any("One seed" in line for line in said["warnings"])
    assert any("no groups" in line for line in said["warnings"])
    assert said["data"]["commonest_class"] == max(said["data"]["class_counts"]) / said["data"]["tested"]
    predicted = np.load(out / "runs/fast/seed-0/predictions.npz")
    accuracy = sklearn.metrics.accuracy_score(predicted["target"], predicted["logits"].argmax(1))
    assert said["entries"]["fast"]["metrics"]["accuracy"]["mean"] == pytest.approx(accuracy)
    assert (out / "accuracy_over_speed.png").read_bytes().startswith(b"\x89PNG")
    assert not list(out.glob("runs/**/checkpoints"))
    page = (out / "study.html").read_text()
    assert "square &lt;b&gt;&amp;" in page
    assert "<b>" not in page
    links = Links()
    links.feed(page)
    assert links.outside == []
    before = files(out)
    again = flaxcnn(*command)
    assert again.returncode == 0, again.stderr
    assert "[2/2]" not in again.stdout
    assert files(out) == before


class Links(html.parser.HTMLParser):
    """What a page refers to outside itself, and its scripts."""

    def __init__(self):
        super().__init__()
        self.outside = []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "href") and not value.startswith(("data:", "#")):
                self.outside.append(value)
            if name.startswith("on"):
                self.outside.append(name)
        if tag in ("script", "link", "iframe", "object"):
            self.outside.append(tag)


@pytest.mark.slow
def test_the_table_is_made_of_the_runs_predictions(whole):
    """Of each seed, both folds together, by scikit-learn; the mean over the seeds."""
    out, _, _ = whole
    said = json.loads((out / "study.json").read_text())
    rows = {row["entry"]: row for row in csv.DictReader((out / "table.csv").open())}
    assert said["data"]["tested"] == 48
    for name in ("slow", "net"):
        values = []
        for seed in (0, 1):
            folds = [np.load(out / f"runs/{name}/fold-{fold}/seed-{seed}/predictions.npz") for fold in (0, 1)]
            targets = np.concatenate([fold["target"] for fold in folds])
            logits = np.concatenate([fold["logits"] for fold in folds])
            assert np.bincount(targets).tolist() == [24, 12, 12] == said["data"]["class_counts"]
            predicted = logits.argmax(1)
            values.append(
                (
                    sklearn.metrics.accuracy_score(targets, predicted),
                    sklearn.metrics.f1_score(targets, predicted, average="macro"),
                )
            )
        for metric, wanted in zip(("accuracy", "macro_f1"), zip(*values, strict=True), strict=True):
            assert said["entries"][name]["metrics"][metric]["values"] == pytest.approx(wanted)
            assert float(rows[name][f"{metric}_mean"]) == pytest.approx(np.mean(wanted))


@pytest.mark.slow
def test_a_search_chooses_by_validation_and_its_choice_is_trained(whole):
    out, _, printed = whole
    for fold in (0, 1):
        found = json.loads((out / f"search/net/fold-{fold}/search.json").read_text())
        values = [tried["value"] for tried in found["tried"]]
        chosen = found["tried"][values.index(max(values))]["setting"]["optimizer.learning_rate"]
        for seed in (0, 1):
            config = json.loads((out / f"runs/net/fold-{fold}/seed-{seed}/config.json").read_text())
            assert config["optimizer"]["learning_rate"] == chosen
            assert config["data"]["fold"] == fold
            assert config["data"]["validation"] == 0
            assert config["training"]["seed"] == seed
        assert f"net, fold {fold}: optimizer.learning_rate {chosen}, by validation" in printed
    assert not (out / "search/slow").exists()
    assert not list(out.glob("search/**/trials"))


@pytest.mark.slow
def test_test_images_influence_no_choice(flaxcnn, study_file, tmp_path):
    """Other test images and labels: the search has the same numbers to the last bit."""
    draw_shapes(tmp_path / "photos" / "train")
    draw_shapes(tmp_path / "photos" / "test", each=4, seed=1)
    path = study_file('entries={"a": {}}, seeds=(0,), search={"all": {"optimizer.learning_rate": (1e-3, 1e-2, 1e-1)}}')
    assert flaxcnn("study", path, "folder:photos", "--out", "first").returncode == 0
    shutil.rmtree(tmp_path / "photos" / "test")
    draw_shapes(tmp_path / "photos" / "test", each=5, seed=2)
    crosses = tmp_path / "photos" / "test" / "cross"
    crosses.rename(tmp_path / "aside")
    (tmp_path / "photos" / "test" / "circle").rename(crosses)
    (tmp_path / "aside").rename(tmp_path / "photos" / "test" / "circle")
    assert flaxcnn("study", path, "folder:photos", "--out", "second").returncode == 0
    first, second = (json.loads((tmp_path / each / "search/a/search.json").read_text()) for each in ("first", "second"))
    assert first["tried"] == second["tried"]
    assert first["data_sha256"]["test/images"] != second["data_sha256"]["test/images"]
    weights = [
        json.loads((tmp_path / each / "runs/a/seed-0/summary.json").read_text())["weights_sha256"]
        for each in ("first", "second")
    ]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_runs_of_a_study_are_runs_like_any_other(flaxcnn, whole):
    out, _, _ = whole
    run = out / "runs/net/fold-1/seed-0"
    assert flaxcnn("evaluate", run).returncode == 0
    compared = flaxcnn("compare", run, out / "runs/net/fold-1/seed-1")
    assert "difference" in compared.stdout, compared.stderr
    assert "is complete" in flaxcnn("resume", run).stdout


INTERRUPTIONS = {
    "in a training": ("runs/slow/fold-0/seed-1/checkpoints/*", [signal.SIGKILL]),
    "in a search": ("search/net/fold-0/trials/00001/checkpoints/*", [signal.SIGKILL]),
    "in the second fold": ("runs/slow/fold-1/seed-0/config.json", [signal.SIGKILL]),
    "by Ctrl-C": ("runs/slow/fold-0/seed-1/config.json", [signal.SIGINT]),
    "by Ctrl-C in a search": ("search/net/fold-0/trials/00000/checkpoints/*", [signal.SIGINT]),
    "by Ctrl-C twice": ("runs/slow/fold-0/seed-0/config.json", [signal.SIGINT, signal.SIGINT]),
}


@pytest.mark.faults
@pytest.mark.parametrize("when", INTERRUPTIONS)
def test_interrupted_it_comes_to_the_same_table(when, command_environment, shapes, whole, tmp_path):
    out, path, _ = whole
    words = (path, f"folder:{shapes}", "--out", tmp_path / "out")
    event, signals = INTERRUPTIONS[when]
    process = start(command_environment, tmp_path, *words)
    wait_for(process, tmp_path / "out", event)
    for each in signals:
        process.send_signal(each)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == (130 if signals[0] == signal.SIGINT else -signals[0]), errors
    assert not (tmp_path / "out" / "study.json").exists()
    again = start(command_environment, tmp_path, *words)
    printed, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    assert "which is continued" in printed
    assert kept(tmp_path / "out") == kept(out)


@pytest.mark.slow
def test_an_entry_that_diverges_is_said_and_loses_nothing(flaxcnn, shapes, study_file, tmp_path):
    path = study_file(
        """entries={
            "hot": {"optimizer.name": "sgd", "optimizer.learning_rate": 1e30},
            "searched": {"optimizer.name": "sgd"},
            "fine": {},
        }, seeds=(0, 1), search={"searched": {"optimizer.learning_rate": (1e30, 1e-3)}}"""
    )
    command = ("study", path, f"folder:{shapes}", "--out", "out")
    done = flaxcnn(*command)
    assert done.returncode == 1, done.stderr
    out = tmp_path / "out"
    said = json.loads((out / "study.json").read_text())
    assert set(said["entries"]) == {"fine", "searched"}
    assert "diverged" in said["failed"]["hot"]
    rows = {row["entry"]: row for row in csv.DictReader((out / "table.csv").open())}
    assert "diverged" in rows["hot"]["failed"]
    assert "| hot | not trained" in re.sub(" +", " ", (out / "table.md").read_text())
    assert "not trained: runs/hot/seed-0: " in (out / "study.html").read_text()
    (search,) = said["entries"]["searched"]["searches"]
    assert search["validation"][0] is None
    assert search["chosen"] == 1
    assert (out / "runs/hot/seed-0/crash").is_dir()
    before = kept(out)
    again = flaxcnn(*command)
    assert again.returncode == 1
    assert "[1/" not in again.stdout
    assert kept(out) == before


@pytest.mark.slow
def test_where_no_entry_can_be_trained_it_says_why(flaxcnn, shapes, study_file):
    path = study_file('entries={"hot": {"optimizer.name": "sgd", "optimizer.learning_rate": 1e30}}, seeds=(0,)')
    done = flaxcnn("study", path, f"folder:{shapes}", "--out", "out")
    assert done.returncode != 0
    assert "no entry could be trained" in done.stderr
    assert "diverged" in done.stderr


@pytest.mark.slow
def test_another_study_other_data_and_a_second_process_are_refused(
    command_environment, flaxcnn, study_file, shapes, tmp_path
):
    photos = shutil.copytree(shapes, tmp_path / "photos")
    path = study_file(QUICK)
    command = ("study", path, "folder:photos", "--out", "out")
    process = start(command_environment, tmp_path, *command[1:])
    wait_for(process, tmp_path / "out", "runs/slow/seed-0/config.json")
    second = flaxcnn(*command)
    assert second.returncode == 2
    assert "another process is training in this folder" in second.stderr
    process.communicate(timeout=120)
    assert process.returncode == 0
    (tmp_path / "elsewhere").mkdir()
    moved = flaxcnn("study", path, f"folder:{photos}", "--out", tmp_path / "out", cwd=tmp_path / "elsewhere")
    assert moved.returncode == 0, moved.stderr
    assert "[1/" not in moved.stdout
    for more, said in (
        (["--training.epochs", "3"], "holds another study, by entries.slow.experiment.training.epochs"),
        (["--seeds", "1", "0"], "holds another study, by seeds"),
        (["--folds", "2"], "holds another study, by folds"),
    ):
        refused = flaxcnn(*command, *more)
        assert refused.returncode == 2
        assert said in refused.stderr
        assert refused.stderr.count("\n") == 1
    path.write_text(path.read_text().replace("1e-5", "1e-6"))
    refused = flaxcnn(*command)
    assert "holds another study, by entries.slow.experiment.optimizer.learning_rate" in refused.stderr
    path.write_text(path.read_text().replace("1e-6", "1e-5"))
    draw_shapes(tmp_path / "more", each=1, seed=5)
    shutil.copy(tmp_path / "more" / "cross" / "0.png", photos / "cross" / "new.png")
    changed = flaxcnn(*command)
    assert changed.returncode == 2
    assert "the data changed since this run" in changed.stderr


@pytest.mark.slow
def test_a_probe_is_an_entry_that_needs_no_seed(flaxcnn, shapes, study_file, tmp_path):
    """Of a network that this test trains; its table has the numbers of its predictions, and it is done once."""
    trained = flaxcnn("train", "--data", f"folder:{shapes}", "--data.size", "28", "--batch_size", "8", "--out", "run")
    assert trained.returncode == 0, trained.stderr
    path = study_file(
        """entries={
            "linear": Probe("paper_cnn", init="run/weights.npz", c=(0.01, 1.0)),
            "near": Probe("paper_cnn", init="run/weights.npz", head="neighbours", neighbours=3),
            "border": Probe("paper_cnn", init="run/weights.npz", sees="border"),
            "facts": Probe("paper_cnn", init="run/weights.npz", sees="facts"),
            "trained": {},
        }, seeds=(0, 1), folds=2, search={"all": {"optimizer.learning_rate": (1e-3, 3e-3)}}"""
    )
    path.write_text(path.read_text().replace("import Study", "import Study\nfrom flaxcnn.studies import Probe"))
    command = ("study", path, f"folder:{shapes}", "--out", "out")
    done = flaxcnn(*command)
    assert done.returncode == 0, done.stderr
    assert "[12/12]" in done.stdout  # of two folds, four probes and two seeds
    out = tmp_path / "out"
    said = json.loads((out / "study.json").read_text())
    folds = [np.load(out / f"runs/linear/fold-{fold}/probe/predictions.npz") for fold in (0, 1)]
    targets = np.concatenate([fold["target"] for fold in folds])
    predicted = np.concatenate([fold["logits"] for fold in folds]).argmax(1)
    accuracy = said["entries"]["linear"]["metrics"]["accuracy"]
    assert accuracy["values"] == pytest.approx([sklearn.metrics.accuracy_score(targets, predicted)])
    assert accuracy["over_seeds_95"] == [None, None]
    assert len(said["entries"]["trained"]["metrics"]["accuracy"]["values"]) == 2
    budgets = {name: entry["budget"] for name, entry in said["entries"].items() if name != "trained"}
    assert budgets == {
        "linear": "linear probe",
        "near": "3 neighbours",
        "border": "linear probe, border alone",
        "facts": "file facts alone",
    }
    # Shapes are drawn in the middle. A large flat one compresses well: that alone says much of what it is.
    values = {name: said["entries"][name]["metrics"]["accuracy"]["values"][0] for name in budgets}
    assert values["border"] < values["linear"]
    assert values["facts"] > 0.6  # half of the images are circles
    judged = {name for pair in said["verdict"]["differences"] for name in (pair["better"], pair["worse"])}
    assert judged == {"linear", "near", "trained"}  # controls do not win; what they reach is a warning
    best = said["verdict"]["best"][0]
    warned = f"facts sees the files' sizes and formats alone, and {best} is not better by accuracy"
    assert any(line.startswith(warned) for line in said["warnings"])
    assert said["entries"]["linear"]["image_shape"] == [28, 28, 1]
    again = flaxcnn(*command)
    assert again.returncode == 0
    assert "[12/12]" not in again.stdout
    assert json.loads((out / "study.json").read_text()) == said


@pytest.mark.slow
def test_a_control_divides_groups_and_shows_what_a_random_split_would_report(flaxcnn, study_file, tmp_path):
    """Frames of a session are nearly the same; classes are drawn by session, so that there is nothing to learn."""
    rng = np.random.default_rng(0)
    rows = ["file,kind,session"]
    for session in range(24):
        scene, kind = rng.integers(0, 200, (16, 16)), "ab"[session % 2]
        for frame in range(4):
            name = f"{session}-{frame}.png"
            PIL.Image.fromarray((scene + rng.integers(0, 6, (16, 16))).astype(np.uint8)).save(tmp_path / name)
            rows.append(f"{name},{kind},{session}")
    (tmp_path / "frames.csv").write_text("\n".join(rows))
    data = ("csv:frames.csv", "--data.target", "kind", "--data.group", "session")
    trained = flaxcnn("train", "--data", *data, "--data.size", "28", "--training.steps", "1", "--out", "run")
    assert trained.returncode == 0, trained.stderr
    path = study_file(
        """entries={
            "divided": Probe("paper_cnn", "run/weights.npz", "neighbours", neighbours=1, groups="divided"),
            "whole": Probe("paper_cnn", "run/weights.npz", "neighbours", neighbours=1),
        }, folds=4"""
    )
    path.write_text(path.read_text().replace("import Study", "import Study\nfrom flaxcnn.studies import Probe"))
    done = flaxcnn("study", path, *data, "--out", "out")
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "out" / "study.json").read_text())
    value = {name: entry["metrics"]["accuracy"]["values"][0] for name, entry in said["entries"].items()}
    assert value["divided"] > 0.95  # another frame of the session tells
    assert value["whole"] < 0.75  # by chance, of 24 sessions
    assert said["verdict"]["best"] == ["whole"]  # what leaks does not win
    told = (
        "divided divides groups between training and test, as a random split does, and may leak: accuracy "
        f"{100 * value['divided']:.2f} (whole groups: {100 * value['whole']:.2f})"
    )
    assert any(line.startswith(told) for line in said["warnings"])
    assert said["data"]["groups"] == 24


@pytest.mark.slow
def test_a_finished_study_grows_by_seeds_and_keeps_what_was_trained(flaxcnn, shapes, study_file, tmp_path):
    """Its table is then that of a study that had these seeds from the start."""
    path = study_file(QUICK)
    first = flaxcnn("study", path, f"folder:{shapes}", "--out", "out")
    assert first.returncode == 0, first.stderr
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("weights.npz")}
    grown = flaxcnn("study", path, f"folder:{shapes}", "--out", "out", "--seeds", "0", "1")
    assert grown.returncode == 0, grown.stderr
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    assert len(list((tmp_path / "out").rglob("weights.npz"))) == 2 * len(before)
    whole = flaxcnn("study", path, f"folder:{shapes}", "--out", "whole", "--seeds", "0", "1")
    assert whole.returncode == 0, whole.stderr
    assert kept(tmp_path / "out") == kept(tmp_path / "whole")
